"""The positive control: an attack that fails even on an easy victim proves nothing by failing on a hard one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from statistics import median
from typing import Any, Literal

import torch
from torch import nn

from gradiometer.attacks import PropertyInference
from gradiometer.core import Attack, Client, Data, NotApplicable, Recipe, Threat, Unsupported, derive, play
from gradiometer.metrics import score_labels, score_words

from .criteria import GAIN, OVER
from .generators import samples
from .modality import Modality

OVERLAP = 0.9
"""A control passes if the median example is as much better than the best blind guess as a leak has to be, or if the labels or
words found overlap at least this much with the true ones."""
ROUNDS = 3


def positive(attack: Attack, recipe: Recipe, threat: Threat, seed: int, device: str, kind: Modality) -> dict[str, Any]:
    """The attack without any defense on small victims, batch 1, under the same threat: the first that it can read.

    Returns:
        `figure`, `threshold`, `unit`, `passed`, and the victim's name.

    Raises:
        NotApplicable: it can read none of them.
    """
    easy, shown = EASY[kind.many], samples(attack)
    data, victims = (easy.data(), easy.victims) if shown is None else (shown, _of_shape(shown))
    refused: NotApplicable | Unsupported | None = None
    for name, model, mode in victims:
        once = Recipe(sends=recipe.sends, mode=mode, lr=0.1, shares_buffers=True)
        client = Client(model=model(), layout=data.layout, loss=kind.loss(data.layout), recipe=once)
        try:
            return {"victim": name, **_tried(attack, client, data, threat, seed, device, kind, easy)}
        except (NotApplicable, Unsupported) as error:
            refused = refused or error
    assert refused is not None
    raise refused


@lru_cache(maxsize=1)
def _tiles() -> Data:
    from gradiometer.data import medical

    return medical(size=16)


def _marked(data: Data, mark: str) -> Data:
    """The tiles from two scanners that nobody would take for one, under the name of the property that is looked for."""
    from gradiometer.data import two_scanners
    from gradiometer.data.scanners import MARK

    told = two_scanners(data, contrast=0.4, brightness=0.2)
    assert told.public is not None
    sides = {"private": told.private, "public": told.public}
    return replace(told, **{name: side.replace(**{mark: side[MARK]}) for name, side in sides.items()})  # type: ignore[arg-type]


def _perceptron(inputs: int = 768) -> nn.Module:
    return _seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(inputs, 32), nn.Sigmoid(), nn.Linear(32, 5)))


def _normalized() -> nn.Module:
    return _seeded(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 32), nn.BatchNorm1d(32), nn.Sigmoid(), nn.Linear(32, 5))
    )


def _convolution() -> nn.Module:
    return _seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 16, 5, 2, 2), nn.BatchNorm2d(16), nn.Sigmoid(), nn.Flatten(), nn.Linear(16 * 64, 5)
        )
    )


def _seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


@lru_cache(maxsize=1)
def _notes() -> Data:
    from gradiometer.data import notes

    return notes()


def _transformer(causal: bool) -> nn.Module:
    from gradiometer.models import bert, gpt

    ids = _notes().layout["input_ids"]
    assert ids.classes is not None
    return (gpt if causal else bert)(ids.classes, ids.shape[0], 2, width=64, depth=2)


@lru_cache(maxsize=1)
def _small_molecules() -> Data:
    from gradiometer.data import grown

    return grown(4)


def _graph_network(name: str) -> nn.Module:
    from gradiometer import models

    build = {"gcn": models.gcn, "gat": models.gat}[name]
    return build(_small_molecules().layout["nodes"].shape[1], 2, width=96)


Victims = tuple[tuple[str, Callable[[], nn.Module], Literal["eval", "train"]], ...]


def _of_shape(data: Data) -> Victims:
    inputs = data.private["x"][0].numel()
    return (("a sigmoid MLP on pictures that the generator made", lambda: _perceptron(inputs), "eval"),)


@dataclass(frozen=True, kw_only=True)
class Easy:
    """Easy victims for one modality.

    Args:
        data: what they train on.
        victims: name, model and mode; the first that an attack can read counts.
        figure: of an example's score; gain: the least median of it, and unit: in what.
    """

    data: Callable[[], Data]
    victims: Victims
    gain: float
    unit: str
    figure: Callable[[Any], float] = lambda one: float(one.gain)


EASY = {
    # Smooth and small, and one each for attacks that live on running or on sent normalization statistics.
    "pictures": Easy(
        data=_tiles,
        victims=(
            ("a sigmoid MLP on 16x16 tiles", _perceptron, "eval"),
            ("an MLP with BatchNorm on 16x16 tiles", _normalized, "eval"),
            ("a convolution with BatchNorm in train mode on 16x16 tiles", _convolution, "train"),
        ),
        gain=GAIN,
        unit="dB over the best blind guess",
    ),
    "sentences": Easy(
        data=_notes,
        victims=(
            ("a causal transformer of two blocks on made-up notes", partial(_transformer, True), "eval"),
            ("a bidirectional transformer of two blocks on made-up notes", partial(_transformer, False), "eval"),
        ),
        gain=OVER,
        unit="ROUGE-L over the best blind guess",
    ),
    "graphs": Easy(
        data=_small_molecules,
        victims=(
            (
                "a graph convolutional network on made-up molecules of 3 or 4 atoms",
                partial(_graph_network, "gcn"),
                "eval",
            ),
            ("a graph attention network on made-up molecules of 3 or 4 atoms", partial(_graph_network, "gat"), "eval"),
        ),
        gain=1.0,
        unit="of the median graph, exact or equivalent",
        figure=lambda one: float(one.exact or bool(one.equivalent)),
    ),
}


def _tried(
    attack: Attack,
    client: Client,
    data: Data,
    threat: Threat,
    seed: int,
    device: str,
    kind: Modality,
    easy: Easy,
) -> dict[str, Any]:
    threat = replace(threat, rounds=1, clients=1)
    gains, overlaps = list[float](), dict[str, list[float]]()
    if isinstance(attack, PropertyInference):
        data = _marked(data, attack.mark)
    for i in range(ROUNDS):
        batch = data.private.take([i * data.private.size // ROUNDS])
        update = play(client, batch, rng=derive(seed, "control", i), threat=threat, attack=attack, public=data.public)
        guess = attack.run(update.to(device), derive(seed, "control attack", i)).to("cpu")
        if kind.field in guess:
            scores = kind.scorer(client)(guess, batch, data, rng=derive(seed, "control score", i))
            gains += [easy.figure(one) for one in scores]
        if "y" in guess or "present" in guess:
            overlaps.setdefault("labels", []).append(score_labels(guess, batch, data).overlap)
        if "bag" in guess:
            said = score_words(guess, batch, data, rng=derive(seed, "control words", i))
            overlaps.setdefault("words", []).append(said.overlap)
    if gains:
        figure, threshold, unit = median(gains), easy.gain, easy.unit
    elif overlaps:
        what, found = next(iter(overlaps.items()))
        figure, threshold, unit = sum(found) / len(found), OVERLAP, f"share of the {what}"
    else:
        return {"passed": False, "figure": None, "threshold": None, "unit": "", "why": "it guessed nothing at all"}
    why = "" if figure >= threshold else f"{figure:.2f} {unit} on an easy victim, where {threshold:g} is due"
    return {"passed": figure >= threshold, "figure": figure, "threshold": threshold, "unit": unit, "why": why}
