"""Matching: starts, schedules, budgets, labels, weak and strong, channels; and what each paper's settings promise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from gradiometer.attacks import Matching
from gradiometer.attacks.image import (
    DLG,
    FedAvgMatching,
    GIARunning,
    InvertingGradients,
    LinearBias,
    Modern,
    Recursive,
    SeeThrough,
)
from gradiometer.attacks.inference import RowSum
from gradiometer.attacks.matching import LBFGS, Adam, GaussNewton
from gradiometer.attacks.matching.descent import factor
from gradiometer.attacks.matching.starts import picture_start
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
    Values,
    derive,
    play,
)
from gradiometer.metrics.image import psnr
from gradiometer.numerics.distances import SquaredL2

INFORMED = Threat(labels=True)
FAST = Matching(distance=SquaredL2(), priors=(), optimizer=LBFGS(), start="gray", boxed=False, iterations=60)


def observed(client: Client, data: Data, n: int = 1, threat: Threat = INFORMED) -> tuple[Batch, Update]:
    batch = data.private.take(slice(0, n))
    return batch, play(client, batch, rng=derive(0), threat=threat, public=data.public)


def quality(guess: Tensor, truth: Tensor) -> float:
    return float(psnr(guess, truth).min())


def test_dlg_recovers_picture_and_label_of_a_smooth_network(tiny_client: Client, digits_data: Data) -> None:
    batch, update = observed(tiny_client, digits_data, threat=Threat())
    guess = DLG(iterations=80).run(update, derive(1))
    assert quality(guess["x"], batch["x"]) > 50
    assert torch.equal(guess["y"], batch["y"])
    assert guess.notes["labels"] == "joint"
    assert guess.objective is not None
    assert guess.objective < 1e-5


def test_gauss_newton_reaches_what_descent_does_not(tiny_client: Client, digits_data: Data) -> None:
    batch, update = observed(tiny_client, digits_data)
    solving = replace(FAST, optimizer=GaussNewton(), iterations=600)
    guess = solving.run(update, derive(1))
    assert quality(guess["x"], batch["x"]) > 80
    assert guess.notes["engine"] == "r-operator"
    assert guess.notes["iterations"] <= 600
    twice = replace(solving, restarts=2).run(update, derive(1))
    assert quality(twice["x"], batch["x"]) > 80, "starts side by side share one engine"
    free = observed(tiny_client, digits_data, threat=Threat())[1]
    joint = replace(solving, joint_labels=True).run(free, derive(1))
    assert torch.equal(joint["y"], batch["y"]), "unknown labels are solved for by the general path"


def test_gauss_newton_solves_for_the_update_alone() -> None:
    with pytest.raises(BadConfig, match="SquaredL2"):
        Matching(optimizer=GaussNewton())


def test_granted_labels_are_used_and_not_claimed(tiny_client: Client, digits_data: Data) -> None:
    _, update = observed(tiny_client, digits_data)
    guess = DLG(iterations=20).run(update, derive(1))
    assert guess.notes["labels"] == "granted"
    assert "y" not in guess


def test_a_label_step_stands_in_for_the_grant(tiny_client: Client, digits_data: Data) -> None:
    batch, update = observed(tiny_client, digits_data, threat=Threat())
    guess = replace(FAST, labels=RowSum()).run(update, derive(1))
    assert torch.equal(guess["y"], batch["y"])
    assert guess.notes["labels"] == "RowSum"
    with pytest.raises(MissingKnowledge, match="`labels`"):
        FAST.run(update, derive(1))


def test_another_attack_is_a_start(tiny_client: Client, digits_data: Data) -> None:
    batch, update = observed(tiny_client, digits_data, threat=Threat())
    first = LinearBias().run(update, derive(1))
    guess = replace(FAST, start=LinearBias(), labels=RowSum(), iterations=1).run(update, derive(1))
    assert guess.notes["start"] == "LinearBias"
    assert quality(guess["x"], first["x"]) > 60
    hidden = replace(FAST, start=Recursive(), iterations=1).run(update, derive(1))
    assert hidden.notes["labels"] == "Recursive"
    assert torch.equal(hidden["y"], batch["y"])


def test_a_start_that_is_refused_is_told(tiny_client: Client, digits_data: Data) -> None:
    _, update = observed(replace(tiny_client, recipe=Recipe(examples=2)), digits_data, 2)
    guess = replace(FAST, start=Recursive(), iterations=3).run(update, derive(1))
    assert guess.notes["start"].startswith("Recursive refused")


def test_restarts_are_chosen_by_the_objective_and_further_starts_differ(tiny_client: Client, digits_data: Data) -> None:
    _, update = observed(tiny_client, digits_data)
    guess = replace(FAST, restarts=3, iterations=15).run(update, derive(1))
    objectives = guess.notes["objectives"]
    assert len(set(objectives)) == 3
    assert guess.objective == min(objectives)
    assert guess.notes["iterations"] <= 45


def test_iterations_and_curve_are_bounded(tiny_client: Client, digits_data: Data) -> None:
    _, update = observed(tiny_client, digits_data)
    guess = InvertingGradients(iterations=130).run(update, derive(1))
    assert guess.notes["iterations"] == 130
    assert len(guess.curve) == 100
    assert guess.objective == pytest.approx(min(guess.curve), rel=0.2)
    short = replace(FAST, iterations=7).run(update, derive(1))
    assert short.notes["iterations"] == 7, "the line search must not overrun the budget"
    assert len(short.curve) == 7


def test_seconds_stop_a_run(tiny_client: Client, digits_data: Data) -> None:
    _, update = observed(tiny_client, digits_data)
    guess = InvertingGradients(iterations=10**9, seconds=0.3).run(update, derive(1))
    assert guess.notes["stopped"] == ["seconds"]


def test_a_plateau_stops_a_run(tiny_client: Client, digits_data: Data) -> None:
    _, update = observed(tiny_client, digits_data)
    attack = Matching(priors=(), optimizer=Adam(lr=1e-9), patience=10)
    guess = attack.run(update, derive(1))
    assert guess.notes["stopped"] == ["plateau"]
    assert guess.notes["iterations"] <= 12


def test_halving_gives_up_the_worse_half_and_no_more(tiny_client: Client, digits_data: Data) -> None:
    _, update = observed(tiny_client, digits_data)
    attack = Matching(priors=(), optimizer=Adam(), start="randn", restarts=5, iterations=80, halving=10)
    guess, whole = (a.run(update, derive(1)) for a in (attack, replace(attack, halving=None)))
    spent = guess.notes["evaluations"]
    assert sorted(spent) == [10, 10, 20, 40, 80], "five starts, then three, two, and one to the end"
    assert sorted(guess.notes["stopped"]) == [
        "budget",
        *(f"worse half after {n} evaluations" for n in (10, 10, 20, 40)),
    ]
    assert guess.notes["iterations"] == sum(spent)
    assert guess.objective == min(guess.notes["objectives"])
    for count, value in zip(spent, guess.notes["objectives"]):
        assert (value == whole.notes["objectives"][spent.index(count)]) == (count == 80), "nothing else is changed"


def test_halving_waits_for_line_searches_and_ranks_starts_that_stopped(tiny_client: Client, digits_data: Data) -> None:
    _, update = observed(tiny_client, digits_data)
    searching = replace(FAST, optimizer=LBFGS(inner=3), start="randn", restarts=4, iterations=60, halving=12)
    guess = searching.run(update, derive(1))
    given_up = [n for n, why in zip(guess.notes["evaluations"], guess.notes["stopped"]) if why.startswith("worse")]
    assert len(given_up) == 3
    assert min(given_up) >= 12
    still = Matching(
        priors=(), optimizer=Adam(lr=1e-9), start="randn", restarts=3, iterations=90, patience=5, halving=20
    )
    assert still.run(update, derive(1)).notes["stopped"] == ["plateau"] * 3


def test_pictures_stay_in_their_box_and_the_median_filter_acts(tiny_client: Client, digits_data: Data) -> None:
    _, update = observed(tiny_client, digits_data)
    attack = InvertingGradients(iterations=30)
    plain, filtered = (a.run(update, derive(1)) for a in (attack, replace(attack, median_every=10)))
    assert 0 <= float(plain["x"].min()) <= float(plain["x"].max()) <= 1
    assert not torch.equal(plain["x"], filtered["x"])


def test_langevin_noise_follows_the_generator(tiny_client: Client, digits_data: Data) -> None:
    _, update = observed(tiny_client, digits_data)
    attack = Matching(start="gray", optimizer=Adam(sign="none", langevin=0.1), iterations=10)
    first, second, other = (attack.run(update, derive(seed)).curve for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_schedules() -> None:
    assert [factor("step", p) for p in (0.0, 0.374, 0.376, 0.626, 0.876)] == [1, 1, 0.1, 0.01, 0.001]
    assert factor("cosine", 0.5) == pytest.approx(0.5)
    assert factor("linear", 0.25) == 0.75
    assert factor("constant", 0.9) == 1


def test_starts(tiny_client: Client, digits_data: Data) -> None:
    _, update = observed(tiny_client, digits_data, n=2)
    field, like = update.layout["x"], torch.zeros(2, 1, 8, 8)

    def start(kind: str, again: bool = False) -> Tensor:
        return picture_start(kind, update, field, like=like, again=again, rng=derive(3))  # type: ignore[arg-type]

    assert torch.equal(start("gray"), torch.full_like(like, 0.5))
    assert torch.equal(start("zeros"), like)
    assert torch.allclose(start("mean")[1], digits_data.public["x"].mean(0))
    tiled = start("patterned")
    assert torch.equal(tiled[..., :4, :4], tiled[..., 4:, 4:])
    assert start("randn").std() > 0.5
    assert 0 < float((start("gray", again=True) - 0.5).std()) < 0.2


def test_strong_matching_reads_a_long_local_training_that_weak_cannot(tiny_client: Client, digits_data: Data) -> None:
    recipe = Recipe(sends="delta", epochs=4, lr=2.0)
    batch, update = observed(replace(tiny_client, recipe=recipe), digits_data)
    strong, weak = (replace(FAST, match=match).run(update, derive(1)) for match in ("strong", "weak"))
    assert quality(strong["x"], batch["x"]) > quality(weak["x"], batch["x"]) + 10
    assert strong.notes["match"] == "strong"


def test_one_local_step_is_one_gradient(tiny_client: Client, digits_data: Data) -> None:
    recipe = Recipe(sends="delta", lr=0.5)
    _, update = observed(replace(tiny_client, recipe=recipe), digits_data)
    strong, weak = (replace(FAST, match=match, iterations=20).run(update, derive(1)) for match in ("strong", "weak"))
    assert torch.allclose(strong["x"], weak["x"], atol=1e-3)


def test_fedavg_matching_refuses_a_gradient(tiny_client: Client, digits_data: Data) -> None:
    with pytest.raises(NotApplicable, match="weight deltas"):
        FedAvgMatching().run(observed(tiny_client, digits_data)[1], derive(1))


@dataclass(frozen=True, kw_only=True)
class Doubled:
    """A channel that doubles every value: only somebody who knows it can match."""

    def distance(self, simulated: Values, sent: Values) -> Tensor:
        gaps = [(2 * simulated[name] - value).square().sum() for name, value in sent.items()]
        return torch.stack(gaps).sum() / sum(value.square().sum() for value in sent.values())

    def decode(self, sent: Values) -> dict[str, Tensor]:
        return {name: value / 2 for name, value in sent.items()}

    def variance(self, sent: Values) -> dict[str, Tensor]:
        return {name: torch.zeros_like(value) for name, value in sent.items()}

    def forward(self, simulated: Values) -> dict[str, Tensor]:
        return {name: 2 * value for name, value in simulated.items()}


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(sends="delta", epochs=2, lr=0.5)])
def test_a_known_channel_replaces_the_distance(tiny_client: Client, digits_data: Data, recipe: Recipe) -> None:
    batch, update = observed(replace(tiny_client, recipe=recipe), digits_data)
    doubled = update.replace(values={name: 2 * value for name, value in update.values.items()})
    informed = FAST.observing(Doubled())
    assert informed.channel == Doubled()
    assert quality(informed.run(doubled, derive(1))["x"], batch["x"]) > 30
    assert quality(FAST.run(doubled, derive(1))["x"], batch["x"]) < 30


def test_train_mode_with_exact_statistics_sees_the_brightness(digits_data: Data) -> None:
    """BatchNorm right after the input takes brightness and contrast out of the gradient; the buffers give them back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 32), nn.Sigmoid(), nn.Linear(32, 10))
    client = Client(model=model, layout=digits_data.layout, recipe=Recipe(mode="train", shares_buffers=True))
    batch, update = observed(client, digits_data, n=2)
    attack = GIARunning(iterations=80)
    blind = replace(attack, priors=attack.priors[:1])
    error = lambda guess: abs(float(guess["x"].mean() - batch["x"].mean()))  # noqa: E731
    informed, plain = (a.run(update, derive(1)) for a in (attack, blind))
    assert error(informed) < 0.01 < error(plain)


def test_papers_are_settings() -> None:
    assert SeeThrough().restarts > 1
    assert isinstance(Modern().optimizer, Adam)
    assert Modern().optimizer.sign == "soft"
    assert InvertingGradients().distance == Matching().distance
    assert isinstance(DLG().optimizer, LBFGS)


def test_wrong_settings_are_all_reported() -> None:
    with pytest.raises(BadConfig) as caught:
        Matching(iterations=0, restarts=0, seconds=-1.0)
    assert len(caught.value.problems) == 3


def test_refusals(tiny_client: Client, digits_data: Data) -> None:
    _, update = observed(tiny_client, digits_data)
    with pytest.raises(NotApplicable, match="pictures"):
        FAST.run(update.replace(layout={"state": update.layout["x"]}), derive(1))
    bad = {name: torch.full_like(value, torch.nan) for name, value in update.values.items()}
    with pytest.raises(NotApplicable, match="not finite"):
        FAST.run(update.replace(values=bad), derive(1))


def test_a_delta_with_momentum_is_compared_in_the_unit_of_its_target(tiny_client: Client, digits_data: Data) -> None:
    recipe = replace(tiny_client.recipe, sends="delta", epochs=3, lr=0.01, momentum=0.9)
    truth = digits_data.private.take([0])
    update = play(replace(tiny_client, recipe=recipe), truth, rng=derive(0), threat=Threat(labels=True))
    problem, _ = Matching(distance=SquaredL2(), priors=())._problem(update, derive(1))
    within = problem.within(problem.pixels("gray", derive(1)))
    at_truth, at_gray = (within.objective([x]).distance for x in (truth["x"], within.start(derive(1))[0]))
    assert at_truth < 1e-6 * at_gray
