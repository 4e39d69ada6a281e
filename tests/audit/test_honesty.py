"""The audit's own honesty: broken defenses, objectives, attacks and controls are caught, and honest ones are not."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from gradiometer.attacks.image import InvertingGradients, LinearBias
from gradiometer.audit import audit
from gradiometer.audit.checks import SPREAD
from gradiometer.core import Attack, Batch, Card, Defense, Guess, cross_entropy, derive, play
from gradiometer.numerics.distances import Cosine

CARD = Card(summary="only for tests")
PEEK: dict[str, Batch] = {}


@dataclass(frozen=True, kw_only=True)
class NoOp(Defense):
    """Computes a quantized update, and sends the raw one."""

    card: ClassVar[Card] = CARD

    def on_gradients(self, values, *, rng, memory):
        memory["forgotten"] = {name: value.round() for name, value in values.items()}
        return dict(values)


@dataclass(frozen=True, kw_only=True)
class Zero(Defense):
    card: ClassVar[Card] = CARD

    def on_gradients(self, values, *, rng, memory):
        return {name: torch.zeros_like(value) for name, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class Blunt(Attack):
    """Looks at the update, and shows what nobody would take for a reconstruction."""

    card: ClassVar[Card] = CARD
    scale: float = 1e-3

    def run(self, update, rng):
        shape = update.layout["x"].shape
        x = next(iter(update.values.values())).flatten()[: math.prod(shape)].reshape(1, *shape)
        return Guess(tensors={"x": 0.5 + self.scale * x})


@dataclass(frozen=True, kw_only=True)
class QuantizedOnlyInside:
    """The objective of a public repository: the sent gradient against its own quantization. It is constant in x."""

    def against(self, sent):
        error = torch.stack([(value * 8).round().div(8).sub(value).square().sum() for value in sent.values()]).sum()
        return lambda simulated: (error, {name: torch.zeros_like(value) for name, value in simulated.items()})


@dataclass(frozen=True, kw_only=True)
class Flat(Blunt):
    """Reports a loss that stays where it is, as a cut autograd graph makes it."""

    def run(self, update, rng):
        return replace(super().run(update, rng), curve=(0.314519,) * 20)


@dataclass(frozen=True, kw_only=True)
class ConstantProbe(Blunt):
    def probe(self, update, rng, starts=4):
        return [0.314519] * starts


@dataclass(frozen=True, kw_only=True)
class Peeking(Attack):
    """Shows the last batch that went through the loss."""

    card: ClassVar[Card] = CARD

    def run(self, update, rng):
        return Guess(tensors={"x": PEEK["batch"]["x"].detach().clone(), "y": PEEK["batch"]["y"]})


@dataclass(frozen=True, kw_only=True)
class KnowsTheData(Attack):
    """Has all private examples, and returns the one whose gradient is nearest."""

    card: ClassVar[Card] = CARD

    def run(self, update, rng):
        best, smallest = None, float("inf")
        for i in range(PEEK["all"].size):
            one = PEEK["all"].take([i])
            value = update.loss(update.model, one)
            grads = torch.autograd.grad(value, list(update.model.parameters()))
            error = sum(float((g - s).square().sum()) for g, s in zip(grads, update.values.values()))
            best, smallest = (one, error) if error < smallest else (best, smallest)
        return Guess(tensors={"x": best["x"]})


def remembering(model, batch):
    PEEK["batch"] = batch
    return cross_entropy(model, batch)


@pytest.fixture
def run(tiny_client, digits_data):
    def run(attack, defense=None, *, loss=None, controls=False, examples=30, undefended=False):
        client = tiny_client if loss is None else replace(tiny_client, loss=loss)
        return audit(
            client=client,
            data=digits_data,
            attacks=[attack],
            defenses=[] if defense is None else [defense],
            settings={"controls": controls, "examples": examples, "undefended": undefended or defense is None},
            utility={"rounds": 0},
        )

    return run


def failed(result, name="attack is sound"):
    return [check.detail for check in result.checks if check.name == name and not check.ok]


def test_an_honest_audit_passes_its_own_checks(run):
    result = run(LinearBias(), Zero(), controls=True, undefended=True)
    assert [check.detail for check in result.checks if not check.ok] == []
    bare, zero = result.rows
    assert (bare.verdict, bare.level, bare.worst_attack) == ("LEAKS", "critical", "LinearBias")
    assert bare.rate.value == 1.0
    assert (zero.verdict, zero.rate.n) == ("HOLDS", 30)
    assert zero.bounds.upper < 0.1
    assert result.recommendations[0].defense == "Zero"


def test_a_no_op_defense_is_caught_and_cannot_hold(run):
    result = run(Blunt(), NoOp())
    assert "0 of 3 rounds" in failed(result, "defense changes the update")[0]
    assert result.rows[0].verdict == "INCONCLUSIVE"
    assert "does nothing" in result.rows[0].reasons[0]
    assert run(Blunt(), Zero()).rows[0].verdict == "HOLDS"


def test_a_no_op_defense_does_not_hide_a_leak(run):
    row = run(LinearBias(), NoOp()).rows[0]
    assert row.verdict == "LEAKS"
    assert "does nothing" in row.reasons[0]


def test_a_constant_objective_is_caught(run, digits_data, tiny_client):
    broken = InvertingGradients(distance=QuantizedOnlyInside(), priors=(), iterations=5)
    update = play(tiny_client, digits_data.private.take([0]), rng=derive(0)).replace(
        labels=digits_data.private["y"][:1]
    )
    constant, honest = (
        broken.probe(update, derive(1), 8),
        replace(broken, distance=Cosine()).probe(update, derive(1), 8),
    )
    assert max(constant) - min(constant) <= SPREAD * abs(constant[0])
    assert max(honest) - min(honest) > 0.01
    result = run(replace(broken, joint_labels=True), Zero(), examples=2)
    assert "does not depend on what it searches for" in failed(result)[0]


@pytest.mark.parametrize(
    ("attack", "text"),
    [
        (ConstantProbe(), "does not depend on what it searches"),
        (Flat(), "did not fall"),
        (Blunt(scale=0.0), "does not depend on the update"),
    ],
)
def test_an_attack_that_searches_nothing_proves_nothing(run, attack, text):
    result = run(attack, Zero() if attack.scale else None)
    assert text in failed(result)[0]
    assert result.rows[0].verdict == "INCONCLUSIVE"
    assert text in result.rows[0].reasons[0]
    assert result.cells[0].status == "inconclusive"


def test_an_attack_that_peeks_at_the_truth_is_caught(run):
    result = run(Peeking(), loss=remembering)
    assert "it knows the truth from elsewhere" in failed(result)[0]
    assert result.rows[0].verdict == "INCONCLUSIVE"
    assert result.findings == []


@pytest.mark.parametrize("examples", [1, 2])
def test_peeking_is_caught_on_the_first_example(run, examples):
    assert "from pure noise" in failed(run(Peeking(), loss=remembering, examples=examples))[0]


def test_an_attack_that_owns_the_private_data_fails_its_control(run, digits_data):
    PEEK["all"] = digits_data.private
    result = run(KnowsTheData(), controls=True, examples=3)
    assert "positive control" in failed(result)[0]
    assert result.rows[0].verdict == "INCONCLUSIVE"


def test_a_failed_control_is_caught(run):
    result = run(Blunt(), Zero(), controls=True)
    assert "positive control failed" in failed(result)[0]
    assert [control.passed for control in result.controls] == [False]
    assert result.rows[0].verdict == "INCONCLUSIVE"


def test_a_model_that_remembers_its_input_does_not_hand_it_over(tiny_client, digits_data):
    model = tiny_client.model
    model.register_forward_hook(lambda module, inputs, output: setattr(module, "last", inputs[0]))
    update = play(tiny_client, digits_data.private.take([0]), rng=derive(0))
    assert not hasattr(update.model, "last")
