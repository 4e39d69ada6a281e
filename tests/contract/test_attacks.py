"""What every exported attack goes through: one row of test-sized settings each."""

from __future__ import annotations

import copy
import inspect
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from gradiometer.attacks import Matching, generative, image, inference, learned
from gradiometer.attacks.generative import GGL, GIAS, GIFD, ROG, CINet, GuidedDiffusion
from gradiometer.attacks.image import (
    APRIL,
    DLG,
    IDLG,
    SPEAR,
    AutoMatching,
    FedAvgMatching,
    GIAEstimate,
    GIARunning,
    Huang,
    InvertingGradients,
    LinearBias,
    Modern,
    Recursive,
    SeeThrough,
)
from gradiometer.attacks.inference import (
    ILRG,
    LLG,
    RLG,
    IDLGLabels,
    LLGPlus,
    PriorAware,
    PropertyInference,
    RareClass,
    RowSum,
)
from gradiometer.attacks.learned import Denoised, LearningToInvert, RidgeInversion
from gradiometer.attacks.matching import Adam, Diffused, LowResolution
from gradiometer.core import (
    Attack,
    Batch,
    Client,
    Data,
    Field,
    Guess,
    MissingKnowledge,
    NotApplicable,
    Recipe,
    Threat,
    Update,
    derive,
    play,
    play_sum,
)
from gradiometer.models.mlp import mlp
from gradiometer.models.vit import vit
from gradiometer.numerics.assignment import assign
from gradiometer.numerics.priors import BatchStatistics, GroupConsistency, HeadFeatures, Norm, TotalVariation

BRISK = Adam(schedule="cosine")


@dataclass(frozen=True)
class Row:
    """An attack with test-sized settings, and the victim that it must beat.

    Args:
        victim: a key of `VICTIMS`.
        unfit: a victim without the layer that the attack needs; "states" is data without pictures and labels, "unmarked"
            public data that tell of no property.
        labels: whether the threat grants them.
    """

    attack: Attack
    victim: str = "smooth"
    unfit: str = "states"
    labels: bool = True


EDGES = TotalVariation(weight=0.02)  # digits are small and not normalized: the papers' weights would blur them
ROWS = [
    Row(Matching(optimizer=BRISK, iterations=60, priors=(EDGES,))),
    Row(DLG(iterations=60), labels=False),
    Row(IDLG(iterations=60), labels=False),
    Row(InvertingGradients(iterations=60, priors=(EDGES,))),
    Row(Modern(iterations=60, priors=(EDGES, HeadFeatures()))),
    Row(
        SeeThrough(
            iterations=60, restarts=2, priors=(EDGES, Norm(), BatchStatistics(source="running"), GroupConsistency())
        ),
        victim="normalized",
        unfit="smooth",
    ),
    Row(Huang(iterations=60, priors=(EDGES, BatchStatistics(source="running"))), victim="normalized", unfit="smooth"),
    Row(GIARunning(iterations=60, priors=(EDGES, BatchStatistics())), victim="train mode", unfit="smooth"),
    Row(
        GIAEstimate(iterations=60, priors=(EDGES, BatchStatistics(source="proxy"))), victim="train mode", unfit="smooth"
    ),
    Row(AutoMatching(iterations=200), labels=False),
    Row(FedAvgMatching(iterations=60, priors=(EDGES,)), victim="FedAvg", unfit="smooth"),
    Row(GGL(iterations=100)),
    Row(GIAS(iterations=100)),
    Row(GIFD(iterations=100)),
    Row(CINet(iterations=100), unfit="batch"),
    Row(ROG(attack=replace(ROG().attack, unknown=LowResolution(factor=1.5), iterations=50), examples=40, steps=20)),
    Row(GuidedDiffusion(unknown=Diffused(levels=8), iterations=80)),
    Row(LinearBias(), unfit="normalized"),
    Row(SPEAR(), victim="wide", unfit="normalized"),
    Row(Recursive(), unfit="batch"),
    Row(APRIL(), victim="transformer", unfit="smooth"),
    Row(IDLGLabels(), labels=False),
    Row(RowSum(), victim="batch", labels=False),
    Row(LLG(), victim="batch", labels=False),
    Row(LLGPlus(), victim="batch", labels=False),
    Row(ILRG(), victim="batch", labels=False),
    Row(RLG(), victim="batch", labels=False),
    Row(PriorAware(candidates=200), unfit="batch"),
    Row(RareClass(label=3), victim="batch", labels=False),
    Row(RidgeInversion(examples=200), unfit="batch", labels=False),
    Row(Denoised(examples=50, steps=10), unfit="normalized", labels=False),
    Row(LearningToInvert(length=1024, hidden=64, epochs=15, batch=16), labels=False),
    Row(
        PropertyInference(mark="thick", labels="read", rounds=100, trees=30),
        victim="thick",
        unfit="unmarked",
        labels=False,
    ),
]
EACH = pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row.attack).__name__)
LEAST = {"x": 0.5, "y": 0.6}
"""How far below the blind baseline's error an attack must come."""


def _normalized(public: Batch) -> nn.Module:
    """A small convolutional network whose running averages are those of the public data."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        norm = nn.BatchNorm2d(8, momentum=1.0)
        model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), norm, nn.Sigmoid(), nn.Flatten(), nn.Linear(512, 10))
    with torch.no_grad():
        model(public["x"])
    norm.momentum = 0.1
    return model


def _smooth(public: Batch) -> nn.Module:
    return mlp((1, 8, 8), 10, widths=(32,), activation="sigmoid")


@dataclass(frozen=True)
class Victim:
    model: Callable[[Batch], nn.Module]
    recipe: Recipe
    classes: tuple[int, ...] = (3,)
    thick: bool | None = None


VICTIMS = {
    "smooth": Victim(_smooth, Recipe()),
    "normalized": Victim(_normalized, Recipe()),
    "train mode": Victim(_normalized, Recipe(mode="train", shares_buffers=True)),
    "FedAvg": Victim(_smooth, Recipe(sends="delta", epochs=2, lr=0.5)),
    "transformer": Victim(lambda public: vit((1, 8, 8), 10, patch=2, width=32, depth=1, heads=2), Recipe()),
    "batch": Victim(lambda public: mlp((1, 8, 8), 10, widths=(64,)), Recipe(), classes=(3, 3, 3, 7, 7, 1)),
    "thick": Victim(lambda public: mlp((1, 8, 8), 10, widths=(64,)), Recipe(), classes=(0, 0, 5, 5, 9, 9), thick=True),
    "thin": Victim(lambda public: mlp((1, 8, 8), 10, widths=(64,)), Recipe(), classes=(1, 2, 8, 8, 3, 4), thick=False),
    "wide": Victim(lambda public: mlp((1, 8, 8), 10, widths=(256, 32)), Recipe(), classes=(3, 7, 1)),
}


def observed(name: str, data: Data, labels: bool) -> tuple[Batch, Update]:
    """What the victim of this name holds and sends."""
    victim = VICTIMS["smooth" if name in ("states", "unmarked") else name]
    fits = torch.ones_like(data.private["y"]) if victim.thick is None else data.private["thick"] == victim.thick
    pools = {c: ((data.private["y"] == c) & (fits > 0)).nonzero()[:, 0].tolist() for c in set(victim.classes)}
    batch = data.private.take([pools[c].pop() for c in victim.classes])
    client = Client(model=victim.model(data.public), layout=data.layout, recipe=victim.recipe)
    update = play(client, batch, rng=derive(0), threat=Threat(labels=labels), public=data.public)
    if name == "states":
        update = update.replace(layout={"state": Field(shape=(64,))}, labels=None, public=None)
    if name == "unmarked":
        update = update.replace(public=Batch(x=data.public["x"], y=data.public["y"]))
    return batch, update


def run(row: Row, data: Data) -> tuple[Batch, Guess]:
    batch, update = observed(row.victim, data, row.labels)
    return batch, row.attack.run(update, derive(7))


def errors(guess: Guess, batch: Batch, data: Data) -> dict[str, tuple[float, float]]:
    """Error of the attack and of the blind baseline, by what was claimed; the order of pictures is nobody's claim."""
    found = {}
    if "x" in guess:
        mean = data.public["x"].mean(0, keepdim=True)
        found["x"] = tuple(_apart(x, batch["x"]) for x in (guess["x"], mean.expand_as(batch["x"])))
    if "y" in guess:
        counts = [torch.bincount(y, minlength=10) for y in (guess["y"], torch.arange(batch.size) % 10, batch["y"])]
        found["y"] = tuple(float((count - counts[2]).clamp_min(0).sum() / batch.size) for count in counts[:2])
    return found


def _apart(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Mean squared error of the best one-to-one match."""
    table = (found[:, None] - truth[None]).square().flatten(2).mean(2)
    return sum(float(table[pair]) for pair in assign(table)) / len(truth)


@EACH
def test_beats_the_blind_baseline_and_repeats_bit_for_bit(row: Row, digits_data: Data) -> None:
    batch, guess = run(row, digits_data)
    claims = errors(guess, batch, digits_data)
    for name, (own, blind) in claims.items():
        assert own < LEAST[name] * blind, f"{name}: {own} against the blind {blind}"
    if isinstance(row.attack, RareClass):
        assert guess["present"].tolist() == [True]
        absent = replace(row.attack, label=9).run(observed(row.victim, digits_data, False)[1], derive(7))
        assert absent["present"].tolist() == [False]
    elif isinstance(row.attack, PropertyInference):
        assert guess["present"].tolist() == [True]
        thin = row.attack.run(observed("thin", digits_data, False)[1], derive(7))
        assert thin["present"].tolist() == [False]
    else:
        assert claims
    again = run(row, digits_data)[1]
    assert set(guess.tensors) == set(again.tensors)
    assert all(torch.equal(guess[name], again[name]) for name in guess.tensors)
    assert guess.curve == again.curve


@EACH
def test_touches_nothing(row: Row, digits_data: Data) -> None:
    _, update = observed(row.victim, digits_data, row.labels)
    assert update.model is not None
    tensors = [*update.values.values(), *update.model.state_dict().values(), *(update.public or {}).values()]
    tensors += list((update.buffers or {}).values())
    before = [tensor.clone() for tensor in tensors]
    modes = [module.training for module in update.model.modules()]
    flags = [parameter.requires_grad for parameter in update.model.parameters()]
    states = torch.get_rng_state(), copy.deepcopy(np.random.get_state())  # noqa: NPY002
    attack = replace(row.attack, iterations=3) if isinstance(row.attack, Matching) else row.attack
    attack.run(update, derive(7))
    attack.probe(update, derive(7), starts=2)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors))
    assert [module.training for module in update.model.modules()] == modes
    assert [parameter.requires_grad for parameter in update.model.parameters()] == flags
    assert all(parameter.grad is None for parameter in update.model.parameters())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in update.model.modules())
    assert torch.equal(states[0], torch.get_rng_state())
    assert all(np.array_equal(a, b) for a, b in zip(states[1], np.random.get_state()))  # noqa: NPY002


@EACH
def test_names_the_knowledge_that_it_lacks(row: Row, digits_data: Data) -> None:
    _, update = observed(row.victim, digits_data, row.labels)
    for name in row.attack.card.needs:
        with pytest.raises(MissingKnowledge, match=f"`{name}`"):
            row.attack.run(update.replace(**{name: None}), derive(7))


@EACH
def test_refuses_what_it_cannot_read(row: Row, digits_data: Data) -> None:
    _, update = observed(row.unfit, digits_data, row.labels)
    with pytest.raises(NotApplicable) as caught:
        row.attack.run(update, derive(7))
    assert len(caught.value.message) > 20


@EACH
def test_a_sum_over_clients_is_refused_or_read_as_a_larger_batch(row: Row, digits_data: Data) -> None:
    victim = VICTIMS[row.victim]
    examples = [(digits_data.private["y"] == c).nonzero()[:2, 0].tolist() for c in set(victim.classes)]
    batches = [digits_data.private.take([pair[k] for pair in examples]) for k in (0, 1)]
    client = Client(model=victim.model(digits_data.public), layout=digits_data.layout, recipe=victim.recipe)
    update = play_sum(client, batches, rng=derive(0), threat=Threat(labels=row.labels), public=digits_data.public)
    try:
        guess = row.attack.run(update, derive(7))
    except (NotApplicable, MissingKnowledge):
        return  # as of a batch of one client, or for want of what no sum holds
    whole = Batch({name: torch.cat([batch[name] for batch in batches]) for name in batches[0]})
    claims = errors(guess, whole, digits_data) if "y" in guess else {}
    assert all(own < blind for own, blind in claims.values())


@EACH
def test_stops_within_its_budget(row: Row, digits_data: Data) -> None:
    _, update = observed(row.victim, digits_data, row.labels)
    attack, limit = row.attack, 30.0  # seconds, for closed forms on a busy machine
    if isinstance(attack, Matching):
        attack, limit = replace(attack, iterations=10**6, seconds=0.3), 15.0
    start = time.process_time()
    guess = attack.run(update, derive(7))
    assert time.process_time() - start < limit
    if isinstance(attack, Matching):
        assert guess.notes["iterations"] < 10**5


@EACH
def test_its_objective_depends_on_the_unknown(row: Row, digits_data: Data) -> None:
    _, update = observed(row.victim, digits_data, row.labels)
    values = row.attack.probe(update, derive(7))
    if values is None:
        assert row.attack.card.family not in ("matching", "generative")
        return
    assert len(values) == 4
    assert all(math.isfinite(value) for value in values)
    assert max(values) - min(values) > 1e-6 * abs(max(values))


@EACH
def test_survives_a_plan_file(row: Row) -> None:
    from gradiometer.audit.spelling import build, spell

    assert build(spell(row.attack), "attack") == row.attack


@EACH
def test_has_a_complete_card(row: Row) -> None:
    card = row.attack.card
    assert card.summary.endswith(".")
    assert card.modality
    assert card.family
    assert card.formula
    assert set(card.needs) <= {field.name for field in fields(Update)}
    published = (card.title, card.authors, card.year)
    assert all(published) or not any(published)
    assert inspect.getdoc(type(row.attack))


@pytest.mark.parametrize("package", [generative, image, inference, learned], ids=lambda package: package.__name__)
def test_every_exported_attack_has_a_row(package: ModuleType) -> None:
    assert {getattr(package, name) for name in package.__all__} <= {type(row.attack) for row in ROWS}
