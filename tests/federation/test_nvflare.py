"""The NVFlare adapter on NVFlare's own message objects and chains of filters, without a network."""

from __future__ import annotations

import json
import logging
import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("nvflare")
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.filter import ContentBlockedException, FilterContextKey
from nvflare.apis.fl_constant import FLContextKey, ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.utils.task_utils import apply_filters
from nvflare.apis.workspace import Workspace
from nvflare.app_common.workflows.fedavg import FedAvg
from nvflare.job_config.api import FedJob
from nvflare.private.fed.app.fl_conf import create_privacy_manager
from nvflare.private.fed.simulator.simulator_app_runner import SimulatorClientRunManager
from nvflare.private.fed.utils.fed_utils import create_job_processing_context_properties

from gradiometer.attacks import LinearBias
from gradiometer.core import BadConfig, Client, Data, Defense, Recipe, Unsupported, derive, load_update
from gradiometer.defenses import BatchNormToGroupNorm, ClientDP, Clip, GaussianNoise, Quantize, TopK, chain
from gradiometer.federation.exchange import read_model
from gradiometer.federation.local import defended
from gradiometer.federation.nvflare import Defend, Record, SelfAudit
from gradiometer.federation.nvflare.filter import REFUSED
from gradiometer.models.mlp import mlp

pytestmark = pytest.mark.slow
DELTA = Recipe(sends="delta", batch_size=16, lr=0.1)


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(64, 12)
        self.norm = nn.BatchNorm1d(12)
        self.head = nn.Linear(12, 10)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.inner(x.flatten(1)))))


@pytest.fixture
def client(digits_data: Data) -> Client:
    return Client(model=mlp((1, 8, 8), 10, widths=(16,)), layout=digits_data.layout, recipe=DELTA)


class Site:
    """A site's filters, in both chains as NVFlare makes them: an object for each."""

    def __init__(self, folder: Path, *make, source="JOB", name="site-1") -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.name, self.chains = folder, name, {}
        for chain_type in ("task_data", "task_result"):
            self.chains[chain_type] = [one() for one in make]
            for part in self.chains[chain_type]:
                part.set_prop(FilterContextKey.CHAIN_TYPE, chain_type)
                part.set_prop(FilterContextKey.SOURCE, source)

    def context(self) -> FLContext:
        told = FLContext()
        told.set_prop(FLContextKey.APP_ROOT, str(self.folder), private=True, sticky=True)
        told.set_prop(ReservedKey.IDENTITY_NAME, self.name, private=False, sticky=True)
        return told

    def ask(self, task: Shareable, answer, calls=None) -> Shareable:
        """One task: NVFlare's own loop over the filters, and between them the client."""
        fl_ctx = self.context()
        asked = apply_filters("task_data_filters", task, fl_ctx, {"train/in": self.chains["task_data"]}, "train", "in")
        if calls is not None:
            calls.append(1)
        reply = answer(from_shareable(asked).data)
        return apply_filters(
            "task_result_filters", reply, fl_ctx, {"train/out": self.chains["task_result"]}, "train", "out"
        )


def task(tensors, *, round=0, kind=DataKind.WEIGHTS) -> Shareable:
    sent = DXO(
        kind, data={k: v.numpy().copy() if isinstance(v, torch.Tensor) else v for k, v in tensors.items()}
    ).to_shareable()
    sent.set_header("current_round", round)
    return sent


def answering(change=lambda data: data, *, kind=DataKind.WEIGHTS, torch_tensors=False, meta=None):
    """A client whose training adds 1 to every weight, and then does what a test wants."""

    def call(data):
        step = {k: np.asarray(1.0 if v.dtype.kind == "f" else 0).astype(v.dtype) for k, v in data.items()}
        new = {
            k: np.broadcast_to(step[k], v.shape) if kind == DataKind.WEIGHT_DIFF else v + step[k]
            for k, v in data.items()
        }
        new = change({k: torch.tensor(v) if torch_tensors else np.array(v) for k, v in new.items()})
        return DXO(kind, data=new, meta={"num_examples": 4} if meta is None else meta).to_shareable()

    return call


def delta_of(reply, model) -> dict[str, torch.Tensor]:
    dxo, state = from_shareable(reply), model.state_dict()
    sent = {name: torch.as_tensor(value) for name, value in dxo.data.items()}
    return {k: v if dxo.data_kind == DataKind.WEIGHT_DIFF else v - state[k] for k, v in sent.items()}


@pytest.mark.parametrize("torch_tensors", [False, True], ids=["numpy", "torch"])
@pytest.mark.parametrize("kind", [DataKind.WEIGHTS, DataKind.WEIGHT_DIFF])
@pytest.mark.parametrize("defense", [chain(Clip(bound=1.0), GaussianNoise(std=0.01)), Quantize(bits=8)], ids=str)
def test_what_leaves_is_defended_as_in_process(client, tmp_path, kind, torch_tensors, defense) -> None:
    site = Site(tmp_path, lambda: Defend(defense, client.model, seed=5))
    reply = site.ask(task(client.model.state_dict(), round=2), answering(kind=kind, torch_tensors=torch_tensors))
    dxo = from_shareable(reply)
    assert dxo.data_kind == kind
    assert all(isinstance(v, torch.Tensor if torch_tensors else np.ndarray) for v in dxo.data.values())
    assert dxo.get_meta_prop("num_examples") == 4
    assert dxo.get_filter_history() == ["Defend"]
    raw = {name: torch.ones_like(value) for name, value in client.model.named_parameters()}
    want = defended(raw, defense, {}, rng=derive(5, 2, "site-1", "defense"))
    for name, value in delta_of(reply, client.model).items():
        torch.testing.assert_close(value, want[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("defense", [chain(Clip(bound=1.0), GaussianNoise(std=0.01)), Quantize(bits=8)], ids=str)
def test_flowers_mod_sends_the_very_same(client, tmp_path, defense) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # typer's use of click, while Flower is imported
        pytest.importorskip("flwr")
        from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
        from flwr.supercore.task_identity import TaskIdentity

        from gradiometer.federation import flower

    def record(data):
        return ArrayRecord({name: Array(np.asarray(value)) for name, value in data.items()})

    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
    state = {name: value.numpy() for name, value in client.model.state_dict().items()}
    trained = from_shareable(answering()(state)).data
    asked = RecordDict({"arrays": record(state), "config": ConfigRecord({"server-round": 3})})
    mod = flower.Defend(defense, client.model, seed=5)
    theirs = mod(
        Message(asked, dst_node_id=0, message_type="train"),
        Context(1, 0, {"partition-id": 0}, RecordDict(), {}),
        lambda told, _: Message(RecordDict({"arrays": record(trained)}), reply_to=told),
    )
    site = Site(tmp_path, lambda: Defend(defense, client.model, seed=5), name="0")
    ours = from_shareable(site.ask(task(client.model.state_dict(), round=2), answering())).data
    for name, array in theirs.content["arrays"].items():
        assert (array.numpy() == ours[name]).all()


def test_buffers_travel_and_are_part_of_the_update(client, tmp_path) -> None:
    me = Client(model=Normed(), layout=client.layout, recipe=Recipe(sends="delta", mode="train", examples=9))
    site = Site(tmp_path, lambda: Defend(Clip(bound=0.1), me.model), lambda: Record(me, tmp_path / "sent"))
    site.ask(task(me.model.state_dict(), round=3), answering(meta={}))
    found = load_update(tmp_path / "sent" / "round-0003-site-1.safetensors", model=Normed())
    assert set(found.buffers) == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert (found.buffers["norm.running_mean"] == 1).all()
    assert (found.recipe.examples, found.batch_size, found.recipe.shares_buffers) == (9, None, True)
    assert sum(float(v.square().sum()) for v in found.values.values()) ** 0.5 == pytest.approx(0.1, rel=1e-4)


def test_noise_is_new_in_every_round_and_process(client, tmp_path) -> None:
    site = Site(tmp_path, lambda: Defend(GaussianNoise(std=1.0), client.model))
    one, two = (delta_of(site.ask(task(client.model.state_dict()), answering()), client.model) for _ in range(2))
    assert all((one[name] != two[name]).any() for name in one)


def test_error_feedback_lives_in_the_clients_run_folder(client, tmp_path) -> None:
    def ask():
        site = Site(tmp_path, lambda: Defend(TopK(keep=0.01, error_feedback=True), client.model))  # a new process
        return delta_of(site.ask(task(client.model.state_dict()), answering()), client.model)

    one, two = ask(), ask()
    assert any((one[name] != two[name]).any() for name in one), "the second round sends what the first left out"
    assert [path.name for path in tmp_path.iterdir()] == ["defense-of-JOB"]


def hostile(model):
    """What a server sends that is not the model, and what the refusal says."""
    state = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    first = next(iter(state))
    yield task({**state, first: state[first][:, :1]}), "has shape"
    yield task({**state, first: state[first] * np.nan}), "not finite"
    yield task({k: v for k, v in state.items() if k != first}), "is missing"
    yield task({**state, "implant": np.zeros(3)}), "nobody asked for"
    yield task({**state, first: state[first].astype(np.float64) * 1e200}), "not finite"
    yield task({**state, first: np.array([None, {}], dtype=object)}), "not an array of numbers"
    yield task({**state, first: np.array(["a"])}), "not an array of numbers"
    yield task(state, kind=DataKind.WEIGHT_DIFF), "difference to a model"


@pytest.mark.parametrize("kind", ["defend", "record", "audit"])
def test_a_hostile_server_gets_nothing(client, tmp_path, caplog, kind, digits_data) -> None:
    make = {
        "defend": lambda: Defend(Clip(bound=1.0), client.model),
        "record": lambda: Record(client, tmp_path),
        "audit": lambda: SelfAudit(client, [], lambda *_: digits_data),
    }[kind]
    for asked, why in hostile(client.model):
        calls: list[int] = []
        with caplog.at_level(logging.ERROR), pytest.raises(ContentBlockedException, match=why):
            Site(tmp_path, make).ask(asked, answering(), calls)
        assert not calls, "the client must not even train"
        assert f"nothing is sent: {make().__class__.__name__}" in caplog.text
    assert not list(tmp_path.iterdir())


def refused(reply) -> str:
    """The reason for a refusal, which is all there is in the reply."""
    assert reply.get_return_code() == ReturnCode.TASK_RESULT_FILTER_ERROR
    assert set(reply) == {"__headers__"}
    return reply.get_header(REFUSED)


def test_a_client_that_returns_something_else_sends_nothing(client, tmp_path) -> None:
    site, first = Site(tmp_path, lambda: Defend(Clip(bound=1.0), client.model)), next(iter(client.model.state_dict()))
    for change, why in [
        (lambda s: {k: v for k, v in s.items() if k != first}, "is missing"),
        (lambda s: s | {"raw": np.zeros(2)}, "nobody asked for"),
        (lambda s: s | {first: s[first] * np.inf}, "not finite"),
        (lambda s: s | {first: s[first][:1]}, "has shape"),
        (lambda s: s | {first: "text"}, "not an array of numbers"),
        (lambda s: {}, "without weights"),
    ]:
        assert why in refused(site.ask(task(client.model.state_dict()), answering(change)))


def test_nothing_leaves_beside_the_model(client, tmp_path) -> None:
    """Control variates, optimizer states, other messages: what NVFlare's own filters would let pass."""
    site = Site(tmp_path, lambda: Defend(Clip(bound=1.0), client.model))
    raw = {"layer": np.ones(3)}

    def beside(data):
        reply = answering()(data)
        reply["state"] = raw
        return reply

    client_data = {k: v.numpy() for k, v in client.model.state_dict().items()}
    fine = {"accuracy": 0.5, "history": [0.1, np.float32(0.2)], "of": {"site": "one"}}
    with_content = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    with_content["state"] = raw
    strange = Shareable()
    strange["weights"] = raw
    inside = DXO(DataKind.COLLECTION, data={"a": DXO(DataKind.WEIGHTS, data=raw)}).to_shareable()
    for answer, why in [
        (answering(meta={"scaffold_c_diff": raw}), "the reply's meta"),
        (lambda _: DXO(DataKind.METRICS, data=raw).to_shareable(), "'DXO'"),
        (lambda _: strange, "'weights'"),
        (lambda _: with_content, "'state'"),
        (lambda _: inside, "'DXO'"),
        (beside, "'state'"),
    ]:
        reply = site.ask(task(client_data), answer)
        assert "more than numbers and text" in refused(reply)
        assert why in refused(reply)
    for passing in (DXO(DataKind.METRICS, data=fine).to_shareable(), make_reply(ReturnCode.EXECUTION_EXCEPTION)):
        assert site.ask(task(client_data), lambda _, told=passing: told) is passing
    assert from_shareable(site.ask(task(client_data), answering(meta=fine))).get_meta_prop("accuracy") == 0.5


def test_a_model_that_nobody_sent_does_not_leave(client, tmp_path) -> None:
    site = Site(tmp_path, lambda: Defend(Clip(bound=1.0), client.model))
    data = {k: v.numpy() for k, v in client.model.state_dict().items()}
    site.chains["task_data"] = []
    assert "none came in with this task" in refused(site.ask(task(data), answering()))


@dataclass(frozen=True, kw_only=True)
class Raises(Defense):
    def on_gradients(self, values, *, rng, memory):
        raise RuntimeError("no noise left")


def test_a_defense_that_raises_lets_nothing_out(client, tmp_path, caplog) -> None:
    site = Site(tmp_path, lambda: Defend(Raises(), client.model), lambda: Record(client, tmp_path / "sent"))
    assert "no noise left" in refused(site.ask(task(client.model.state_dict()), answering()))
    assert "no noise left" in caplog.text
    assert not (tmp_path / "sent").exists(), "what is not sent is not recorded"


def test_an_update_that_cannot_be_recorded_is_not_sent(client, tmp_path) -> None:
    (tmp_path / "sent").write_text("in the way")
    site = Site(tmp_path, lambda: Record(client, tmp_path / "sent"))
    assert "sent" in refused(site.ask(task(client.model.state_dict()), answering()))


def test_what_a_filter_cannot_do_is_said_when_it_is_made_or_before_the_client_trains(client, tmp_path) -> None:
    with pytest.raises(Unsupported, match="works on the model"):
        Defend(chain(Clip(bound=1.0), BatchNormToGroupNorm()), client.model)
    with pytest.raises(Unsupported, match="part in the sum"):
        Defend(ClientDP(), client.model)
    for defense, why in [("gradiometer.defenses:Clip", "is a type"), ("gradiometer.defenses:Clamp", "did you mean")]:
        calls: list[int] = []
        with pytest.raises(ContentBlockedException, match=why):
            Site(tmp_path, lambda told=defense: Defend(told, client.model)).ask(
                task(client.model.state_dict()), answering(), calls
            )
        assert not calls


def test_self_audit_sees_the_leak_and_tells_the_server_nothing(digits_data, tmp_path) -> None:
    own = digits_data.private.take([3])
    me = Client(model=mlp((1, 8, 8), 10, widths=(32,)), layout=digits_data.layout, recipe=Recipe(sends="delta", lr=1.0))
    data = Data(private=own, public=digits_data.public, layout=digits_data.layout)

    def answer(received):
        model = mlp((1, 8, 8), 10, widths=(32,))
        state = read_model({k: torch.tensor(v) for k, v in received.items()}, model)
        model.load_state_dict(state)
        sent = Client(model=model, layout=me.layout, recipe=me.recipe).train(own, rng=derive(0))
        return DXO(
            DataKind.WEIGHTS, data={k: (state[k] + v).numpy() for k, v in sent.values.items()}, meta={"num_examples": 1}
        ).to_shareable()

    def audit():
        return SelfAudit(me, [LinearBias()], lambda *_: data, folder=tmp_path)

    reply = Site(tmp_path, audit).ask(task(me.model.state_dict()), answer)
    assert from_shareable(reply).meta == {"num_examples": 1, "filter_history": ["SelfAudit"]}
    Site(tmp_path, lambda: Defend(GaussianNoise(std=10.0), me.model), audit).ask(task(me.model.state_dict()), answer)
    leak, defended_leak = (json.loads(line) for line in (tmp_path / "leaks.jsonl").read_text().splitlines())
    assert leak["psnr"] > 60 > 25 > defended_leak["psnr"]
    assert (leak["round"], leak["member"], leak["examples"], leak["identified"]) == (0, "site-1", 1, 1)


MODULE = """
import torch
from gradiometer import Client, Recipe, image_layout
from gradiometer.defenses import Clip, GaussianNoise, chain
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
me = Client(model=net, layout=image_layout((1, 8, 8), 10), recipe=Recipe(sends="delta"))
both = chain(Clip(bound=1.0), GaussianNoise(std=0.01))
"""


@pytest.fixture
def named(tmp_path, monkeypatch) -> str:
    (tmp_path / "what_sites_have.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "what_sites_have", raising=False)
    return "what_sites_have"


def written(job: FedJob, tmp_path: Path) -> dict:
    job.export_job(str(tmp_path / "jobs"))
    return json.loads(next((tmp_path / "jobs").rglob("config_fed_client.json")).read_text())


def test_a_job_carries_names_and_no_code_of_ours(named, tmp_path) -> None:
    job = FedJob(name="job")
    job.to_server(FedAvg(num_clients=1, num_rounds=1))
    job.to_clients(Defend(Clip(bound=1.0), f"{named}:net"))
    job.to_clients(Record(f"{named}:me", "sent"), tasks=None)
    told = written(job, tmp_path)
    for direction in ("task_data_filters", "task_result_filters"):
        (one,) = told[direction]
        assert set(one["tasks"]) == {"train", "validate", "submit_model"}
        assert [part["path"].rpartition(".")[2] for part in one["filters"]] == ["Defend", "Record"]
        assert one["filters"][0]["args"]["defense"]["path"].startswith("gradiometer.defenses.")
    assert not list((tmp_path / "jobs").rglob("gradiometer")), "a job with some of our files would hide the others"


def test_what_a_job_cannot_carry_is_said(client, named) -> None:
    job = FedJob(name="job")
    with pytest.raises(BadConfig, match=r"Defend\(model=\.\.\.\) cannot be written"):
        job.to_clients(Defend(Clip(bound=1.0), client.model))
    with pytest.raises(BadConfig, match=r"Defend\(defense=\.\.\.\) cannot be written"):
        job.to_clients(Defend(chain(Clip(bound=1.0), Quantize(bits=8)), f"{named}:net"))
    with pytest.raises(BadConfig, match="would never run"):
        job.to_clients(Record(f"{named}:me", "sent"), tasks=["*"])


def test_a_sites_own_policy_covers_a_job_that_asks_for_nothing(named, tmp_path) -> None:
    """Read by NVFlare's own loader, run by NVFlare's own loop, before whatever filters the job brings."""
    filters = [
        {
            "path": "gradiometer.federation.nvflare.Defend",
            "args": {
                "defense": {"path": "gradiometer.defenses.Clip", "args": {"bound": 0.5}},
                "model": f"{named}:net",
            },
        },
        {
            "path": "gradiometer.federation.nvflare.Record",
            "args": {"client": f"{named}:me", "folder": str(tmp_path / "sent")},
        },
    ]
    policy = {"scopes": [{"name": "ours", "task_data_filters": filters, "task_result_filters": filters}]}
    (tmp_path / "startup").mkdir()
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "privacy.json").write_text(json.dumps(policy | {"default_scope": "ours"}))
    manager = create_privacy_manager(Workspace(str(tmp_path), "site-1"), names_only=False)
    fl_ctx = Site(tmp_path).context()
    fl_ctx.set_prop(FLContextKey.SCOPE_OBJECT, manager.get_scope(None), private=True, sticky=True)
    net = sys.modules[named].net if named in sys.modules else __import__(named).net
    asked = apply_filters("task_data_filters", task(net.state_dict()), fl_ctx, {}, "any task", "in")
    reply = answering()(from_shareable(asked).data)
    left = delta_of(apply_filters("task_result_filters", reply, fl_ctx, {}, "any task", "out"), net)
    assert sum(float(v.square().sum()) for v in left.values()) ** 0.5 == pytest.approx(0.5, rel=1e-4)
    assert (tmp_path / "sent" / "round-0000-site-1.safetensors").exists()


def test_the_simulator_does_not_apply_a_sites_policy(tmp_path) -> None:
    """As the documentation says. Where this fails, NVFlare has changed for the better."""
    told = {"name": "job"}
    for folder in ("startup", "local", "simulate_job"):
        (tmp_path / folder).mkdir()
    (tmp_path / "simulate_job" / "meta.json").write_text(json.dumps(told))
    workspace = Workspace(str(tmp_path), "site-1")
    here = SimulatorClientRunManager.create_job_processing_context_properties(None, workspace, "simulate_job")
    assert here == {FLContextKey.JOB_META: told}
    assert FLContextKey.SCOPE_OBJECT in create_job_processing_context_properties(workspace, "simulate_job")


def test_the_lines_of_the_documentation_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "howto" / "nvflare.md").read_text()
    setup, job, *_ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "hospital.py").write_text(setup)
    (tmp_path / "train.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "hospital", raising=False)
    names: dict[str, object] = {}
    exec(job, names)
    names["recipe"].export(str(tmp_path / "jobs"))
    (told,) = (json.loads(path.read_text()) for path in (tmp_path / "jobs").rglob("config_fed_client.json"))
    assert [part["path"].rpartition(".")[2] for part in told["task_result_filters"][0]["filters"]] == [
        "Defend",
        "Record",
    ]
    policy = json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0])
    (tmp_path / "startup").mkdir()
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "privacy.json").write_text(json.dumps(policy))
    scope = create_privacy_manager(Workspace(str(tmp_path), "site-1"), names_only=False).get_scope(None)
    assert [type(part) for part in scope.task_result_filters["out"]] == [Defend]
