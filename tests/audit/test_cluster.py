"""Ray: the same records as in one process, whichever nodes and processes are lost on the way."""

from __future__ import annotations

import importlib.util
import os
import runpy
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from gradiometer.audit import load_plan, run_audit
from gradiometer.audit.store import read_lines
from gradiometer.audit.trials import Trial
from gradiometer.audit.workers import given
from gradiometer.core import BadConfig, BadInput

TINY = runpy.run_path(str(Path(__file__).with_name("tiny.py")))
PLAN, figures, starts = (TINY[name] for name in ("PLAN", "figures", "starts"))
ATTACKS = """
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
from gradiometer.attacks.image import LinearBias

def node():
    import ray
    return ray.get_runtime_context().get_node_id() if ray.is_initialized() else "here"

@dataclass(frozen=True, kw_only=True)
class Slow(LinearBias):
    def run(self, update, rng):
        Path(f"node-{node()}").touch()
        time.sleep(0.5)
        return super().run(update, rng)

@dataclass(frozen=True, kw_only=True)
class Killer(LinearBias):
    times: int = 1

    def run(self, update, rng):
        killed = sum(1 for _ in Path(".").glob("killed-*"))
        if killed < self.times:
            Path(f"killed-{killed}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(update, rng)
"""


@pytest.fixture
def ray():
    found = pytest.importorskip("ray", exc_type=ImportError)
    yield found
    found.shutdown()


@pytest.fixture
def two_nodes(ray):
    """A cluster of two nodes of one processor each, on this machine."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def planned(attack):
    Path("some_attacks.py").write_text(ATTACKS)
    Path("plan.toml").write_text(PLAN.replace('name = "LinearBias"', f'name = "some_attacks:{attack}"'))
    return load_plan("plan.toml")


def test_without_ray_the_extra_is_named(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadConfig, match="not installed") as caught:
        run_audit(load_plan("plan.toml"), "run", ray="local")
    assert caught.value.fix == 'pip install "gradiometer[ray]"'
    assert figures("run") == {}


def test_an_answer_to_another_question_is_refused(project):
    from gradiometer.audit.cluster import Cluster
    from gradiometer.audit.setup import set_up
    from gradiometer.audit.trials import grid

    trial, *_ = grid(set_up(load_plan("plan.toml")))
    crew = object.__new__(Cluster)
    with pytest.raises(BadInput, match="asked for"):
        crew._taken(trial, {"record": {"id": "../../etc/passwd"}, "pictures": "", "log": ""})


class Losing:
    """A crew that loses the first trial so many times."""

    attempts = 3

    def __init__(self, times):
        self.times, self.running = times, []

    def room(self):
        return len(self.running) < 2

    def idle(self):
        return not self.running

    def give(self, trial):
        self.running.append(trial)

    def finished(self):
        trial = self.running.pop(0)
        if trial.batch == 0 and self.times:
            self.times -= 1
            yield trial, None, "lost"
        else:
            yield trial, {"id": trial.id}, ""

    def close(self):
        self.times = -1


@pytest.mark.parametrize(("times", "found"), [(0, 4), (2, 4), (3, 3)])
def test_what_is_lost_is_given_again_and_then_reported(times, found):
    trials = [Trial(id=str(i), kind="attack", client="c", batch=i) for i in range(4)]
    crew, log, started = Losing(times), [], []
    ended = list(given(crew, trials, log.append, started.append))
    assert sum(record is not None for _, record, _ in ended) == found
    assert sorted(trial.id for trial, _, _ in ended) == ["0", "1", "2", "3"]
    assert len(log) == min(times, 2)
    assert started == trials
    assert crew.times == -1


@pytest.mark.slow
def test_two_nodes_compute_what_one_process_computes(project, two_nodes):
    plan = planned("Slow")
    one = run_audit(plan, "one", jobs=1)
    two = run_audit(plan, "two", ray=two_nodes.address)
    assert figures("one") == figures("two")
    assert list(figures("two")) != []
    assert one.rows[0].verdict == two.rows[0].verdict
    assert len(list(Path(".").glob("node-*"))) == 3  # here, and both nodes
    for pictures in Path("one/gallery").iterdir():
        assert pictures.read_bytes() == (Path("two/gallery") / pictures.name).read_bytes()
    assert sorted(p.name for p in Path("one/gallery").iterdir()) == sorted(
        p.name for p in Path("two/gallery").iterdir()
    )
    again = run_audit(plan, "one", ray=two_nodes.address)
    assert again.rows == one.rows
    assert len(starts("one")) == len(figures("one"))


@pytest.mark.slow
def test_a_node_killed_in_the_middle_loses_no_cell(project, two_nodes):
    plan = planned("Slow")

    there = Path(f"node-{two_nodes.second.node_id}")  # touched when a trial begins, which then takes half a second
    killed = []

    def watch(event):
        busy = there.exists() and time.time() - there.stat().st_mtime < 0.4
        if event.event == "done" and busy and not killed:
            killed.append(event.done)
            two_nodes.remove_node(two_nodes.second, allow_graceful=False)

    result = run_audit(plan, "cluster", ray=two_nodes.address, progress=watch)
    assert killed
    assert result.complete
    run_audit(plan, "serial", jobs=1)
    assert figures("cluster") == figures("serial")
    assert " again " in Path("cluster/log.txt").read_text()
    assert len(starts("cluster")) == len(figures("serial"))


@pytest.mark.slow
@pytest.mark.parametrize(("times", "complete"), [(2, True), (3, False)])
def test_a_trial_that_ends_its_process_is_tried_three_times(project, ray, times, complete):
    plan = planned(f'Killer"\ntimes = {times}\n#"')
    result = run_audit(plan, "run", ray="local", jobs=1)
    assert not ray.is_initialized()
    assert result.complete == complete
    assert Path("run/log.txt").read_text().count(" again ") == 2
    assert len(figures("run")) == (11 if complete else 10)
    assert run_audit(plan, "run", jobs=1).complete


@pytest.mark.slow
def test_no_cluster_there_is_one_message(project, ray):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(BadConfig, match="cannot join the Ray cluster"):
        run_audit(load_plan("plan.toml"), "run", ray=address)
    with pytest.raises(BadConfig, match="cannot join the Ray cluster 'auto'"):
        run_audit(load_plan("plan.toml"), "run", ray="auto")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")
def test_control_c_keeps_what_is_finished(project):
    plan = planned("Slow")
    body = "run_audit(load_plan('plan.toml'), 'run', ray='local', jobs=2)"
    Path("runner.py").write_text(
        "from gradiometer.audit import load_plan, run_audit\nif __name__ == '__main__':\n"
        + textwrap.indent(body, "    ")
    )
    process = subprocess.Popen(
        [sys.executable, "runner.py"], start_new_session=True, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    path = Path("run/results.jsonl")
    while not (path.exists() and len(read_lines(path)[0]) > 2):
        time.sleep(0.05)
        assert process.poll() is None, process.stderr.read()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert 2 <= len(figures("run")) < 11
    assert run_audit(plan, "run", jobs=1).complete
    run_audit(plan, "whole", jobs=1)
    assert figures("run") == figures("whole")
