"""What t - 1 colluding clients and the server see is the same for all inputs of the honest ones with the same sum.

The argument has three steps. (1) Of every secret that was not opened the coalition holds at most t - 1 shares, which fit
every secret (`tests/numerics/test_shamir.py`). (2) Hence the seeds of masks between honest survivors, and the self-masks of
honest clients that are counted as lost, are unknown to it, and their ChaCha20 streams are to it as uniform words: this is
the assumption on X25519, HKDF and ChaCha20. (3) For uniform masks the two worlds have the same distribution: here is the
bijection between them, checked bit for bit. In the second world the honest clients hold other vectors with the same sum,
the masks that the coalition cannot compute are shifted, and every record and every colluder's memory is the same.
"""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
import torch

from gradiometer.federation.secure import SecureClient, Settings, members, save_client
from gradiometer.federation.secure import words as words_module
from gradiometer.federation.secure.keys import agree, public_half
from gradiometer.federation.secure.record import digest
from gradiometer.numerics import shamir

LENGTH, COUNT, THRESHOLD = 50, 10, 7
COLLUDERS, HONEST = [10, 11, 12, 13, 14, 15], [16, 17, 18, 19]
LATE, GONE = 19, 10
"""An honest client whose masked vector arrives but is counted as lost, and a colluder that is."""


class Oracle:
    """Uniform words for every seed, shifted where the test says so. Remembers who asked for what."""

    def __init__(self, shifts=None):
        self.shifts, self.asked = shifts or {}, set()

    def __call__(self, key):
        self.asked.add(key)
        draw = np.random.default_rng(int.from_bytes(key[:16], "big"))
        stream = draw.integers(0, 2**32, LENGTH, dtype=np.uint32)
        stream += self.shifts.get(key, np.uint32(0))
        return Stream(stream.tobytes())


class Stream:
    def __init__(self, data):
        self.data = data

    def update_into(self, zeros, buffer):
        size = len(zeros)
        buffer[:size], self.data = self.data[:size], self.data[size:]


@pytest.fixture
def world(table, monkeypatch):
    """Plays one round in which all randomness is fixed but for the oracle; returns everything the coalition sees."""
    identities = members(range(10, 10 + COUNT))

    def play(vectors, oracle):
        monkeypatch.setattr(words_module, "keystream", oracle)
        one = table(COUNT, length=LENGTH, threshold=THRESHOLD)
        # A step of one: the rounding is exact.
        one.settings = Settings.of(round=7, clients=COUNT, length=LENGTH, threshold=THRESHOLD, clip=32767.0, bits=16)
        one.server = type(one.server)(one.settings)
        one.members = identities
        one.clients = {
            client: SecureClient(member=member, entropy=random.Random(client).randbytes)
            for client, member in identities.items()
        }
        one.vectors = vectors
        one.requests["advertise"] = dict.fromkeys(one.clients, one.settings.record())
        one.play(until="mask", silent={})
        sent = {client: one.ask("mask", client) for client in one.clients}
        in_time = [record for client, record in sent.items() if client not in (LATE, GONE)]
        lists = one.server.survivors(in_time)
        one.requests["consent"] = dict.fromkeys(lists["clients"], lists)
        one.sent["consent"] = {client: one.ask("consent", client) for client in lists["clients"]}
        agreed = one.server.consents(one.sent["consent"].values())
        one.requests["open"] = dict.fromkeys(agreed["clients"], agreed)
        one.sent["mask"], one.sent["open"] = sent, {client: one.ask("open", client) for client in agreed["clients"]}
        during = {*oracle.asked}
        oracle.asked.clear()
        total = one.server.total(one.sent["open"].values())
        seen = (one.requests, one.sent, {client: save_client(one.clients[client]) for client in COLLUDERS})
        return one, seen, total, during, {*oracle.asked}

    return play


def inputs(seed):
    draw = np.random.default_rng(seed)
    return {i: torch.from_numpy(draw.integers(-9000, 9000, LENGTH)).float() for i in range(10, 10 + COUNT)}


def pair_key(one, low, high):
    private = one.clients[low].mask_private
    return agree(private, public_half(one.clients[high].mask_private), digest("mask", one.settings.digest, low, high))


def test_the_coalition_sees_the_same_for_all_inputs_of_the_same_sum(world):
    first = inputs(1)
    one, seen, total, _, opened = world(first, Oracle())
    survivors = [client for client in HONEST if client != LATE]
    other = dict(first)
    for client in HONEST:
        other[client] = inputs(2)[client]
    other[survivors[-1]] = sum(first[i] for i in survivors) - sum(other[i] for i in survivors[:-1])

    difference = {i: (other[i] - first[i]).long().numpy().astype(np.uint32) for i in HONEST}
    shifts = {one.clients[LATE].self_seed: -difference[LATE]}
    carried = np.zeros(LENGTH, np.uint32)
    for low, high in pairwise(survivors):
        carried = carried - difference[low]
        shifts[pair_key(one, low, high)] = carried
    _, same, same_total, during, _ = world(other, Oracle(shifts))

    assert {*shifts} <= during, "the shifted masks are in use"
    assert not {*shifts} & opened, "the server never puts them together"
    assert not torch.equal(first[16], other[16])
    assert same == seen, "every record and every colluder's memory, bit for bit"
    assert torch.equal(same_total.values, total.values)


def test_the_coalition_holds_too_few_shares(world):
    """Of the key of every honest survivor and the seed of the lost one it holds t - 1 shares, and with t it has them."""
    one, (_, sent, memories), _, _, _ = world(inputs(1), Oracle())
    present = list(one.clients[16].view.present)
    held = {client: dict(zip(record["holders"], record["shares"])) for client, record in memories.items()}
    for victim in HONEST:
        secret = one.clients[victim].self_seed if victim == LATE else one.clients[victim].mask_private
        part = slice(0, shamir.SHARE) if victim == LATE else slice(shamir.SHARE, None)
        known = {client: shares[victim][part] for client, shares in held.items()}
        assert len(known) == THRESHOLD - 1
        opened = {
            record["shares"][present.index(victim)] for client, record in sent["open"].items() if client in HONEST
        }
        others = {one.clients[client].shares[victim][part] for client in HONEST}
        assert not opened & others, "honest clients open no share of this secret"
        known[16] = one.clients[16].shares[victim][part]
        points = shamir.weights([present.index(client) + 1 for client in known])
        assert shamir.combine(list(known.values()), points) == secret, "one share more gives it away"


def test_another_sum_is_seen(world):
    """The control: what the protocol is meant to show does differ."""
    first = inputs(1)
    _, seen, total, _, _ = world(first, Oracle())
    _, others, other_total, _, _ = world({**first, 16: first[16] + 1}, Oracle())
    assert torch.equal(other_total.values, total.values + 1)
    assert seen != others
