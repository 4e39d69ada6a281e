"""Rounds under secure aggregation: the plain mean to the fixed point, the sum alone to see, and members that drop out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from gradiometer.attacks.inference import RowSum
from gradiometer.core import BadConfig, Client, Data, Recipe, derive, trainable
from gradiometer.defenses import ClientDP
from gradiometer.federation import FedAvg, Federation, SecureAggregation, advance, begin, deal
from gradiometer.federation.leak import leaks
from gradiometer.models.mlp import mlp

SECURE = SecureAggregation(clip=0.5, bits=24)


@pytest.fixture
def federation(digits_data) -> Federation:
    recipe = Recipe(sends="delta", epochs=1, batch_size=16, lr=0.1)
    client = Client(model=mlp((1, 8, 8), 10, widths=(16,)), layout=digits_data.layout, recipe=recipe)
    members = deal(digits_data.public, 5, alpha=None, seed=0)
    members = (replace(members[0], train=members[0].train.take(slice(0, 30))), *members[1:])
    return Federation(client=client, members=members, strategy=FedAvg(), test=digits_data.test, seed=1)


def run(federation: Federation, rounds: int = 1):
    state, told = begin(federation), []
    for _ in range(rounds):
        state = advance(federation, state, seen=lambda *seen: told.append(seen))
    return state, told


def distance(one, other) -> float:
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values())
    return max(float((a - b).abs().max()) for a, b in pairs)


def test_the_mean_counts_examples_and_is_exact_to_the_fixed_point(federation) -> None:
    plain, each = run(federation)
    masked, told = run(replace(federation, aggregation=SECURE))
    assert 0 < distance(plain, masked) < 5 * 0.5 / 2**23
    [(whose, update, batch)] = told
    assert whose is None, "no single update may be shown"
    assert (update.clients, update.batch_size) == (5, batch.size) == (5, sum(size.size for *_, size in each))
    for name, value in update.values.items():
        mean = sum(one.values[name] * size.size for _, one, size in each) / batch.size
        torch.testing.assert_close(value, 5 * mean, atol=1e-5, rtol=0)
    one, bare = masked.rounds[0], plain.rounds[0]
    assert (one.clients, one.refused) == (5, {})
    raw = sum(value.numel() for value in update.values.values())
    assert one.uplink_bytes == update.wire_bytes > 5 * 4 * raw
    assert one.aggregation_seconds > 0 == bare.aggregation_seconds
    assert one.clipped == 0


def test_members_that_drop_out_leave_the_mean_of_the_others(federation) -> None:
    dropping = replace(federation, dropout=0.2, seed=12)
    assert [len(dropping.gone(number)) for number in range(3)] == [1, 0, 2]
    plain, _ = run(dropping)
    masked, told = run(replace(dropping, aggregation=SECURE), 3)
    once, _ = run(replace(dropping, aggregation=SECURE))
    assert distance(plain, once) < 5 * 0.5 / 2**23
    assert [update.clients for _, update, _ in told] == [4, 5]
    assert list(masked.rounds[0].refused.values()) == ["dropped out"]
    lost = masked.rounds[2]
    assert (lost.clients, lost.uplink_bytes, len(lost.refused)) == (0, 0, 5)
    assert "there is no sum: 3 clients answered, at least 4 wanted" in lost.refused.values()
    assert lost.accuracy == masked.rounds[1].accuracy, "a lost round leaves the weights"
    lower, _ = run(replace(dropping, aggregation=replace(SECURE, threshold=3)), 3)
    assert [one.clients for one in lower.rounds] == [4, 5, 3]


def test_a_range_that_is_too_small_is_told(federation) -> None:
    state, _ = run(replace(federation, aggregation=replace(SECURE, clip=1e-4)))
    assert 0.1 < state.rounds[0].clipped <= 1


def test_distributed_noise_on_the_grid_of_the_sum_is_summed_exactly(federation) -> None:
    step = 2.0**-12
    dp = ClientDP(where="distributed", bound=0.5, noise_multiplier=0.5, clients=5, step=step)
    dp_only, _ = run(replace(federation, defense=dp))
    wide = SecureAggregation(clip=step * (2**15 - 1), bits=16)
    both, told = run(replace(federation, defense=dp, aggregation=wide))
    assert distance(dp_only, both) < 1e-6, "nothing is rounded, nothing is clipped"
    [(_, update, _)] = told
    for value in update.values.values():
        torch.testing.assert_close(value / step, (value / step).round(), atol=2e-3, rtol=0)
    assert dp.sum_channel(5).std == pytest.approx(0.25)
    assert dp.sum_channel(4).std == pytest.approx(0.25 * 0.8**0.5)


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.head = nn.Linear(64, 12), nn.BatchNorm1d(12), nn.Linear(12, 10)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.inner(x.flatten(1)))))


def test_buffers_travel_under_the_masks_too(federation) -> None:
    torch.manual_seed(0)
    client = Client(
        model=Normed(), layout=federation.client.layout, recipe=replace(federation.client.recipe, mode="train")
    )
    one = replace(federation, client=client)
    plain, _ = run(one)
    masked, told = run(replace(one, aggregation=replace(SECURE, clip=2.0)))
    buffers, theirs = dict(plain.model.named_buffers()), dict(masked.model.named_buffers())
    for name in ("norm.running_mean", "norm.running_var"):
        torch.testing.assert_close(theirs[name], buffers[name], atol=1e-5, rtol=0)
        assert torch.equal(told[0][1].buffers[name], theirs[name])
    assert int(theirs["norm.num_batches_tracked"]) == 0, "counters stay the server's own"


def test_attacks_on_the_sum_are_judged_over_all_examples(federation, digits_data) -> None:
    _, [(_, update, batch)] = run(replace(federation, aggregation=SECURE))
    data = Data(private=batch, public=digits_data.public, layout=digits_data.layout)
    [leak] = leaks(update, data, [RowSum()], rng=derive(0))
    assert leak.examples == batch.size
    assert leak.reason == ""
    assert leak.labels > 0.8


def test_a_federation_too_small_for_it_is_refused_at_once(federation) -> None:
    with pytest.raises(BadConfig, match="secure aggregation"):
        replace(federation, members=federation.members[:1], aggregation=SECURE)
    with pytest.raises(BadConfig, match="threshold"):
        replace(federation, aggregation=SecureAggregation(threshold=6))
    with pytest.raises(BadConfig, match="dropout"):
        replace(federation, dropout=1.0)
    assert trainable(federation.client.model)
