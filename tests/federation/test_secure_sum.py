"""Secure aggregation between honest parties: exact sums, dropouts, records that travel, states that are stored."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from gradiometer.core import BadConfig, derive
from gradiometer.federation.secure import Floors, Refused, SecureClient, Settings, load_client, save_client, secure_sum
from gradiometer.federation.secure.words import from_words, pack, to_words, unpack, word_bytes


@pytest.mark.parametrize("count", [3, 10])
@pytest.mark.parametrize("bits", [8, 16, 24])
def test_the_sum_is_that_of_the_rounded_vectors(table, count, bits):
    """Bit for bit what the fixed-point integers add up to, and so within one step a client of the true sum."""
    one = table(count, bits=bits)
    total = one.play()
    grid = one.settings.fixed_point
    rounded = sum(grid.encode(x, torch.Generator().manual_seed(i)) for i, x in one.vectors.items())
    assert torch.equal(total.values, grid.decode(rounded))
    assert (total.values - one.want(one.vectors)).abs().max() < count * grid.step
    assert total.survivors == tuple(one.vectors)


@pytest.mark.parametrize(
    "silent",
    [
        {"advertise": [11]},
        {"share": [12, 15, 19]},
        {"mask": [10, 11, 12]},
        {"consent": [10, 17, 18]},
        {"open": [11, 12, 19]},
        {"advertise": [10], "share": [12], "mask": [13]},
        {"mask": [14], "consent": [15], "open": [16]},
    ],
    ids=str,
)
@pytest.mark.parametrize("degree", [None, 6])
def test_three_in_ten_drop_out_at_any_stage(table, silent, degree):
    if degree and "mask" in silent:
        silent = {**silent, "mask": silent["mask"][:1]}  # a sparse graph bears fewer losses at that stage
    one = table(10, degree=degree)
    total = one.play(silent=silent)
    gone = {client for stage in ("advertise", "share", "mask") for client in silent.get(stage, ())}
    assert {*total.survivors} == {*one.clients} - gone
    assert (total.values - one.want(total.survivors)).abs().max() < len(total.survivors) * one.settings.fixed_point.step


def test_a_missing_nonce_joins_everybody(table):
    """The circle's order is taken from all nonces or from none."""
    for silent, expected in (({}, 4), ({"share": [13]}, 10)):
        one = table(12, degree=4)
        one.play(until="consent", silent=silent)
        views = [client.view for client in one.clients.values() if client.view]
        assert len({view.digest for view in views}) == 1
        assert {len(near) for near in views[0].neighbors.values()} == {expected}


def test_neighbors_that_survivors_must_keep():
    settings = Settings.of(round=0, clients=100, length=1, degree=32)
    assert Floors().least_neighbors(settings, 100) == 17
    assert Floors(colluders=2).least_neighbors(settings, 100) == 19
    assert Floors(colluders=30).least_neighbors(settings, 20) == 1, "everybody is everybody's neighbor"


def test_one_too_many_drops_out(table):
    with pytest.raises(Refused, match="6 clients answered, at least 7"):
        table(10).play(silent={"mask": [10, 11, 12, 13]})
    with pytest.raises(Refused, match="6 clients answered"):
        table(10).play(silent={"open": [10, 11, 12, 13]})


def test_masked_words_are_uniform():
    """Chi-square over the bytes of a million masked words of a constant vector: beyond neither 1e-4 quantile."""
    settings = Settings.of(round=0, clients=2, length=1_000_000, bits=15, threshold=2)
    assert settings.word_bytes == 2
    sent = []
    original = SecureClient.mask

    def listening(self, deliveries, values, rng):
        sent.append(original(self, deliveries, values, rng))
        return sent[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SecureClient, "mask", listening)
        secure_sum({0: torch.zeros(10**6), 1: torch.ones(10**6)}, settings, rng=derive(0), floors=Floors(clients=2))
    for record in sent:
        words = np.frombuffer(record["words"], "<u2")
        counts = np.bincount(words, minlength=2**16)
        statistic = float(((counts - words.size / 2**16) ** 2).sum() / (words.size / 2**16))
        assert chi2.ppf(1e-4, 2**16 - 1) < statistic < chi2.ppf(1 - 1e-4, 2**16 - 1)
        assert abs(np.corrcoef(words[:-1], words[1:])[0, 1]) < 5 / math.sqrt(words.size)


def test_two_rounds_of_the_same_vectors_share_no_word(table):
    first, second = table(4, length=1000, bits=28), table(4, length=1000, bits=28)
    first.play(), second.play()
    for client, record in first.sent["mask"].items():
        assert record["words"] != second.sent["mask"][client]["words"]


def test_states_are_stored_between_stages(table):
    """Every stage runs in a new object, made from a flat record of plain values."""
    one = table(5)

    def reborn(self, stage, client, request=None):
        record = save_client(self.clients[client])
        assert all(
            isinstance(value, int | float | str | bytes)
            or (isinstance(value, list) and all(isinstance(item, int | bytes) for item in value))
            for value in record.values()
        )
        self.clients[client] = load_client(record, self.members[client])
        return type(self).ask(self, stage, client, request)

    one.ask = reborn.__get__(one)
    total = one.play(silent={"mask": [12]})
    assert (total.values - one.want(total.survivors)).abs().max() < 4 * one.settings.fixed_point.step


def test_a_damaged_state_and_another_clients(table):
    one = table(4)
    one.play(until="mask")
    record = save_client(one.clients[10])
    with pytest.raises(Refused, match="not the state"):
        load_client(record, one.members[11])
    for name in ("secrets", "shares", "roster clients", "settings bits"):
        with pytest.raises(Refused):
            load_client({**record, name: []}, one.members[10])
    with pytest.raises(Refused):
        load_client({}, one.members[10])


@pytest.mark.parametrize("width", range(1, 8))
def test_words_go_back_and_forth(width):
    most = 2 ** (8 * width - 1) - 1
    integers = np.array([0, 1, -1, most, -most], np.int64)
    words = to_words(integers, width)
    assert np.array_equal(from_words(unpack(pack(words, width), width), width), integers)
    assert len(pack(words, width)) == 5 * width
    assert word_bytes(most) == width
    assert word_bytes(most + 1) == width + 1


def test_the_modulus_holds_the_greatest_sum():
    settings = Settings.of(round=0, clients=10, length=3, clip=1.0, bits=16)
    total = secure_sum({i: torch.full((3,), 9.0) for i in range(10)}, settings, rng=derive(0)).total
    assert total.values.tolist() == pytest.approx([10.0] * 3)
    assert settings.word_bytes == 3


def test_settings_that_cannot_be_played():
    with pytest.raises(BadConfig) as error:
        Settings(round=-1, clients=1, threshold=9, degree=3, length=0, clip=math.nan, bits=64)
    assert len(error.value.problems) >= 6


@pytest.mark.slow
@pytest.mark.parametrize("count", [10, 100])
def test_a_million_parameters(count):
    """Exact to the fixed point at full size, with three in ten gone after they shared their keys."""
    settings = Settings.of(round=0, clients=count, length=10**6)
    draw = torch.Generator().manual_seed(0)
    vectors = {i: torch.rand(10**6, generator=draw) * 2 - 1 for i in range(count)}
    gone = range(3 * count // 10)
    done = secure_sum(vectors, settings, rng=derive(0), silent={"mask": gone})
    want = sum(vectors[i].double() for i in done.total.survivors)
    assert len(done.total.survivors) == count - len(gone)
    assert (done.total.values - want).abs().max() < count * settings.fixed_point.step
