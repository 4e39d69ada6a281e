"""The Flower adapter on Flower's own message objects, without a network: parity, recording, and everything refused."""

from __future__ import annotations

import json
import logging
import re
import runpy
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # typer's use of click, while Flower is imported
    pytest.importorskip("flwr")
    from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
    from flwr.supercore.task_identity import TaskIdentity

from gradiometer.attacks import LinearBias
from gradiometer.core import BadConfig, Batch, Client, Data, Defense, Recipe, Unsupported, load_update, trainable
from gradiometer.defenses import BatchNormToGroupNorm, Clip, GaussianNoise, Quantize, TopK, chain
from gradiometer.federation import FedAdam, FedAvg, Federation, FedProx, FedSGD, advance, begin, deal
from gradiometer.federation.flower import Defend, Record, Recording, SelfAudit, client_app, server_app
from gradiometer.federation.flower.apps import flower_strategy
from gradiometer.federation.flower.mod import REFUSED
from gradiometer.models.mlp import mlp

DELTA = Recipe(sends="delta", epochs=1, batch_size=16, lr=0.1, shuffle=True)
DEFENSES = {
    "plain": Defense(),
    "clip and noise": chain(Clip(bound=1.0), GaussianNoise(std=0.01)),
    "8 bits": Quantize(bits=8),
    "top 10 % with feedback": TopK(keep=0.1, error_feedback=True),
}


LocalGrid = runpy.run_path(str(Path(__file__).with_name("local_grid.py")))["LocalGrid"]


@pytest.fixture
def federation(digits_data) -> Federation:
    client = Client(model=mlp((1, 8, 8), 10, widths=(16,)), layout=digits_data.layout, recipe=DELTA)
    members = deal(digits_data.public, 3, alpha=0.5, holdout=0.2, seed=1)
    return Federation(client=client, members=members, strategy=FedAvg(), examples=32, test=digits_data.test, seed=1)


def message(tensors, *, kind="train", round=1, key="arrays") -> Message:
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
    arrays = ArrayRecord({name: Array(value.numpy()) for name, value in tensors.items()})
    content = RecordDict({key: arrays, "config": ConfigRecord({"server-round": round})})
    return Message(content, dst_node_id=0, message_type=kind)


def context() -> Context:
    return Context(1, 0, {"partition-id": 0}, RecordDict(), {})


def answering(change=lambda state: state, calls=None):
    """A client whose training adds 1 to every weight, and then does what a test wants."""

    def call(asked, _):
        if calls is not None:
            calls.append(1)
        state = {
            k: torch.from_numpy(a.numpy().copy()) for k, a in next(iter(asked.content.array_records.values())).items()
        }
        state = change({k: v + 1 if v.is_floating_point() else v for k, v in state.items()})
        arrays = ArrayRecord({name: Array(value.numpy()) for name, value in state.items()})
        return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 4})}), reply_to=asked)

    return call


PAIRS = [(name, FedAvg()) for name in DEFENSES] + [("clip and noise", s) for s in (FedProx(mu=0.5), FedAdam(lr=0.02))]


@pytest.mark.parametrize(("name", "strategy"), PAIRS, ids=str)
def test_the_same_updates_and_weights_as_in_process(federation, tmp_path, name, strategy) -> None:
    one = replace(federation, strategy=strategy, defense=DEFENSES[name])
    told = {}
    state = begin(one)
    for _ in range(2):
        state = advance(one, state, seen=lambda i, update, batch: told.update({(update.round, i): update}))
    recipe = one.strategy.recipe(one.client.recipe)
    record = Record(replace(one.client, recipe=recipe), tmp_path / "client")
    app = client_app(one, mods=[record, Defend(one.defense, one.client.model, seed=one.seed)])
    grid = LocalGrid(app, 3)
    server_app(one, rounds=2, folder=tmp_path / "server")(grid, context())
    for (number, i), update in told.items():
        for side in ("client", "server"):
            path = tmp_path / side / f"round-{number:04d}-member-{i:03d}.safetensors"
            found = load_update(path, model=one.client.model)
            assert found.batch_size == update.batch_size
            assert found.recipe == update.recipe
            error = sum(float((found.values[k] - v).square().sum()) for k, v in update.values.items()) ** 0.5
            size = sum(float(v.square().sum()) for v in update.values.values()) ** 0.5
            # The second round starts from weights that differ in the last bits, which may tip a quantizer by a step.
            assert error < (1e-2 if number else 1e-5) * size
    lines = [json.loads(line) for line in (tmp_path / "server" / "server.jsonl").read_text().splitlines()]
    assert [line["accuracy"] for line in lines] == pytest.approx(
        [state.first.value, *(r.accuracy.value for r in state.rounds)], abs=0.01
    )


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(64, 12)
        self.norm = nn.BatchNorm1d(12)
        self.head = nn.Linear(12, 10)
        self.head.bias.requires_grad_(False)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.inner(x.flatten(1)))))


def test_error_feedback_lives_beside_the_clients_own_state(federation) -> None:
    model, own = federation.client.model, context()
    own.state["mine"] = ArrayRecord({"head": Array(torch.ones(2).numpy())})
    mod = Defend(TopK(keep=0.01, error_feedback=True), model)
    asked = message(model.state_dict())
    sent = [mod(asked, own, answering()) for _ in range(2)]
    assert not any(reply.has_error() for reply in sent)
    assert own.state.array_records["gradiometer.defend.tensors"]
    first, second = ({k: a.numpy() for k, a in reply.content["arrays"].items()} for reply in sent)
    assert any((first[k] != second[k]).any() for k in first), "the second round sends what the first left out"


def test_buffers_travel_and_are_part_of_the_update(federation, tmp_path) -> None:
    client = replace(federation.client, model=Normed(), recipe=replace(DELTA, mode="train"))
    one = replace(federation, client=client)
    told = []
    advance(one, begin(one), seen=lambda i, update, _: told.append(update))
    app = client_app(one, mods=[Defend(Clip(bound=0.1), client.model), Record(client, tmp_path)])
    LocalGrid(app, 3).send_and_receive([message(client.model.state_dict())])
    found = load_update(tmp_path / "round-0000-member-000.safetensors", model=Normed())
    assert set(found.buffers) == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert set(found.values) == set(trainable(client.model))
    for key, value in told[0].buffers.items():
        torch.testing.assert_close(found.buffers[key], value)
    assert found.recipe.shares_buffers


def test_what_leaves_is_defended_and_the_rest_passes(federation) -> None:
    model = federation.client.model
    reply = Defend(Clip(bound=1.0), model)(message(model.state_dict()), context(), answering())
    sent = {k: torch.from_numpy(a.numpy()) for k, a in reply.content["arrays"].items()}
    norm = sum(float((sent[k] - v).square().sum()) for k, v in model.state_dict().items()) ** 0.5
    assert norm == pytest.approx(1.0, rel=1e-4)
    assert reply.content["metrics"]["num-examples"] == 4


def test_noise_is_new_in_every_round_and_process(federation) -> None:
    model, defense = federation.client.model, GaussianNoise(std=1.0)
    told = [
        Defend(defense, model)(message(model.state_dict()), context(), answering()).content["arrays"] for _ in range(2)
    ]
    assert any((a.numpy() != b.numpy()).all() for a, b in zip(told[0].values(), told[1].values()))


@dataclass(frozen=True, kw_only=True)
class Raises(Defense):
    def on_gradients(self, values, *, rng, memory):
        raise RuntimeError("no noise left")


def hostile(model):
    """Messages of a server that does not send the model, and what the refusal says."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    first = next(iter(state))
    yield {**state, first: state[first][:, :1].clone()}, "has shape"
    yield {**state, first: state[first] * float("nan")}, "not finite"
    yield {k: v for k, v in state.items() if k != first}, "is missing"
    yield {**state, "implant": torch.zeros(3)}, "nobody asked for"
    yield {**state, first: state[first].double() * 1e200}, "not finite"


@pytest.mark.parametrize("kind", ["defend", "record", "audit"])
def test_a_hostile_server_gets_nothing(federation, tmp_path, caplog, kind, digits_data) -> None:
    model = federation.client.model
    mod = {
        "defend": Defend(Clip(bound=1.0), model),
        "record": Record(federation.client, tmp_path),
        "audit": SelfAudit(federation.client, [], lambda *_: digits_data),
    }[kind]
    logging.getLogger("flwr").propagate = True
    for tensors, why in hostile(model):
        calls: list[int] = []
        reply = mod(message(tensors), context(), answering(calls=calls))
        assert reply.has_error()
        assert reply.error.code == REFUSED
        assert why in reply.error.reason
        assert not calls, "the client must not even train"
    two = message(model.state_dict())
    two.content["more"] = next(iter(two.content.array_records.values()))
    assert "2 records of arrays" in mod(two, context(), answering()).error.reason
    assert "nothing is sent" in caplog.text


def test_a_client_that_returns_something_else_sends_nothing(federation) -> None:
    model = federation.client.model
    mod, first = Defend(Clip(bound=1.0), model), next(iter(model.state_dict()))
    for change, why in [
        (lambda s: {k: v for k, v in s.items() if k != first}, "is missing"),
        (lambda s: s | {"raw": torch.zeros(2)}, "nobody asked for"),
        (lambda s: s | {first: s[first] * float("inf")}, "not finite"),
        (lambda s: s | {first: s[first][:1].clone()}, "has shape"),
    ]:
        reply = mod(message(model.state_dict()), context(), answering(change))
        assert reply.has_error()
        assert why in reply.error.reason
    failed = Message(Error(code=7, reason="own"), reply_to=message(model.state_dict()))
    assert mod(message(model.state_dict()), context(), lambda *_: failed).error.code == 7


def test_frozen_parameters_cannot_carry_what_is_not_defended() -> None:
    model = Normed()
    reply = Defend(Clip(bound=1.0), model)(message(model.state_dict()), context(), answering())
    assert "head.bias came back changed" in reply.error.reason


def test_a_defense_that_raises_lets_nothing_out(federation) -> None:
    model = federation.client.model
    reply = Defend(Raises(), model)(message(model.state_dict()), context(), answering())
    assert "no noise left" in reply.error.reason
    assert not reply.has_content()


def test_arrays_outside_of_training_are_refused(federation) -> None:
    model = federation.client.model
    mod = Defend(Clip(bound=1.0), model)
    assert mod(message(model.state_dict(), kind="query"), context(), answering()).has_error()
    asked = message(model.state_dict(), kind="evaluate")
    told = Message(RecordDict({"metrics": MetricRecord({"accuracy": 0.5})}), reply_to=asked)
    assert mod(asked, context(), lambda *_: told) is told
    assert not mod(message(model.state_dict(), kind="train.mine"), context(), answering()).has_error()


def test_what_a_mod_cannot_do_is_said_when_it_is_made(federation) -> None:
    with pytest.raises(Unsupported, match="works on the model"):
        Defend(chain(Clip(bound=1.0), BatchNormToGroupNorm()), federation.client.model)
    with pytest.raises(BadConfig, match="return weights"):
        Record(replace(federation.client, recipe=Recipe()), "anywhere")
    with pytest.raises(Unsupported, match="FedSGD"):
        flower_strategy(FedSGD(), 3)


def test_self_audit_sees_the_leak_and_tells_the_server_nothing(digits_data, tmp_path) -> None:
    client = Client(
        model=mlp((1, 8, 8), 10, widths=(32,)), layout=digits_data.layout, recipe=Recipe(sends="delta", lr=1.0)
    )
    own = digits_data.private.take([3])
    members = (deal(own, 1, alpha=None)[0],)
    one = Federation(client=client, members=members, strategy=FedAvg(), test=digits_data.test)
    data = Data(private=own, public=digits_data.public, layout=digits_data.layout)

    def run(*mods):
        app = client_app(one, mods=[SelfAudit(client, [LinearBias()], lambda *_: data, folder=tmp_path), *mods])
        return LocalGrid(app, 1).send_and_receive([message(client.model.state_dict())])[0]

    reply = run()
    assert dict(reply.content["metrics"]) == {"num-examples": 1}
    run(Defend(GaussianNoise(std=10.0), client.model))
    leak, defended = (json.loads(line) for line in (tmp_path / "leaks.jsonl").read_text().splitlines())
    assert leak["psnr"] > 60 > 25 > defended["psnr"]
    assert leak["identified"] == 1
    assert (leak["round"], leak["member"], leak["examples"]) == (0, 0, 1)


def test_a_self_audit_without_time_or_that_fails_holds_nothing_back(federation, digits_data, tmp_path) -> None:
    model = federation.client.model
    for audit in (
        SelfAudit(federation.client, [LinearBias()], lambda *_: digits_data, folder=tmp_path, budget=0.0),
        SelfAudit(federation.client, [LinearBias()], lambda *_: Data(private=Batch(z=torch.zeros(4)), layout={})),
    ):
        assert audit(message(model.state_dict()), context(), answering()).has_content()
    assert "time was spent" in (tmp_path / "leaks.jsonl").read_text()


def test_a_recording_server_leaves_hostile_replies_out(federation, tmp_path) -> None:
    model = federation.client.model
    strategy = Recording(flower_strategy(FedAvg(), 3), federation.client, tmp_path, rounds=[0])
    state = {k: v.clone() for k, v in model.state_dict().items()}
    first = next(iter(state))

    def app(asked, ctx):
        if ctx.node_id == 1:
            return answering(lambda s: s | {first: s[first] * float("nan")})(asked, ctx)
        if ctx.node_id == 2:
            return Message(Error(code=9, reason="will not"), reply_to=asked)
        return answering()(asked, ctx)

    grid = LocalGrid(app, 3)
    record = ArrayRecord({name: Array(value.numpy()) for name, value in state.items()})
    replies = grid.send_and_receive(strategy.configure_train(1, record, ConfigRecord(), grid))
    arrays, _ = strategy.aggregate_train(1, replies)
    for name, value in state.items():
        torch.testing.assert_close(torch.from_numpy(arrays[name].numpy()), value + 1)
    lines = [json.loads(line) for line in (tmp_path / "replies.jsonl").read_text().splitlines()]
    assert {line["node"]: line.get("refused", "") for line in lines} == {
        0: "",
        1: f"by the server: the client's reply: {first} holds values that are not finite",
        2: "by the client: will not",
    }
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["round-0000-member-000.safetensors"]


def test_the_three_lines_of_the_documentation_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "howto" / "flower.md").read_text()
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    net = names["net"]
    reply = names["app"](message(net.state_dict()), context())
    assert "AttributeError" in reply.error.reason, "the function that stands for the user's own returns nothing"
    assert (tmp_path / "seen").is_dir()
    bare = names["secure_app"](message(net.state_dict()), context())
    assert "no part in secure aggregation" in bare.error.reason, "a server that goes around it gets nothing"
