"""Label attacks on whole updates: models trained and untrained, train mode, heads without bias, weight deltas."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from gradiometer.attacks.inference import ILRG, LLG, RLG, IDLGLabels, LLGPlus, RareClass, RowSum
from gradiometer.core import (
    BadConfig,
    Batch,
    Client,
    Data,
    MissingKnowledge,
    NotApplicable,
    Recipe,
    Threat,
    Update,
    derive,
    play,
)
from gradiometer.models import lenet, mlp, resnet20, trained
from gradiometer.numerics.channels import Additive
from gradiometer.numerics.presence import count_deviation, presence_error

SHAPE = (1, 8, 8)
REPEATED = (0, 0, 0, 0, 0, 3, 3, 3, 9, 9, 7, 1)


def holding(data: Data, classes: tuple[int, ...] | list[int]) -> Batch:
    pools = {c: (data.test["y"] == c).nonzero()[:, 0].tolist() for c in set(classes)}
    return data.test.take([pools[c].pop() for c in classes])


def update(data: Data, model: nn.Module, /, classes=REPEATED, how: Recipe = Recipe(), **threat) -> Update:  # noqa: B008
    client = Client(model=model, layout=data.layout, recipe=how)
    return play(client, holding(data, classes), rng=derive(1), public=data.public, threat=Threat(**threat))


def overlap(found: Tensor, truth: tuple[int, ...]) -> float:
    counts = [torch.bincount(y, minlength=10) for y in (found, torch.tensor(truth))]
    return float(torch.minimum(*counts).sum()) / len(truth)


def without_bias(model: nn.Sequential) -> nn.Sequential:
    head = nn.Linear(model[-1].in_features, 10, bias=False)
    head.weight.data.copy_(model[-1].weight)
    model[-1] = head
    return model


MODELS = {
    "relu mlp": lambda: mlp(SHAPE, 10, widths=(64,)),
    "sigmoid lenet": lambda: lenet(SHAPE, 10),
    "resnet20": lambda: resnet20(SHAPE, 10),
    "head without bias": lambda: without_bias(mlp(SHAPE, 10, widths=(64,))),
    "tanh, without bias": lambda: without_bias(mlp(SHAPE, 10, widths=(64,), activation="tanh")),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("public", [True, False], ids=["public", "dummies"])
def test_row_sum_counts_every_label_of_an_untrained_model(digits_data: Data, name: str, public: bool) -> None:
    guess = RowSum().run(update(digits_data, MODELS[name](), public=public), derive(0))
    # Without a bias the gradient does not show the mean of the head's inputs, and dummies alone must tell it.
    exact = public or "bias" not in name
    assert overlap(guess["y"], REPEATED) >= (1.0 if exact else 0.8)
    assert guess["y"].tolist() == sorted(guess["y"].tolist())
    assert guess.notes["source"] == ("public" if public else "dummy")
    assert guess.confidence.shape == (12,)


@pytest.mark.parametrize("label", [0, 4])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_one_label_needs_no_data_no_model_and_no_batch_size(digits_data: Data, model, label: int) -> None:
    seen = update(digits_data, model(), classes=(label,), model=False, recipe=False, batch_size=False, public=False)
    for attack in (RowSum(), IDLGLabels()):
        assert attack.run(seen, derive(0))["y"].tolist() == [label]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_one_label_is_read_off_a_delta_of_any_optimizer(digits_data: Data, optimizer) -> None:
    recipe = Recipe(sends="delta", epochs=3, lr=0.05, optimizer=optimizer)
    seen = update(digits_data, mlp(SHAPE, 10), classes=(6,), how=recipe)
    assert RowSum().run(seen.replace(recipe=None), derive(0))["y"].tolist() == [6]


def test_train_mode_batch_statistics_are_simulated(digits_data: Data) -> None:
    seen = update(digits_data, resnet20(SHAPE, 10), how=Recipe(mode="train"))
    assert overlap(RowSum().run(seen, derive(0))["y"], REPEATED) == 1.0


def test_a_trained_model_still_tells_most_labels(digits_data: Data) -> None:
    model = trained(mlp(SHAPE, 10, widths=(64,)), digits_data, steps=60, seed=0)
    seen = update(digits_data, model)
    assert overlap(RowSum().run(seen, derive(0))["y"], REPEATED) >= 10 / 12


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_delta_of_several_epochs_is_counted(digits_data: Data, momentum: float) -> None:
    recipe = Recipe(sends="delta", epochs=2, batch_size=4, lr=0.02, momentum=momentum)
    seen = update(digits_data, mlp(SHAPE, 10, widths=(64,)), how=recipe)
    assert overlap(RowSum().run(seen, derive(0))["y"], REPEATED) >= 11 / 12


def test_simulated_drift_corrects_what_averaging_cannot(digits_data: Data) -> None:
    recipe = Recipe(sends="delta", epochs=4, batch_size=4, lr=0.05)
    client = Client(model=lenet(SHAPE, 10), layout=digits_data.layout, recipe=recipe)
    found = {0: 0.0, 3: 0.0}
    for turn in range(4):
        batch = digits_data.test.take(torch.randint(900, (24,), generator=derive(turn)))
        seen = play(client, batch, rng=derive(turn), public=digits_data.public)
        for turns in found:
            guess = RowSum(simulations=turns).run(seen, derive(0))
            found[turns] += overlap(guess["y"], tuple(batch["y"].tolist())) / 4
    assert found[3] > found[0] > 0.8


@pytest.mark.parametrize(
    ("attack", "least"),
    [(ILRG(), 1.0), (ILRG(refinements=0), 0.9), (LLG(), 0.8), (LLGPlus(), 1.0), (LLGPlus(source="dummy"), 0.9)],
    ids=repr,
)
def test_published_rules(digits_data: Data, attack, least: float) -> None:
    seen = update(digits_data, mlp(SHAPE, 10, widths=(64,)))
    guess = attack.run(seen, derive(0))
    assert len(guess["y"]) == 12
    assert overlap(guess["y"], REPEATED) >= least


def test_rlg_finds_the_classes_of_a_small_batch_and_refuses_a_large_one(digits_data: Data) -> None:
    model = mlp(SHAPE, 10, widths=(64,))
    guess = RLG().run(update(digits_data, model, classes=(2, 5, 5, 8)), derive(0))
    assert set(guess["y"].tolist()) >= {2, 5, 8}
    with pytest.raises(NotApplicable, match="has rank 9"):
        RLG().run(update(digits_data, model, classes=tuple(range(10)) * 2), derive(0))


def test_refusals(digits_data: Data) -> None:
    batch = update(digits_data, mlp(SHAPE, 10, widths=(64,)))
    with pytest.raises(NotApplicable, match="12 stand behind this update"):
        IDLGLabels().run(batch, derive(0))
    for attack in (RowSum(), LLG(), ILRG()):
        with pytest.raises(MissingKnowledge, match="`batch_size`"):
            attack.run(batch.replace(batch_size=None), derive(0))
    with pytest.raises(MissingKnowledge, match="`public`"):
        LLGPlus().run(batch.replace(public=None), derive(0))
    with pytest.raises(NotApplicable, match="head has none"):
        ILRG().run(update(digits_data, MODELS["head without bias"]()), derive(0))
    adam = Recipe(sends="delta", optimizer="adam", epochs=2)
    with pytest.raises(NotApplicable, match="Adam"):
        RowSum().run(update(digits_data, mlp(SHAPE, 10), how=adam), derive(0))
    with pytest.raises(NotApplicable, match="class label"):
        RowSum().run(batch.replace(layout={"x": digits_data.layout["x"]}), derive(0))


def noisy(seen: Update, noise: float, seed: int) -> Update:
    rng = derive(seed)
    return seen.replace(
        values={k: v + noise * torch.randn(v.shape, generator=rng, dtype=v.dtype) for k, v in seen.values.items()}
    )


def test_knowing_the_noise_helps_to_count(digits_data: Data) -> None:
    seen = update(digits_data, mlp(SHAPE, 10, widths=(64,)))
    naive, informed = RowSum(), RowSum().observing(Additive(std=0.03))
    found = {
        attack: [overlap(attack.run(noisy(seen, 0.03, turn), derive(0))["y"], REPEATED) for turn in range(8)]
        for attack in (naive, informed)
    }
    assert sum(found[informed]) > sum(found[naive])


@pytest.mark.parametrize("label", [9, 8], ids=["present", "absent"])
def test_a_rare_class_is_told_apart(digits_data: Data, label: int) -> None:
    seen = update(digits_data, mlp(SHAPE, 10, widths=(64,)), classes=(9, *[0, 1, 2, 3, 4] * 3))
    for evidence in ("row", "bias"):
        guess = RareClass(label=label, evidence=evidence).run(seen, derive(0))
        assert guess["present"].tolist() == [label == 9]
        assert abs(float(guess["count"][0]) - (label == 9)) < 0.25
        assert guess.confidence[0] > 0.99


def test_the_error_rate_under_noise_is_the_closed_form_and_the_whole_row_errs_less(digits_data: Data) -> None:
    model, size, noise, turns = mlp(SHAPE, 10, widths=(64,)), 16, 1 / 16, 60
    cases = [update(digits_data, model, classes=(*[9][:n], *([0, 1, 2, 3, 4] * 4)[: 16 - n])) for n in (1, 0)]
    wrong = {}
    for evidence in ("bias", "row"):
        attack = RareClass(label=9, noise=noise, evidence=evidence, examples=60)
        answers = [
            bool(attack.run(noisy(seen, noise, turn), derive(0))["present"][0]) != bool(case == 0)
            for case, seen in enumerate(cases)
            for turn in range(turns)
        ]
        wrong[evidence] = sum(answers) / len(answers)
        stated = attack.run(cases[0], derive(0)).notes["error"]
        assert wrong[evidence] == pytest.approx(stated, abs=0.1)
    assert wrong["bias"] == pytest.approx(presence_error(count_deviation(size, noise)), abs=0.1)
    assert wrong["row"] < wrong["bias"]


def test_presence_under_a_channel_and_bad_settings(digits_data: Data) -> None:
    seen = update(digits_data, mlp(SHAPE, 10, widths=(64,)))
    stated = [
        attack.run(seen, derive(0)).notes["deviation"]
        for attack in (RareClass(label=9, noise=0.05), RareClass(label=9).observing(Additive(std=0.05)))
    ]
    assert stated[0] == pytest.approx(stated[1])
    with pytest.raises(BadConfig, match="cannot be set up"):
        RareClass(label=-1, prior=1.0)
    with pytest.raises(NotApplicable, match="there is no class 10"):
        RareClass(label=10).run(seen, derive(0))
    with pytest.raises(NotApplicable, match="no bias to read"):
        RareClass(evidence="bias").run(update(digits_data, MODELS["head without bias"]()), derive(0))


def test_a_sum_over_clients_gives_the_total(digits_data: Data) -> None:
    model = mlp(SHAPE, 10, widths=(64,))
    parts = [update(digits_data, model, classes=c) for c in ((0, 0, 1, 9), (2, 2, 2, 9), (5, 6, 7, 8))]
    total = {k: sum(part.values[k] for part in parts) for k in parts[0].values}
    seen = replace(parts[0], values=total, clients=3, batch_size=12)
    assert RowSum().run(seen, derive(0))["y"].tolist() == [0, 0, 1, 2, 2, 2, 5, 6, 7, 8, 9, 9]
    count = RareClass(label=9).run(seen, derive(0))["count"]
    assert float(count[0]) == pytest.approx(2, abs=0.25)


def test_of_two_classes_without_a_bias_the_inputs_decide(digits_data: Data) -> None:
    """Both rows of the head's gradient are one vector and its negative: taking features as positive would be a guess."""
    layout = {**digits_data.layout, "y": replace(digits_data.layout["y"], classes=2)}
    public = digits_data.public
    assert public is not None
    public = public.replace(y=public["y"] % 2)
    right = 0
    for seed in range(8):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 2, bias=False))
        truth = digits_data.private.take([seed]).replace(y=torch.tensor([seed % 2]))
        update = play(Client(model=model, layout=layout), truth, rng=derive(seed), public=public)
        right += RowSum().run(update, derive(1))["y"].tolist() == [seed % 2]
    assert right == 8
