"""Every command: what it prints where, and its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from gradiometer.audit.schema import Result
from gradiometer.cli.commands import exit_code
from gradiometer.cli.parser import FORMATS, KINDS, build_parser
from gradiometer.core import Client, Data, derive, play, save_update
from gradiometer.report import FORMATS as RENDERED
from gradiometer.report import render

Run = Callable[..., object]

TINY = """
title = "Tiny"
[[client]]
name = "digits"
model = { name = "mlp", widths = [16], activation = "sigmoid" }
data = "digits"
[[attack]]
name = "LinearBias"
[audit]
examples = 3
jobs = 1
controls = false
[utility]
rounds = 0
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(TINY)
    return path


@pytest.mark.parametrize("words", [["--help"], ["scan", "--help"], ["--version"]])
def test_help_is_quick(words: list[str]) -> None:
    """Nothing of torch, pydantic or rich is loaded to print a page of text."""
    code = (
        "import sys; from gradiometer.cli.parser import build_parser\n"
        f"try: build_parser().parse_args({words!r})\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "print(*sorted({'pydantic', 'rich', 'jinja2', 'scipy', 'sklearn'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "gradiometer" in done.stdout
    assert done.stderr.strip() == ""


def test_the_parser_offers_every_format_that_is_rendered() -> None:
    assert set(FORMATS) == set(RENDERED)


def test_no_command_at_all(gradiometer: Run) -> None:
    said = gradiometer()
    assert said.code == 2
    assert "error:" in said.err


def test_audit_prints_the_verdict_and_leaves_a_run_folder(gradiometer: Run, plan: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    said = gradiometer("audit", plan, "-o", folder)
    assert said.code == 1
    assert "LEAKS" in said.out
    assert f"Report: {folder / 'report.html'}" in said.out
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    for name in ("plan.toml", "results.jsonl", "result.json", "env.json", "log.txt"):
        assert (folder / name).exists()
    before = (folder / "results.jsonl").read_bytes()
    assert gradiometer("audit", plan, "-o", folder).code == 1
    assert (folder / "results.jsonl").read_bytes() == before  # nothing was computed twice
    command = json.loads((folder / "result.json").read_text())["command"]
    assert command == f"gradiometer audit {plan} -o {folder}"


def test_under_json_standard_output_carries_only_the_result(gradiometer: Run, plan: Path, tmp_path: Path) -> None:
    said = gradiometer("audit", plan, "-o", tmp_path / "run", "-f", "json")
    assert json.loads(said.out)["title"] == "Tiny"
    assert "Report:" in said.err
    quiet = gradiometer("audit", plan, "-o", tmp_path / "run", "-f", "json", "-q")
    assert json.loads(quiet.out)
    assert quiet.err == f"Report: {tmp_path / 'run' / 'report.html'}\n"


def test_progress_is_plain_lines_without_a_terminal(gradiometer: Run, plan: Path, tmp_path: Path) -> None:
    said = gradiometer("audit", plan, "-o", tmp_path / "run", "-v")
    lines = [line for line in said.err.splitlines() if "LinearBias against no defense" in line]
    assert len(lines) == 3
    assert "best 1" in lines[0]
    assert "\x1b" not in said.err


def test_fail_on_never_still_tells(gradiometer: Run, plan: Path, tmp_path: Path) -> None:
    said = gradiometer("audit", plan, "-o", tmp_path / "run", "--fail-on", "never")
    assert said.code == 0
    assert "LEAKS" in said.out


def test_scan_of_a_captured_update(gradiometer: Run, tmp_path: Path, digits_data: Data, tiny_client: Client) -> None:
    update = play(tiny_client, digits_data.private.take([3]), rng=derive(0, "captured"))
    path = save_update(update, tmp_path / "update.safetensors")
    words = [
        "scan",
        path,
        "--model",
        "mlp:widths=[32],activation=sigmoid",
        "--attack",
        "RowSum",
        "-o",
        tmp_path / "run",
        "-q",
    ]
    said = gradiometer(*words)
    assert said.code == 3, said
    assert "RowSum claims labels [3]" in " ".join(said.out.split())
    assert "not judged" in said.out


def test_dry_run_computes_nothing(gradiometer: Run, plan: Path, tmp_path: Path) -> None:
    said = gradiometer("audit", plan, "-o", tmp_path / "run", "--dry-run", "--defense", "Clip:bound=0.5")
    assert said.code == 0
    assert 'name = "Clip"' in said.out
    assert "# digits, no defense: LinearBias 3" in said.out
    assert "very roughly" in said.out
    assert not (tmp_path / "run").exists()


def test_dry_run_prints_a_plan_that_can_be_run(gradiometer: Run, plan: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.toml"
    again.write_text(gradiometer("audit", plan, "--dry-run").out)
    assert gradiometer("audit", again, "--dry-run").out == again.read_text() or "very roughly" in again.read_text()


def test_options_replace_what_the_plan_says(gradiometer: Run, plan: Path) -> None:
    said = gradiometer(
        "audit",
        plan,
        "--dry-run",
        "--seed",
        "7",
        "--budget",
        "2min",
        "--threat",
        "label_informed",
        "--attack",
        "RowSum",
    )
    assert said.code == 0
    for text in ("seed = 7", "budget = 120.0", 'name = "label_informed"', "RowSum"):
        assert text in said.out
    assert "LinearBias" not in said.out


def test_full_gallery_prints_a_banner(gradiometer: Run, plan: Path, tmp_path: Path) -> None:
    said = gradiometer("audit", plan, "-o", tmp_path / "run", "--gallery", "full")
    assert "PRIVATE EXAMPLES UNBLURRED" in said.err


@pytest.mark.parametrize(
    ("format", "check"),
    [
        ("json", json.loads),
        ("sarif", json.loads),
        ("junit", lambda text: ET.fromstring(text.split("\n", 1)[1])),
        ("md", lambda text: text.index("# ▲ LEAKS")),
        ("terminal", lambda text: text.index("▲ LEAKS")),
    ],
)
def test_report_goes_to_standard_output(gradiometer: Run, run_folder: Path, format: str, check: Callable) -> None:
    said = gradiometer("report", run_folder, "-f", format)
    assert (said.code, said.err) == (0, "")
    check(said.out)


def test_report_writes_html_into_the_run(gradiometer: Run, run_folder: Path, tmp_path: Path) -> None:
    said = gradiometer("report", run_folder)
    assert said.out.strip() == str(run_folder / "report.html")
    assert (run_folder / "report.html").exists()
    assert gradiometer("report", run_folder / "result.json", "-o", tmp_path / "a.html").code == 0
    assert (tmp_path / "a.html").read_text() == (run_folder / "report.html").read_text()
    assert gradiometer("report", run_folder, "-o", "-").out.startswith("<!doctype html>")


def test_compare_exit_codes(gradiometer: Run, run_folder: Path, tmp_path: Path, sample: Callable[..., Result]) -> None:
    result = sample()
    same = gradiometer("compare", run_folder, run_folder)
    assert same.code == 0
    assert "0 worse" in same.out
    rows = [
        r.model_copy(update={"verdict": "LEAKS", "level": "medium"}) if r.verdict == "HOLDS" else r for r in result.rows
    ]
    worse = tmp_path / "worse.json"
    worse.write_text(render(result.model_copy(update={"rows": rows}), "json"))
    assert gradiometer("compare", run_folder, worse).code == 1
    assert gradiometer("compare", run_folder, worse, "--fail-on", "high").code == 0
    assert gradiometer("compare", worse, run_folder).code == 0
    fewer = tmp_path / "fewer.json"
    fewer.write_text(render(sample(defenses=2), "json"))
    assert gradiometer("compare", run_folder, fewer).code == 3
    assert json.loads(gradiometer("compare", run_folder, worse, "-f", "json").out)["changes"]


@pytest.mark.parametrize("kind", KINDS)
def test_list(gradiometer: Run, kind: str) -> None:
    text, listed = gradiometer("list", kind), gradiometer("list", kind, "-f", "json")
    assert text.code == listed.code == 0
    for entry in json.loads(listed.out):
        assert entry["name"] in text.out
        assert len(entry) > 1
    if kind != "guards":
        assert json.loads(listed.out)


def test_init_writes_files_that_run_and_never_overwrites(
    gradiometer: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = gradiometer("init", tmp_path / "new")
    assert said.code == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"plan.toml", "client.py"}
    again = gradiometer("init", tmp_path / "new")
    assert again.code == 2
    assert "not overwritten" in again.err
    monkeypatch.chdir(tmp_path / "new")
    assert gradiometer("audit", "plan.toml", "--dry-run").code == 0
    sys.modules.pop("client", None)


def test_exit_codes(sample: Callable[..., Result]) -> None:
    result = sample()
    codes = {level: exit_code(result, level) for level in ("critical", "high", "medium", "low", "never")}
    assert codes == {"critical": 1, "high": 1, "medium": 1, "low": 1, "never": 0}
    open_ = result.model_copy(update={"findings": result.findings[:1], "verdict": "INCONCLUSIVE"})
    assert exit_code(open_, "high") == 3
    assert exit_code(open_, "low") == 1
    assert exit_code(open_.model_copy(update={"verdict": "HOLDS"}), "high") == 0
    assert exit_code(open_.model_copy(update={"verdict": "HOLDS", "complete": False}), "high") == 3


def test_interrupted(gradiometer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(arguments: Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("gradiometer.cli.commands.run", stop)
    said = gradiometer("scan")
    assert said.code == 130
    assert "the same command continues" in said.err


def test_an_internal_error_says_where_its_traceback_lies(gradiometer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: Namespace) -> int:
        raise ZeroDivisionError("oops\x1b[31m")

    monkeypatch.setattr("gradiometer.cli.commands.run", fail)
    said = gradiometer("scan")
    assert said.code == 4
    assert "internal error: ZeroDivisionError: oops\ufffd[31m" in said.err
    path = Path(next(line.split()[1] for line in said.err.splitlines() if line.startswith("  at ")))
    assert "Traceback" in path.read_text()
    path.unlink()


def test_a_reader_that_has_seen_enough(run_folder: Path) -> None:
    for words, code in ((f"report {run_folder}", 0), (f"compare {run_folder} {run_folder}", 0)):
        command = f"{sys.executable} -m gradiometer {words} -f json | head -c 10; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (code, "")


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("scan", "audit", "report", "compare", "list", "init"):
        with pytest.raises(SystemExit):
            build_parser().parse_args([command, "--help"])
        assert "usage: gradiometer" in capsys.readouterr().out


def test_train_prints_a_table_and_continues(gradiometer: Run, plan: Path, tmp_path: Path) -> None:
    plan.write_text(TINY + "[train]\nrounds = 2\nclients = 2\n")
    folder = tmp_path / "run"
    said = gradiometer("train", plan, "-o", folder)
    assert said.code == 0
    assert "FedSGD" in said.out
    assert "round 2 of 2" in said.err
    assert (folder / "training.html").exists()
    again = gradiometer("train", plan, "-o", folder, "-f", "json", "-q")
    assert again.err == ""
    assert len(json.loads(again.out)["runs"][0]["rounds"]) == 2
    assert gradiometer("train", plan, "-o", folder, "--seed", "3").code == 2


def test_train_that_diverges_says_where(gradiometer: Run, plan: Path, tmp_path: Path) -> None:
    text = TINY.replace(', activation = "sigmoid"', "")
    text = text.replace('data = "digits"', 'data = "digits"\nrecipe = { sends = "delta", lr = 1e30, epochs = 3 }')
    plan.write_text(text + "[train]\nrounds = 2\nclients = 2\n")
    said = gradiometer("train", plan, "-o", tmp_path / "run")
    assert said.code == 3
    assert "round 0" in said.err
    assert "not finite" in said.err


def test_train_in_flower_without_flower_names_the_extra(
    gradiometer: Run, plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("gradiometer.federation.flower", "flwr"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flwr", None)
    said = gradiometer("train", plan, "--runtime", "flower", "-o", tmp_path / "run")
    assert said.code == 2
    assert 'pip install "gradiometer[flower]"' in said.err
