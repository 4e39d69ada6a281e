"""Rounds: parity with `play`, resuming bit for bit, clients that fail, and training that diverges."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from gradiometer.core import BadConfig, BadInput, Client, Defense, Recipe, Unsupported, trainable
from gradiometer.defenses import Quantize, TopK
from gradiometer.federation import (
    FedAdam,
    FedAvg,
    Federation,
    FedSGD,
    advance,
    begin,
    deal,
    load_checkpoint,
    save_checkpoint,
)
from gradiometer.models.mlp import mlp

DELTA = Recipe(sends="delta", epochs=1, batch_size=16, lr=0.1, shuffle=True)


@pytest.fixture
def federation(digits_data) -> Federation:
    client = Client(model=mlp((1, 8, 8), 10, widths=(16,)), layout=digits_data.layout, recipe=DELTA)
    members = deal(digits_data.public, 3, alpha=0.5, holdout=0.2, seed=1)
    return Federation(client=client, members=members, strategy=FedAvg(), examples=48, test=digits_data.test, seed=1)


def weights(state):
    return trainable(state.model)


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def run(federation, state, rounds):
    for _ in range(rounds):
        state = advance(federation, state)
    return state


def test_the_mean_counts_examples(federation, digits_data) -> None:
    members = deal(digits_data.public, 2, alpha=None, seed=0)
    members = (replace(members[0], train=members[0].train.take(slice(0, 30))), members[1])
    one = replace(federation, members=members, examples=None, client=replace(federation.client, recipe=DELTA))
    told = []
    state = begin(one)
    after = advance(one, state, seen=lambda i, update, batch: told.append((update, batch.size)))
    total = sum(size for _, size in told)
    for name, value in weights(after).items():
        mean = sum(update.values[name] * size for update, size in told) / total
        torch.testing.assert_close(value, weights(state)[name] + mean, rtol=1e-5, atol=1e-7)
    assert [size for _, size in told] == [30, 400]
    assert all(update.batch_size == size and update.round == 0 for update, size in told)


@pytest.mark.parametrize("strategy", [FedAvg(), FedAdam(lr=0.02)])
def test_a_resumed_training_ends_with_the_same_bits(federation, tmp_path, strategy) -> None:
    one = replace(federation, strategy=strategy, defense=TopK(keep=0.2, error_feedback=True))
    whole = run(one, begin(one), 4)
    half = run(one, begin(one), 2)
    path = save_checkpoint(half, tmp_path / "state.safetensors", identity="a")
    resumed = run(one, load_checkpoint(path, one, identity="a"), 2)
    assert same(weights(whole), weights(resumed))
    assert [r.accuracy for r in whole.rounds] == [r.accuracy for r in resumed.rounds]
    assert resumed.first == whole.first


def test_checkpoints_of_others_and_damaged_ones_are_refused(federation, tmp_path) -> None:
    path = save_checkpoint(begin(federation), tmp_path / "state.safetensors", identity="a")
    with pytest.raises(BadConfig, match="another training"):
        load_checkpoint(path, federation, identity="b")
    wider = replace(federation, client=replace(federation.client, model=mlp((1, 8, 8), 10, widths=(17,))))
    with pytest.raises(BadInput, match="shape"):
        load_checkpoint(path, wider, identity="a")
    with pytest.raises(BadInput, match="damaged"):
        load_checkpoint(path, replace(federation, members=federation.members[:2]), identity="a")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BadInput, match="not a readable"):
        load_checkpoint(path, federation, identity="a")


@dataclass(frozen=True, kw_only=True)
class Fails(Defense):
    """Breaks in a way of its own for the members whose update is large."""

    how: str

    def on_gradients(self, values, *, rng, memory):
        if memory.get("told"):
            return dict(values)
        memory["told"] = True
        if self.how == "raises":
            raise RuntimeError("out of noise")
        if self.how == "key":
            return {"other": torch.zeros(1)}
        if self.how == "shape":
            return {name: value.flatten() for name, value in values.items()}
        return {name: value * float("nan") for name, value in values.items()}


@pytest.mark.parametrize(
    ("how", "why"), [("raises", "out of noise"), ("key", "missing"), ("shape", "has shape"), ("nan", "not finite")]
)
def test_a_defense_that_fails_sends_nothing(federation, how, why) -> None:
    one = replace(federation, defense=Fails(how=how))
    state = begin(one)
    state.memories[1]["told"] = state.memories[2]["told"] = True
    told = []
    state = advance(one, state, seen=lambda i, *_: told.append(i))
    assert told == [1, 2]
    assert list(state.rounds[0].refused) == ["client 0"]
    assert why in state.rounds[0].refused["client 0"]
    assert state.rounds[0].uplink_bytes == 2 * sum(4 * v.numel() for v in weights(state).values())
    with pytest.raises(BadInput, match="no client sent anything"):
        advance(one, begin(one))


class Remembers(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(64, 10)

    def forward(self, x):
        self.last = x
        return self.inner(x.flatten(1))


def test_a_model_that_remembers_its_input_does_not_hand_it_to_the_observer(federation) -> None:
    one = replace(federation, client=replace(federation.client, model=Remembers()))
    seen = []
    state = begin(one)
    for _ in range(2):
        state = advance(one, state, seen=lambda i, update, _: seen.append(update.model))
    assert len(seen) == 6
    assert not any(hasattr(model, "last") for model in seen)


def test_diverged_training_stops_and_says_so(federation) -> None:
    one = replace(federation, client=replace(federation.client, recipe=replace(DELTA, lr=1e30)))
    with pytest.raises(BadInput, match=r"round 0.*not finite"):
        run(one, begin(one), 3)


def test_strategy_and_recipe_must_agree(federation, digits_data) -> None:
    with pytest.raises(BadConfig, match="send a gradient"):
        replace(federation, strategy=FedSGD())
    from gradiometer.core import Batch

    with pytest.raises(Unsupported, match="integer labels"):
        replace(federation, test=Batch(x=digits_data.test["x"]))


def test_worst_member_is_measured_on_its_own_examples(federation) -> None:
    state = run(federation, begin(federation), 2)
    last = state.rounds[-1].accuracy
    assert last.worst <= last.value + 0.2
    assert last.worst_member in {member.name for member in federation.members}
    assert state.rounds[0].uplink_bytes == 3 * sum(4 * v.numel() for v in weights(state).values())
    quantized = run(replace(federation, defense=Quantize(bits=8)), begin(federation), 1)
    assert quantized.rounds[0].uplink_bytes < 0.3 * state.rounds[0].uplink_bytes
