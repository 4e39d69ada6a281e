"""Secure aggregation on Flower's own message objects, without a network: parity, dropouts, and everything refused."""

from __future__ import annotations

import json
import pickle
import runpy
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # typer's use of click, while Flower is imported
    pytest.importorskip("flwr")
    from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from gradiometer.core import BadInput, Client, Recipe, load_update, trainable
from gradiometer.defenses import ClientDP, Clip
from gradiometer.federation import FedAdam, FedAvg, Federation, SecureAggregation, advance, begin, deal
from gradiometer.federation.flower import Defend, Mask, Record, client_app, server_app
from gradiometer.federation.flower.mod import REFUSED
from gradiometer.federation.secure import load_directory, load_member, save_members
from gradiometer.models.mlp import mlp

LocalGrid = runpy.run_path(str(Path(__file__).with_name("local_grid.py")))["LocalGrid"]
SECURE = SecureAggregation(clip=0.5, bits=24)
STEP = 0.5 / 2**23


@pytest.fixture
def federation(digits_data) -> Federation:
    recipe = Recipe(sends="delta", epochs=1, batch_size=16, lr=0.1, shuffle=True)
    client = Client(model=mlp((1, 8, 8), 10, widths=(16,)), layout=digits_data.layout, recipe=recipe)
    members = deal(digits_data.public, 4, alpha=0.5, holdout=0.2, seed=1)
    return Federation(
        client=client,
        members=members,
        strategy=FedAvg(),
        examples=32,
        test=digits_data.test,
        seed=1,
        aggregation=SECURE,
    )


def run(one: Federation, place: Path, rounds: int = 2, wrap=lambda app: app) -> list[dict]:
    """Trains in Flower; the lines that the server wrote about the rounds."""
    save_members(place / "keys", range(len(one.members)))
    mods = [
        Mask(one.client.model, partial(load_member, place / "keys"), most=one.most),
        Record(one.client, place / "sent"),
        Defend(one.defense, one.client.model, seed=one.seed, summed=True),
    ]
    grid = LocalGrid(wrap(client_app(one, mods=mods)), len(one.members))
    directory = load_directory(place / "keys")
    main = server_app(one, rounds=rounds, folder=place / "server", directory=directory)
    main(grid, Context(1, 9, {}, RecordDict(), {}))
    return [json.loads(line) for line in (place / "server" / "replies.jsonl").read_text().splitlines()]


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.head = nn.Linear(64, 12), nn.BatchNorm1d(12), nn.Linear(12, 10)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.inner(x.flatten(1)))))


@pytest.mark.parametrize(
    "changes",
    [{}, {"strategy": FedAdam(lr=0.02)}, {"defense": ClientDP(clients=4, noise_multiplier=0.1)}],
    ids=["mean", "adam", "noise in parts"],
)
def test_the_same_sums_and_weights_as_in_process(federation, tmp_path, changes) -> None:
    compare(replace(federation, **changes), tmp_path)


def test_buffers_travel_under_the_masks(federation, tmp_path) -> None:
    torch.manual_seed(0)
    recipe = replace(federation.client.recipe, mode="train")
    client = replace(federation.client, model=Normed(), recipe=recipe)
    compare(replace(federation, client=client, aggregation=replace(SECURE, clip=4.0)), tmp_path)


def compare(one: Federation, tmp_path: Path) -> None:
    """Two rounds in process and in Flower: what the server sees of each, and how good its models are."""
    told, state = [], begin(one)
    for _ in range(2):
        state = advance(one, state, seen=lambda *seen: told.append(seen))
    lines = run(one, tmp_path)
    for (_, want, _), line in zip(told, lines, strict=True):
        found = load_update(tmp_path / f"server/round-{want.round:04d}-sum.safetensors", model=one.client.model)
        assert (found.clients, line["survivors"]) == (want.clients, [0, 1, 2, 3])
        assert found.batch_size == line["examples"] == (want.batch_size if one.most else None)
        assert want.wire_bytes == pytest.approx(line["wire_bytes"], rel=0.01)
        for name, value in want.values.items():
            torch.testing.assert_close(found.values[name], value, atol=1e-4 * (want.round + 0.1), rtol=0)
        for name, value in (want.buffers or {}).items():
            torch.testing.assert_close(found.buffers[name], value, atol=1e-4, rtol=0)
    assert len(list((tmp_path / "sent").iterdir())) == 8, "what clients keep of their own updates stays with them"
    accuracy = [
        json.loads(line)["accuracy"] for line in (tmp_path / "server" / "server.jsonl").read_text().splitlines()
    ]
    assert accuracy == pytest.approx([state.first.value, *(r.accuracy.value for r in state.rounds)], abs=0.01)


@pytest.mark.parametrize("stage", ["advertise", "share", "mask", "consent", "open"])
def test_a_node_that_dies_at_any_stage(federation, tmp_path, stage) -> None:
    def dying(app):
        def call(message, context):
            if context.node_id == 2 and message.content["gradiometer.masked"]["stage"] == stage:
                raise RuntimeError("the node is gone")
            return app(message, context)

        return call

    fault, line = run(federation, tmp_path, 1, dying)[::-1]
    survivors = [0, 1, 2, 3] if stage in ("consent", "open") else [0, 1, 3]
    assert line["survivors"] == survivors
    assert fault["node"] == 2
    assert "the node is gone" in fault["refused"]
    found = load_update(tmp_path / "server/round-0000-sum.safetensors", model=federation.client.model)
    own = [
        load_update(tmp_path / f"sent/round-0000-member-{i:03d}.safetensors", model=federation.client.model)
        for i in survivors
    ]
    for name, value in found.values.items():
        mean = sum(update.values[name] * update.batch_size for update in own) / sum(u.batch_size for u in own)
        torch.testing.assert_close(value, len(own) * mean, atol=4e-6, rtol=0)


def test_too_few_nodes_lose_the_round_and_keep_the_weights(federation, tmp_path) -> None:
    def dying(app):
        def call(message, context):
            if context.node_id in (1, 2) and message.content["gradiometer.masked"]["stage"] == "mask":
                raise RuntimeError("gone")
            return app(message, context)

        return call

    lines = run(federation, tmp_path, 1, dying)
    assert "2 clients answered, at least 3 wanted" in lines[0]["refused"]
    told = [json.loads(line) for line in (tmp_path / "server" / "server.jsonl").read_text().splitlines()]
    assert told[0]["accuracy"] == told[1]["accuracy"]


class Client0:
    """Mod and state of client 0, beside the honest messages of a round that was played before."""

    def __init__(self, federation: Federation, place: Path) -> None:
        self.heard: list[Message] = []
        self.answers: list[Message] = []

        def listening(app):
            def call(message, context):
                reply = app(message, context)
                if context.node_id == 0:
                    self.heard.append(message)
                    self.answers.append(reply)
                return reply

            return call

        run(federation, place, 1, listening)
        self.model = federation.client.model
        self.mod = Mask(self.model, partial(load_member, place / "keys"), most=federation.most)
        self.context = Context(1, 0, {"partition-id": 0}, RecordDict(), {})
        self.trained = 0

    def __call__(self, message: Message) -> Message:
        def train(asked, _):
            self.trained += 1
            state = {k: Array(v.numpy()) for k, v in self.model.state_dict().items()}
            metrics = MetricRecord({"num-examples": 4})
            return Message(RecordDict({"arrays": ArrayRecord(state), "metrics": metrics}), reply_to=asked)

        return self.mod(message, self.context, train)


def refused(reply: Message, why: str) -> None:
    assert reply.has_error()
    assert reply.error.code == REFUSED
    assert why in reply.error.reason


def changed(message: Message, **fields: object) -> Message:
    content = RecordDict(
        {**message.content, "gradiometer.masked": ConfigRecord({**message.content["gradiometer.masked"], **fields})}
    )
    return Message(content, dst_node_id=0, message_type="train")


@pytest.fixture
def client(federation, tmp_path) -> Client0:
    return Client0(federation, tmp_path)


def test_only_masked_words_leave_and_keys_are_new_in_every_round(client) -> None:
    invitation, roster, *_ = client.heard
    reply = client(invitation)
    assert [*reply.content] == ["gradiometer.masked"]
    assert [*client.answers[2].content] == ["gradiometer.masked", "gradiometer.masked.words"]
    assert "secrets" not in reply.content["gradiometer.masked"]
    refused(client(roster), "other keys for this client")
    refused(client(invitation), "a replay")
    assert client.trained == 0


def test_below_the_floors_nothing_is_answered(client) -> None:
    for fields, why in [
        ({"clients": 2, "threshold": 2, "degree": 1}, "2 clients, at least 3 wanted"),
        ({"threshold": 2}, "does not resist"),
        ({"degree": 2}, "degree 2, at least 32 wanted"),
        ({"bits": 2}, "bits"),
        ({"clip": 1e-9}, "clip"),
    ]:
        refused(client(changed(client.heard[0], **fields)), why)


def test_a_server_that_goes_around_the_protocol_gets_nothing(client) -> None:
    invitation, roster, deliveries, consent, open_ = client.heard
    plain = Message(
        RecordDict({k: v for k, v in deliveries.content.items() if k != "gradiometer.masked"}),
        dst_node_id=0,
        message_type="train",
    )
    refused(client(plain), "no part in secure aggregation")
    for message in (roster, deliveries, consent, open_):
        refused(client(message), "no round has begun")
    assert not client(invitation).has_error()
    refused(client(changed(invitation, stage="undress")), "no stage")
    refused(client(deliveries), "'refused'")
    assert client.trained == 0, "without keys that were exchanged for it, the client does not even train"


def test_secrets_are_kept_between_stages_and_no_longer(federation, tmp_path) -> None:
    kept = []

    def looking(app):
        def call(message, context):
            reply = app(message, context)
            kept.append((message.content["gradiometer.masked"]["stage"], {*context.state["gradiometer.mask"]}))
            return reply

        return call

    run(federation, tmp_path, 1, looking)
    assert {stage for stage, names in kept if "secrets" in names} == {"advertise", "share", "mask", "consent"}
    assert all(names == {"after", "kind", "client", "stage"} for stage, names in kept if stage == "open")


@pytest.mark.parametrize("damage", ["missing", "longer", "pickle"])
def test_masked_words_that_cannot_be_read_leave_a_client_out(federation, tmp_path, damage) -> None:
    def lying(app):
        def call(message, context):
            reply = app(message, context)
            if context.node_id == 2 and "gradiometer.masked.words" in reply.content:
                words = reply.content["gradiometer.masked.words"]["words"].numpy()
                made = {
                    "missing": {},
                    "longer": {"words": Array(np.append(words, words[:3]))},
                    "pickle": {"words": Array("object", (1,), "numpy.ndarray", pickle.dumps([1]))},
                }[damage]
                reply.content["gradiometer.masked.words"] = ArrayRecord(made)
            return reply

        return call

    *_, line = sorted(run(federation, tmp_path, 1, lying), key=lambda line: "survivors" in line)
    assert line["survivors"] == [0, 1, 3]


def test_a_stage_is_answered_once(federation, tmp_path) -> None:
    def twice(app):
        def call(message, context):
            first = app(message, context)
            if context.node_id == 0 and not first.has_error():
                again = app(message, context)
                assert again.has_error()
                assert "nothing is sent" in again.error.reason or "replay" in again.error.reason
            return first

        return call

    lines = run(federation, tmp_path, 1, twice)
    assert lines[0]["survivors"] == [1, 2, 3], "whoever was asked twice is out of the round"


def test_another_model_for_one_client_is_refused(federation, tmp_path) -> None:
    def lying(app):
        def call(message, context):
            if context.node_id == 0 and message.content["gradiometer.masked"]["stage"] == "mask":
                arrays = message.content["arrays"]
                other = {k: Array(v.numpy() + (v.numpy().dtype.kind == "f")) for k, v in arrays.items()}
                content = RecordDict({**message.content, "arrays": ArrayRecord(other)})
                meta = message.metadata
                told = Message(content, dst_node_id=meta.dst_node_id, message_type="train")
                return app(told, context)
            return app(message, context)

        return call

    line, fault = run(federation, tmp_path, 1, lying)
    assert line["survivors"] == [1, 2, 3]
    assert "another model" in fault["refused"]


def test_identities_on_disk(tmp_path) -> None:
    place = save_members(tmp_path, [0, 3])
    member = load_member(place, 3)
    assert member.directory == load_directory(place)
    assert {*member.directory} == {0, 3}
    assert (place / "identity-003.key").stat().st_mode & 0o077 == 0
    for damage, why in [
        (lambda: (place / "identity-003.key").write_bytes((place / "identity-000.key").read_bytes()), "not the key"),
        (lambda: (place / "identity-003.key").unlink(), "cannot read"),
        (lambda: (place / "directory.json").write_text("[]"), "not a directory"),
    ]:
        damage()
        with pytest.raises(BadInput, match=why):
            load_member(place, 3)


def test_the_clients_defense_comes_before_the_masks(federation, tmp_path) -> None:
    one = replace(federation, defense=Clip(bound=0.01))
    run(one, tmp_path, 1)
    found = load_update(tmp_path / "server/round-0000-sum.safetensors", model=one.client.model)
    norm = torch.cat([value.flatten() for value in found.values.values()]).norm()
    assert 0 < norm < 0.04
    assert {*found.values} == {*trainable(one.client.model)}
