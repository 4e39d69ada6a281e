"""What a user gets wrong is said once, clearly, with exit code 2, and without a traceback (the fixture checks that)."""

from __future__ import annotations

import re
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradiometer.audit.schema import Result
from gradiometer.report import render

Run = Callable[..., object]

CLIENT = """
import torch
from torch import nn
from gradiometer import Batch, Client, Data, Recipe, image_layout

def make(shape=(1, 8, 8), inputs=64, value=0.5, count=40, layers=None, examples=1):
    torch.manual_seed(0)
    model = nn.Sequential(*(layers or [nn.Flatten(), nn.Linear(inputs, 10)]))
    x = torch.rand(count, *shape)
    x[:, :, 0] = value
    data = Data(private=Batch(x=x, y=torch.arange(count) % 10), layout=image_layout(shape, 10))
    return Client(model=model, layout=data.layout, recipe=Recipe(examples=examples)), data

def wrong_shapes(): return make(inputs=63)
def not_a_number(): return make(value=float("nan"))
def infinite(): return make(value=float("inf"))
def empty(): return make(count=0)
def convolution(): return make(layers=[nn.Conv2d(1, 10, 8), nn.Flatten()])
def raises(): raise ValueError("no database here")
def returns_nonsense(): return 42
number = 3
"""

PLAN = """
title = "Bad"
[[client]]
name = "mine"
target = "bad_client:{function}"
[[attack]]
name = "LinearBias"
[audit]
examples = 2
jobs = 1
controls = false
[utility]
rounds = 0
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad_client.py").write_text(CLIENT)
    yield tmp_path
    sys.modules.pop("bad_client", None)
    sys.path[:] = [entry for entry in sys.path if entry != str(tmp_path)]


def one_message(said, *wanted: str) -> None:
    assert said.code == 2, said
    assert said.err.count("error:") == 1
    for text in wanted:
        assert text in said.err
    assert "{" not in said.err.splitlines()[0] or len(said.err) < 1000


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["adit", "plan.toml"], ["no command 'adit'; did you mean audit?"]),
        (["audit"], ["PLAN.toml"]),
        (["audit", "plan.toml", "--bugdet", "2min"], ["no option --bugdet; did you mean --budget?"]),
        (["scan", "--format", "serif"], ["--format: 'serif' is no choice; did you mean sarif?"]),
        (["scan", "--fail-on", "hihg"], ["did you mean high?"]),
        (["scan", "--seed", "x"], ["--seed", "invalid int value: 'x'"]),
        (["scan", "a", "b"], ["unexpected argument 'b'"]),
        (["list", "attack"], ["did you mean attacks?"]),
        (["list"], ["KIND"]),
    ],
)
def test_usage(gradiometer: Run, words: list[str], wanted: list[str]) -> None:
    said = gradiometer(*words)
    one_message(said, *wanted)
    assert "  fix  see gradiometer" in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["scan", "nowhere:make"], ["no module 'nowhere'"]),
        (["scan", "bad_clint:make"], ["did you mean", "bad_client"]),
        (["scan", "bad_client:mkae"], ["no 'mkae'", 'did you mean "make"']),
        (["scan", "bad_client:number"], ["is a int, not a function"]),
        (["scan", "bad_client:raises"], ["no database here"]),
        (["scan", "bad_client:returns_nonsense"], ["returns int", "(Client, Data)"]),
        (["scan", "resnet21"], ["resnet21", "did you mean", "resnet20"]),
        (["scan", "update.safetensors"], ["--model"]),
        (["scan", "update.safetensors", "--model", "resnet20"], ["update.safetensors", "no such file"]),
        (["scan", "--attack", "LinearBais"], ["LinearBais", 'did you mean "LinearBias"']),
        (["scan", "--attack", "LinearBias:rows=3"], ["rows"]),
        (["scan", "--attack", "LinearBias:rwos=largest"], ["rwos", "did you mean", "rows"]),
        (["scan", "--defense", "Quantise:bits=4"], ["Quantise", 'did you mean "Quantize"']),
        (["scan", "--threat", "honest"], ["honest", "did you mean"]),
        (["scan", "--budget", "soon"], ["budget", '"2min"']),
        (["scan", "--jobs", "-1"], ["jobs"]),
        (["audit", "nothing.toml"], ["nothing.toml", "No such file"]),
        (["report", "nothing"], ["nothing", "no such file"]),
        (["compare", "nothing", "nothing"], ["nothing", "no such file"]),
    ],
)
def test_names_and_values(gradiometer: Run, here: Path, words: list[str], wanted: list[str]) -> None:
    one_message(gradiometer(*words), *wanted)


def test_an_option_of_another_command_is_not_suggested_for_itself(gradiometer: Run) -> None:
    said = gradiometer("init", "-q")
    one_message(said, "no option -q")
    assert "did you mean -q" not in said.err


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        ("wrong_shapes", ["mine", "64"]),
        ("not_a_number", ["mine", "finite"]),
        ("infinite", ["mine", "finite"]),
        ("empty", ["at least one example"]),
    ],
)
def test_clients_that_cannot_be_audited(gradiometer: Run, here: Path, function: str, wanted: list[str]) -> None:
    (here / "plan.toml").write_text(PLAN.format(function=function))
    said = gradiometer("audit", "plan.toml", "-o", "run")
    one_message(said, *wanted)
    assert not (here / "run" / "result.json").exists()


def test_a_model_without_the_layer_is_no_error_but_no_verdict(gradiometer: Run, here: Path) -> None:
    (here / "plan.toml").write_text(PLAN.format(function="convolution"))
    said = gradiometer("audit", "plan.toml", "-o", "run")
    assert said.code == 3
    assert "INCONCLUSIVE" in said.out
    assert "not applicable" in gradiometer("report", "run", "-f", "md").out


def test_three_faults_of_a_plan_are_reported_together(gradiometer: Run, here: Path) -> None:
    text = PLAN.format(function="make").replace('"LinearBias"', '"LinearBais"').replace("examples = 2", "examples = 0")
    (here / "plan.toml").write_text(text + "\n[thraet]\nlabels = true\n")
    said = gradiometer("audit", "plan.toml", "-o", "run")
    one_message(said, "the plan has 3 faults", 'did you mean "LinearBias"', "examples", 'did you mean "threat"')
    lines = {int(line) for line in re.findall(r"plan\.toml:(\d+)", said.err)}
    assert {text.splitlines().index('name = "LinearBais"') + 1, text.splitlines().index("examples = 0") + 1} <= lines
    assert not (here / "run").exists()


@pytest.mark.parametrize("text", ["[[client", "title = ", "\x00", "title = 1\n", "", "[[[[[["])
def test_plans_that_are_none(gradiometer: Run, here: Path, text: str) -> None:
    (here / "plan.toml").write_text(text)
    one_message(gradiometer("audit", "plan.toml"), "plan.toml")


def test_a_damaged_run_folder(gradiometer: Run, here: Path, sample: Callable[..., Result]) -> None:
    (here / "plan.toml").write_text(PLAN.format(function="make"))
    assert gradiometer("audit", "plan.toml", "-o", "run").code == 1
    lines = (here / "run" / "results.jsonl").read_text().splitlines()
    (here / "run" / "results.jsonl").write_text("\n".join([lines[0], "{broken", *lines[2:]]) + "\n")
    one_message(gradiometer("audit", "plan.toml", "-o", "run"), "results.jsonl:2", "damaged")
    (here / "run" / "result.json").write_text(render(sample(), "json")[:1000])
    one_message(gradiometer("report", "run"), "result.json", "not JSON")


def test_another_plan_in_the_same_folder(gradiometer: Run, here: Path) -> None:
    (here / "plan.toml").write_text(PLAN.format(function="make"))
    assert gradiometer("audit", "plan.toml", "-o", "run").code == 1
    one_message(gradiometer("audit", "plan.toml", "-o", "run", "--seed", "5"), "another plan", "--output")


def test_folders_and_files_in_the_way(gradiometer: Run, here: Path) -> None:
    (here / "plan.toml").write_text(PLAN.format(function="make"))
    (here / "file").write_text("")
    one_message(gradiometer("audit", "plan.toml", "-o", "file"), "file")
    one_message(gradiometer("init", "file"), "file")


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """No file may grow beyond so many bytes: to a program that is a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [100, 1500, 6000])
def test_full_disk_while_auditing(gradiometer: Run, here: Path, small_disk: Callable[[int], None], size: int) -> None:
    (here / "plan.toml").write_text(PLAN.format(function="make").replace("examples = 2", "examples = 10"))
    small_disk(size)
    one_message(gradiometer("audit", "plan.toml", "-o", "run", "-q"), "disk is full")
    small_disk(resource.RLIM_INFINITY)
    assert gradiometer("audit", "plan.toml", "-o", "run", "-q").code == 1


def test_full_disk_while_reporting(gradiometer: Run, run_folder: Path, small_disk: Callable[[int], None]) -> None:
    small_disk(1000)
    said = gradiometer("report", run_folder)
    one_message(said, "report.html: ", "free some space")
    assert not (run_folder / "report.html").exists()
