"""Runs: processes agree with each other, what is finished is never repeated, and every end leaves a folder that goes on."""

from __future__ import annotations

import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from gradiometer.audit import Progress, load_plan, preview, run_audit
from gradiometer.audit.schema import Result
from gradiometer.audit.store import Store, read_lines
from gradiometer.core import BadConfig, BadInput

TINY = runpy.run_path(str(Path(__file__).with_name("tiny.py")))
CLIENT, PLAN, figures, starts = (TINY[name] for name in ("CLIENT", "PLAN", "figures", "starts"))


def test_processes_agree_with_one_and_a_second_run_computes_nothing(project):
    plan = load_plan("plan.toml")
    one = run_audit(plan, "one", jobs=1)
    two = run_audit(plan, "two", jobs=2)
    assert figures("one") == figures("two")
    assert len(starts("one")) == len(preview(plan)) == len(figures("one")) == 11
    assert one.rows[0].verdict == two.rows[0].verdict == "LEAKS"
    meter = one.clients[0].meter
    assert meter is not None
    assert meter.verdict == "exact"
    again = run_audit(plan, "one", jobs=2)
    assert len(starts("one")) == 11
    assert again.model_dump(exclude={"created", "seconds"}) == one.model_dump(exclude={"created", "seconds"})
    written = Result.model_validate_json(Path("one/result.json").read_text())
    assert written.rows == again.rows
    assert load_plan("one/plan.toml") == plan
    assert "torch" in json.loads(Path("one/env.json").read_text())


def test_a_torn_last_line_is_computed_again_and_nothing_else(project):
    plan = load_plan("plan.toml")
    run_audit(plan, "run", jobs=1)
    whole, path = figures("run"), Path("run/results.jsonl")
    raw = path.read_bytes()
    path.write_bytes(raw[:-20])
    run_audit(plan, "run", jobs=1)
    assert figures("run") == whole
    assert len(starts("run")) == 12
    path.write_bytes(raw[:30])  # not even the header is whole
    run_audit(plan, "run", jobs=1)
    assert figures("run") == whole


def test_a_damaged_line_in_the_middle_is_named(project):
    plan = load_plan("plan.toml")
    run_audit(plan, "run", jobs=1)
    path = Path("run/results.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b'{"id": 3}\n', *lines[4:]]))
    with pytest.raises(BadInput, match=r"results.jsonl:4: a damaged line"):
        run_audit(plan, "run", jobs=1)


def test_a_folder_belongs_to_one_plan_one_client_and_one_code(project):
    run_audit(load_plan("plan.toml"), "run", jobs=1)
    Path("plan.toml").write_text(PLAN.replace("iterations = 3", "iterations = 4"))
    with pytest.raises(BadConfig, match="another plan") as caught:
        run_audit(load_plan("plan.toml"), "run", jobs=1)
    assert "another client" not in caught.value.message
    Path("plan.toml").write_text(PLAN)
    Path("tiny_client.py").write_text(CLIENT.replace("manual_seed(1)", "manual_seed(2)"))
    del sys.modules["tiny_client"]
    with pytest.raises(BadConfig, match="another client and another code"):
        run_audit(load_plan("plan.toml"), "run", jobs=1)


def test_two_audits_do_not_share_a_folder(project):
    plan = load_plan("plan.toml")
    with Store("run", plan, {}), pytest.raises(BadConfig, match="another audit is running"):
        Store("run", plan, {})
    with Store("run", plan, {}) as free:
        assert free.records == {}


def test_a_spent_budget_skips_what_was_not_started_and_says_so(project):
    plan = load_plan("plan.toml")
    result = run_audit(plan, "run", jobs=1, budget=1e-9)
    assert not result.complete
    assert {cell.status for cell in result.cells} == {"skipped"}
    assert result.verdict == "INCONCLUSIVE"
    assert "time budget" in " ".join(result.rows[0].reasons)
    finished = run_audit(plan, "run", jobs=1)
    assert finished.complete
    assert len(starts("run")) == 11


def test_progress_is_told(project):
    told: list[Progress] = []
    run_audit(load_plan("plan.toml"), "run", jobs=1, progress=told.append)
    assert [p.event for p in told] == ["start", "done"] * 11
    assert (told[0].done, told[-1].done, told[-1].total) == (0, 11, 11)
    assert told[0].seconds_left is None
    assert told[-1].seconds_left == 0.0
    assert max(p.best for p in told if p.best is not None) > 60


def test_an_attack_that_raises_is_a_failed_cell_with_its_reason(project):
    Path("broken_attack.py").write_text(
        textwrap.dedent("""
        from dataclasses import dataclass
        from gradiometer import Attack, Card
        @dataclass(frozen=True, kw_only=True)
        class Broken(Attack):
            card = Card(summary="raises")
            def run(self, update, rng):
                raise ZeroDivisionError("by design")
        """)
    )
    Path("plan.toml").write_text(PLAN.replace('name = "LinearBias"', 'name = "broken_attack:Broken"'))
    result = run_audit(load_plan("plan.toml"), "run", jobs=1)
    cell = result.cells[0]
    assert (cell.status, cell.reason) == ("failed", "ZeroDivisionError: by design")
    assert "Traceback" in Path("run/log.txt").read_text()
    assert "failed on 4 batches" in " ".join(result.rows[0].reasons)


def script(body, *arguments):
    code = "from gradiometer.audit import load_plan, run_audit\nif __name__ == '__main__':\n" + textwrap.indent(
        body, "    "
    )
    Path("runner.py").write_text(code)
    return [sys.executable, "runner.py", *arguments]


def begun(body):
    """A run in a process of its own, of which two trials are finished."""
    process = subprocess.Popen(script(body), start_new_session=True, stderr=subprocess.PIPE, text=True)
    path = Path("run/results.jsonl")
    while not (path.exists() and len(read_lines(path)[0]) > 2):
        time.sleep(0.02)
        assert process.poll() is None, process.stderr.read()
    return process


def test_a_full_disk_is_one_message_and_loses_nothing(project):
    plan = load_plan("plan.toml")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))
    try:
        with pytest.raises(BadInput, match="the disk is full; every finished trial is kept"):
            run_audit(plan, "run", jobs=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    kept = figures("run")
    assert 0 < len(kept) < 11
    run_audit(plan, "run", jobs=1)
    run_audit(plan, "whole", jobs=1)
    assert figures("run") == figures("whole")
    counted = starts("run")
    assert [counted.count(key) for key in kept] == [1] * len(kept)


@pytest.mark.slow
def test_killed_processes_leave_no_children_and_a_folder_that_goes_on(project):
    plan = load_plan("plan.toml")
    process = begun("run_audit(load_plan('plan.toml'), 'run', jobs=2)")
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(children) >= 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    kept = figures("run")
    run_audit(plan, "run", jobs=1)
    run_audit(plan, "whole", jobs=1)
    assert figures("run") == figures("whole")
    counted = starts("run")
    assert [counted.count(key) for key in kept] == [1] * len(kept)


@pytest.mark.slow
def test_a_lost_worker_is_told_and_its_trial_is_retried_next_time(project):
    Path("killer.py").write_text(
        textwrap.dedent("""
        import os, signal
        from dataclasses import dataclass
        from pathlib import Path
        from gradiometer.attacks.image import LinearBias
        @dataclass(frozen=True, kw_only=True)
        class Killer(LinearBias):
            def run(self, update, rng):
                if not Path("killed").exists():
                    Path("killed").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().run(update, rng)
        """)
    )
    Path("plan.toml").write_text(PLAN.replace('name = "LinearBias"', 'name = "killer:Killer"'))
    plan = load_plan("plan.toml")
    result = run_audit(plan, "run", jobs=2)
    assert not result.complete
    assert len(figures("run")) == 10
    assert "signal 9" in Path("run/log.txt").read_text()
    assert run_audit(plan, "run", jobs=2).complete


@pytest.mark.slow
def test_control_c_keeps_what_is_finished(project):
    process = begun("run_audit(load_plan('plan.toml'), 'run', jobs=2)")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    assert errors.count("Traceback") == 1
    assert len(figures("run")) >= 2
    assert run_audit(load_plan("plan.toml"), "run", jobs=1).complete
