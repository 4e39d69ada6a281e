"""A server (or a relay) that breaks the rules: every honest client refuses, says why, and answers nothing more."""

from __future__ import annotations

import copy
import random

import pytest
import torch

from gradiometer.core import BadInput
from gradiometer.federation.secure import Floors, Refused, SecureClient, Settings, members
from gradiometer.federation.secure.keys import public_half, sign
from gradiometer.federation.secure.view import advert_digest

ME = 12


def refused(one, stage, request, match, client=ME):
    """The client refuses this request, and then refuses the honest one too."""
    with pytest.raises(Refused, match=match):
        one.ask(stage, client, request)
    with pytest.raises(Refused, match="'refused': nothing is sent"):
        one.ask(stage, client, one.requests.get(stage, {}).get(client, {}))


def altered(record, **changes):
    return {**copy.deepcopy(record), **changes}


# Settings below the floors


@pytest.mark.parametrize(
    ("floors", "changes", "match"),
    [
        (Floors(), {"threshold": 3}, "threshold 3 with 6 clients"),
        (Floors(colluders=2), {}, "does not resist 2"),
        (Floors(clients=7), {}, "6 clients, at least 7"),
        (Floors(), {"degree": 2}, "degree 2, at least 32"),
        (Floors(degree=4), {"degree": 2}, "degree 2, at least 4"),
        (Floors(), {"clip": 1e9}, "clip 1e\\+09 outside"),
        (Floors(), {"clip": 1e-12}, "clip 1e-12 outside"),
        (Floors(bits=12), {"bits": 8}, "8 bits, at least 12"),
        (Floors(most=10), {}, "40 entries, at most 10"),
        (Floors(), {"clients": 2, "threshold": 2, "degree": 1}, "2 clients, at least 3"),
        (Floors(), {"threshold": 7}, "threshold must lie"),
        (Floors(), {"clip": float("nan")}, "clip must be positive"),
        (Floors(), {"bits": True}, "'bits'"),
        (Floors(), {"length": 0}, "length"),
    ],
)
def test_settings_below_the_floors(table, floors, changes, match):
    one = table(floors=floors)
    refused(one, "advertise", altered(one.settings.record(), **changes), match)


def test_several_floors_are_told_at_once(table):
    one = table()
    with pytest.raises(Refused, match=r"threshold 3.*bits"):
        one.ask("advertise", ME, altered(one.settings.record(), threshold=3, bits=3))


def test_a_client_alone_in_other_settings(table):
    """Another range for one client: its advert is signed for what it was told, so nobody else accepts it."""
    one = table()
    for client in one.clients:
        request = altered(one.settings.record(), clip=1e-3) if client == ME else None
        one.sent.setdefault("advertise", {})[client] = one.ask("advertise", client, request)
    roster = one.server.roster(one.sent["advertise"].values())
    refused(one, "share", roster, "client 10's keys are not signed", client=ME)
    with pytest.raises(Refused, match=f"client {ME}'s keys are not signed"):
        one.ask("share", 10, roster)


def test_another_model_for_one_client(table):
    """Model inconsistency: the others accept adverts for their own model's hash only, and each knows what it was sent."""
    one = table(context=b"m" * 32)
    one.play(until="mask")
    client, rng = one.clients[ME], torch.Generator()
    with pytest.raises(Refused, match="another model"):
        client.mask(one.requests["mask"][ME], one.vectors[ME], rng, context=b"n" * 32)
    other = one.clients[10]
    assert other.mask(one.requests["mask"][10], one.vectors[10], rng, context=b"m" * 32)["kind"] == "masked"
    alone = table(context=b"m" * 32)
    answers = [
        alone.ask("advertise", i, altered(alone.settings.record(), context=b"n" * 32) if i == ME else None)
        for i in alone.clients
    ]
    with pytest.raises(Refused, match=f"client {ME}'s keys are not signed"):
        alone.ask("share", 10, alone.server.roster(answers))


# Replay


def test_a_round_is_not_played_twice(table):
    one = table()
    later = SecureClient(member=one.members[ME].played(7))
    with pytest.raises(Refused, match="round 7 is not later than round 7: a replay"):
        later.advertise(one.settings.record())


def test_adverts_of_another_round(table):
    old, new = table(), table()
    new.settings = Settings.of(round=8, clients=6, length=40)
    old.members = new.members
    old.clients = {client: SecureClient(member=member) for client, member in new.members.items()}
    new.requests["advertise"] = dict.fromkeys(new.clients, new.settings.record())
    new.server = type(new.server)(new.settings)
    old.play(until="share"), new.play(until="share")
    roster = new.requests["share"][ME]
    for column in ("channel_keys", "mask_keys", "commitments", "signatures"):
        roster[column][0] = old.requests["share"][ME][column][0]
    refused(new, "share", roster, "client 10's keys are not signed for this round")


@pytest.mark.parametrize("stage", ["advertise", "share", "mask", "consent", "open"])
def test_no_stage_is_played_twice(table, stage):
    """Above all not the last one: a second list would open the other secret of somebody."""
    one = table()
    one.play()
    with pytest.raises(Refused, match="nothing is sent"):
        one.ask(stage, ME)


def test_stages_in_another_order(table):
    one = table()
    one.play(until="mask")
    with pytest.raises(Refused, match="asked to open, but this client's next stage is 'mask'"):
        one.ask("open", ME, {})


# Rosters


def edit(record, column, place, value):
    changed = copy.deepcopy(record)
    changed[column][place] = value
    return changed


def test_own_key_reflected(table):
    one = table()
    one.play(until="share")
    roster = one.requests["share"][ME]
    mine = roster["clients"].index(ME)
    for column in ("channel_keys", "mask_keys"):
        refused(one, "share", edit(roster, column, 0, roster[column][mine]), "stands in the roster twice")
        one.clients[ME].stage = "share"
    refused(one, "share", edit(roster, "mask_keys", 0, roster["channel_keys"][mine]), "stands in the roster twice")


def test_own_keys_exchanged(table):
    """The server signs nothing in this client's name; but even with its identity stolen, the client knows its own keys."""
    one = table()
    one.play(until="share")
    roster, mine = one.requests["share"][ME], one.requests["share"][ME]["clients"].index(ME)
    keys = public_half(b"\7" * 32), roster["mask_keys"][mine], roster["commitments"][mine]
    forged = edit(roster, "channel_keys", mine, keys[0])
    signature = sign(one.members[ME].identity, advert_digest(one.settings, ME, *keys))
    refused(one, "share", edit(forged, "signatures", mine, signature), "other keys for this client")


def test_man_in_the_middle(table):
    one = table()
    one.play(until="share")
    roster = one.requests["share"][ME]
    refused(one, "share", edit(roster, "mask_keys", 0, public_half(b"\1" * 32)), "client 10's keys are not signed")


def test_strangers_and_missing_clients(table):
    one, other = table(), table()
    one.play(until="share"), other.play(until="share")
    refused(one, "share", other.requests["share"][ME], "not signed")
    roster = one.requests["share"][13]
    place = roster["clients"].index(13)
    without = {name: value if name == "kind" else value[:place] + value[place + 1 :] for name, value in roster.items()}
    refused(one, "share", without, "does not list this client", client=13)


def test_duplicated_clients(table):
    one = table()
    one.play(until="share")
    roster = one.requests["share"][ME]
    refused(one, "share", edit(roster, "clients", 1, 10), "ascending order, each once")


def test_small_rosters(table):
    one = table(floors=Floors(clients=5, degree=2))
    one.play(until="share")
    roster = one.requests["share"][ME]
    few = {name: value if name == "kind" else value[:4] for name, value in roster.items()}
    refused(one, "share", few, "4 clients, at least 5")
    fewer = {name: value if name == "kind" else value[:3] for name, value in roster.items()}
    refused(one, "share", fewer, "a roster of 3 clients, where 4 to 6", client=11)


# Shares


def test_altered_shares(table):
    one = table()
    one.play(until="mask")
    request = one.requests["mask"][ME]
    envelope = bytearray(request["envelopes"][0])
    envelope[3] ^= 1
    refused(one, "mask", edit(request, "envelopes", 0, bytes(envelope)), "share from client 10 was altered")


def test_shares_in_the_name_of_another(table):
    one = table()
    one.play(until="mask")
    request = one.requests["mask"][ME]
    first, second = request["envelopes"][:2]
    swapped = edit(edit(request, "envelopes", 0, second), "envelopes", 1, first)
    refused(one, "mask", swapped, "share from client 10 was altered")
    elsewhere = edit(one.requests["mask"][11], "envelopes", 0, request["envelopes"][0])
    refused(one, "mask", elsewhere, "share from client 10 was altered", client=11)


def test_own_envelope_reflected(table):
    """What this client sealed for 10 comes back as if 10 had sealed it: another key for either direction."""
    one = table()
    one.play(until="mask")
    back = edit(one.requests["mask"][ME], "envelopes", 0, one.sent["share"][ME]["envelopes"][0])
    refused(one, "mask", back, "share from client 10 was altered")


def test_a_nonce_chosen_afterwards(table):
    one = table(8, degree=4)
    one.play(until="mask")
    refused(one, "mask", edit(one.requests["mask"][ME], "nonces", 0, bytes(32)), "not the one it committed to")


def test_values_that_do_not_fit(table):
    one = table()
    one.play(until="mask")
    for client, vector in ((10, one.vectors[10][:-1]), (11, one.vectors[11] * float("nan"))):
        one.vectors[client] = vector
        with pytest.raises(BadInput, match="40 finite values"):
            one.ask("mask", client)
        assert one.clients[client].stage == "refused"


# Lists of survivors


@pytest.mark.parametrize(
    ("listed", "match"),
    [
        ([10, 11, 13, 14, 15], "this client did not survive"),
        ([10, 11, 12], "3 survivors, at least 4"),
        ([10, 11, 12, 13, 99], "never shared"),
        ([10, 11, 11, 12, 13], "ascending order, each once"),
        ([13, 12, 11, 10], "ascending order, each once"),
        ([10, 11, 12, 13.0], "no integer"),
        ("all", "is no list"),
    ],
)
def test_wrong_lists(table, listed, match):
    one = table()
    one.play(until="consent")
    refused(one, "consent", {"kind": "survivors", "clients": listed}, match)


def test_two_lists(table):
    """Half of the clients are told that 15 survived, the others that it did not: nobody opens anything."""
    one = table()
    one.play(until="consent")
    everybody, fewer = list(one.clients), list(one.clients)[:-1]
    listed = {client: everybody if client < 13 else fewer for client in fewer} | {15: everybody}
    consents = {
        client: one.ask("consent", client, {"kind": "survivors", "clients": clients})["signature"]
        for client, clients in listed.items()
    }
    for client, clients in listed.items():
        agreeing = [other for other in clients if listed[other] == clients]
        request = {"kind": "consents", "clients": agreeing, "signatures": [consents[other] for other in agreeing]}
        expected = "at least 4" if len(agreeing) < 4 else None
        if expected:
            refused(one, "open", request, expected, client=client)
    mixed = {"kind": "consents", "clients": fewer, "signatures": [consents[other] for other in fewer]}
    for client in one.clients:
        if one.clients[client].stage == "open":
            refused(one, "open", mixed, "did not consent to the list", client=client)


def test_both_secrets_of_one_client_are_never_opened(table):
    """Two lists at random, told to clients at random: shares are opened for one of them at most, by 4 clients or more."""
    draw, outcomes = random.Random(0), set()
    for _ in range(8):
        one = table()
        one.play(until="consent")
        everybody = list(one.clients)
        lists = [everybody, sorted(draw.sample(everybody, draw.randint(4, 5)))]
        told = {client: draw.choices(lists, (draw.random(), 1))[0] for client in everybody}
        signatures = {
            client: one.ask("consent", client, {"kind": "survivors", "clients": listed})["signature"]
            for client, listed in told.items()
            if client in listed
        }
        opened = set()
        for client in signatures:
            agreeing = [other for other in told[client] if other in signatures and told[other] == told[client]]
            record = {"clients": agreeing, "signatures": [signatures[other] for other in agreeing]}
            try:
                one.ask("open", client, {"kind": "consents", **record})
            except Refused:
                continue
            opened.add(tuple(told[client]))
        assert len(opened) <= 1
        outcomes.add(len(opened))
    assert outcomes == {0, 1}, "the server both failed and succeeded"


def test_a_graph_that_would_fall_apart(table):
    """Of a circle of 4 neighbors each, all those of one client are said to have dropped out."""
    one = table(20, degree=4, threshold=11)
    one.play(until="consent")
    victim = 14
    near = one.clients[victim].view.neighbors[victim]
    left = [client for client in one.clients if client not in near]
    refused(one, "consent", {"kind": "survivors", "clients": left}, "keeps fewer than 3 neighbors", client=victim)
    other = next(client for client in left if client != victim)
    refused(one, "consent", {"kind": "survivors", "clients": left}, "keeps fewer than 3 neighbors", client=other)


def test_consents_that_are_few_forged_or_strange(table):
    for change, match in [
        (lambda r: {**r, "clients": r["clients"][:3], "signatures": r["signatures"][:3]}, "3 consents, at least 4"),
        (lambda r: {**r, "signatures": [r["signatures"][1], *r["signatures"][1:]]}, "client 10 did not consent"),
        (lambda r: {**r, "clients": [*r["clients"][:-1], 99]}, "from survivors wanted"),
        (lambda r: {**r, "clients": [10, 10, 10, 10, 10, 10]}, "ascending order, each once"),
        (lambda r: {**r, "signatures": r["signatures"][:-1]}, "5 items instead of 6"),
    ]:
        one = table()
        one.play(until="open")
        refused(one, "open", change(one.requests["open"][ME]), match)


def test_consents_of_another_round(table):
    old, new = table(), table()
    old.play(until="open"), new.play(until="open")
    refused(new, "open", old.requests["open"][ME], "did not consent")


# Records


@pytest.mark.parametrize("stage", ["advertise", "share", "mask", "consent", "open"])
@pytest.mark.parametrize("record", [7, [], b"", {}, {"kind": "roster"}, {"kind": 3}, "advert"], ids=repr)
def test_records_of_no_kind(table, stage, record):
    one = table()
    one.play(until=stage)
    refused(one, stage, record, "record")


def test_fields_missing_unknown_or_of_other_types(table):
    stages = ("advertise", "share", "mask", "consent", "open")
    for stage in stages:
        honest = table()
        honest.play(until=stage)
        for name in honest.requests[stage][ME]:
            for value in (None, -1, 2**70, b"x", "x", [None], [2**70], [b"x"], {}, 1e400):
                one = table()
                one.members, one.clients = honest.members, {ME: copy.copy(honest.clients[ME])}
                with pytest.raises(Refused):
                    one.ask(stage, ME, {**honest.requests[stage][ME], name: value})
        for odd in ({"extra": 1}, {3: 1}):
            one.clients = {ME: copy.copy(honest.clients[ME])}
            with pytest.raises(Refused, match="unknown fields"):
                one.ask(stage, ME, {**honest.requests[stage][ME], **odd})


def test_keys_of_low_order():
    from gradiometer.federation.secure.keys import agree

    with pytest.raises(Refused, match="no secret can be agreed"):
        agree(b"\1" * 32, bytes(32), b"")


def test_secrets_are_not_printed():
    member = members([1, 2, 3])[1]
    client = SecureClient(member=member)
    client.advertise(Settings.of(round=0, clients=3, length=1).record())
    for secret in (member.identity, client.channel_private, client.mask_private, client.self_seed):
        assert repr(secret) not in repr(client)
