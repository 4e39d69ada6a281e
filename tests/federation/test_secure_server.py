"""Clients that break the rules, seen from the server: they count as dropped out, and the server says why."""

from __future__ import annotations

import pytest

from gradiometer.federation.secure import Refused

ME = 12

STEPS = {"advertise": "roster", "share": "deliver", "mask": "survivors", "consent": "consents", "open": "total"}


@pytest.mark.parametrize("stage", STEPS)
def test_the_server_leaves_out_what_does_not_fit_and_goes_on(table, stage):
    """Records of no client, of a stranger, malformed and sent twice: those who sent them count as dropped out."""
    one = table()
    one.play(until=stage)
    answers = {client: one.ask(stage, client) for client in one.requests[stage]}
    if stage == "advertise":
        one.server.directory = one.members[ME].directory
    odd = [
        None,
        {**answers[10], "client": 99},
        {**answers[10], "extra": 1},
        {**answers[11], "kind": "other"},
        answers[12],
    ]
    getattr(one.server, STEPS[stage])([*answers.values(), *odd])
    assert len(one.server.faults) == len(odd)


@pytest.mark.parametrize(
    ("stage", "change", "fault"),
    [
        ("advertise", lambda one, r: {**r, "signature": bytes(64)}, "not signed by the identity"),
        ("advertise", lambda one, r: {**r, "mask_key": r["channel_key"]}, "advertises a key twice"),
        ("share", lambda one, r: {**r, "nonce": bytes(32)}, "not the one it committed to"),
        ("share", lambda one, r: {**r, "envelopes": r["envelopes"][:-1]}, "4 items instead of 5"),
        ("mask", lambda one, r: {**r, "words": r["words"][:-1]}, "is not 120 bytes long"),
        ("mask", lambda one, r: {**r, "words": list(r["words"])}, "is not 120 bytes long"),
        ("consent", lambda one, r: {**r, "signature": b""}, "is not 64 bytes long"),
        ("open", lambda one, r: {**r, "shares": r["shares"][1:]}, "5 items instead of 6"),
    ],
)
def test_clients_that_break_the_rules(table, stage, change, fault):
    one = table()
    one.server.directory = one.members[ME].directory
    one.play(until=stage)
    answers = [change(one, one.ask(stage, client)) for client in one.requests[stage]]
    with pytest.raises(Refused, match=f"0 clients answered, at least 4 wanted; .*{fault}"):
        getattr(one.server, STEPS[stage])(answers)


def test_altered_shares_do_not_open_a_wrong_sum(table):
    one = table()
    one.play(until="open")
    answers = [one.ask("open", client) for client in one.requests["open"]]
    answers[0]["shares"][1] = answers[0]["shares"][2]
    with pytest.raises(Refused, match="shares of client 11's secret do not fit together"):
        one.server.total(answers)
