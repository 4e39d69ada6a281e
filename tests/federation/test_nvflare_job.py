"""A real job of two clients in NVFlare's simulator, three rounds of FedAvg, against the same formulas in process."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

pytest.importorskip("nvflare")

from gradiometer.core import Client, Defense, Update, clone_model, derive, load_update
from gradiometer.federation.leak import leaks
from gradiometer.federation.local import defended

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
HERE = Path(__file__).parents[2]
EXAMPLE = HERE / "examples" / "nvflare"
CASES = {"plain": [], "noisy": ["--defense", "hospital:noisy"], "coarse": ["--defense", "hospital:coarse"]}


@pytest.fixture(scope="module")
def hospital() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hospital_of_the_example", EXAMPLE / "hospital.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """The example's job, in processes of its own; what it prints."""
    code = folder / "code"
    shutil.copytree(EXAMPLE, code)
    done = subprocess.run(
        [sys.executable, "job.py", "--workspace", str(folder / "run"), *arguments],
        cwd=code,
        env=os.environ | {"PYTHONPATH": str(HERE / "src"), "OMP_NUM_THREADS": "1"} | (environment or {}),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return done.stdout + done.stderr


def in_process(hospital: ModuleType, update: Update, site: str, defense: Defense) -> dict[str, torch.Tensor]:
    """What this process sends from the same model: the two calls of `contribute`, by the site's name."""
    start = Client(model=clone_model(update.model), layout=hospital.client.layout, recipe=hospital.recipe)
    sent = start.train(hospital.batch(site, update.round), rng=derive(0, update.round, site, "train"))
    for name, value in sent.buffers.items():
        torch.testing.assert_close(update.buffers[name], value, atol=1e-6, rtol=1e-6)
    return defended(sent.values, defense, {}, rng=derive(3, update.round, site, "defense"))


@pytest.mark.parametrize("transfer", ["weights", "differences"])
@pytest.mark.parametrize("case", CASES)
def test_a_job_sends_what_this_process_computes(hospital, tmp_path, case, transfer) -> None:
    if transfer == "differences" and case == "plain":
        pytest.skip("nothing is changed in what was looked at before")
    more = ["--differences"] if transfer == "differences" else []
    told = run(tmp_path, *CASES[case], *more, "--seed", "3")
    defense = Defense() if case == "plain" else getattr(hospital, case)
    place, worst = tmp_path / "run", 0.0
    files = sorted((place / "sent").glob("*.safetensors"))
    assert len(files) == 3 * len(hospital.SITES), told[-3000:]
    lines = [json.loads(line) for line in (place / "leaks" / "leaks.jsonl").read_text().splitlines()]
    assert len(lines) == len(files)
    for path in files:
        update = load_update(path, model=hospital.net)
        site = path.stem.removeprefix(f"round-{update.round:04d}-")
        assert (update.batch_size, update.recipe) == (
            64,
            hospital.recipe.__class__(**vars(hospital.recipe) | {"shares_buffers": True}),
        )
        for name, value in in_process(hospital, update, site, defense).items():
            worst = max(worst, float((update.values[name] - value).abs().max()))
        again = leaks(
            update,
            hospital.behind(site, update.round),
            hospital.attacks,
            rng=derive(0, update.round, site, "self-audit"),
            budget=20.0,
        )
        mine = [line for line in lines if (line["round"], line["member"]) == (update.round, site)]
        assert [line["labels"] for line in mine] == [leak.labels for leak in again]
    print(f"{case}, {transfer}: what is sent differs from in process by {worst:.1e} at most")
    assert worst <= 1e-6
    scan = [
        sys.executable,
        "-m",
        "gradiometer",
        "scan",
        str(files[0]),
        "--model",
        "hospital:Net",
        "--attack",
        "RowSum",
        "-q",
    ]
    done = subprocess.run(
        scan,
        cwd=tmp_path / "code",
        env=os.environ | {"PYTHONPATH": str(HERE / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "RowSum" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]


POC = """
import json, os, sys
from pathlib import Path
import hospital
import nvflare.recipe.poc_env as poc
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe

workspace, policy = Path(os.environ["NVFLARE_POC_WORKSPACE"]), Path(sys.argv[1]).read_text()
provision, poc.SERVICE_START_TIMEOUT = poc.prepare_poc_provision, 30

def with_policy(**settings):
    told = provision(**settings)
    for site in hospital.SITES:
        (Path(poc.get_prod_dir(str(workspace))) / site / "local" / "privacy.json").write_text(policy)
    return told

poc.prepare_poc_provision = with_policy
recipe = FedAvgRecipe(name="job", model=hospital.Net(), min_clients=2, num_rounds=1, train_script="train.py")
environment = poc.PocEnv(num_clients=2)
try:
    print("result:", recipe.execute(environment).get_result(timeout=300))
finally:
    environment.stop()
"""


def test_a_sites_own_policy_covers_a_job_that_asks_for_nothing(hospital, tmp_path) -> None:
    """NVFlare's proof-of-concept deployment: a server and two sites, as processes that talk over TLS on loopback."""
    with socket.socket() as free:
        if free.connect_ex(("127.0.0.1", 8002)) == 0:
            pytest.skip("NVFlare's port 8002 is taken")
    code, sent = tmp_path / "code", tmp_path / "sent"
    shutil.copytree(EXAMPLE, code)
    (code / "poc.py").write_text(POC)
    filters = [
        {
            "path": "gradiometer.federation.nvflare.Defend",
            "args": {"defense": {"path": "gradiometer.defenses.Clip", "args": {"bound": 0.5}}, "model": "hospital:net"},
        },
        {"path": "gradiometer.federation.nvflare.Record", "args": {"client": "hospital:client", "folder": str(sent)}},
    ]
    scope = {"name": "ours", "task_data_filters": filters, "task_result_filters": filters}
    (tmp_path / "privacy.json").write_text(json.dumps({"scopes": [scope], "default_scope": "ours"}))
    done = subprocess.run(
        [sys.executable, "poc.py", str(tmp_path / "privacy.json")],
        cwd=code,
        env=os.environ
        | {
            "PYTHONPATH": f"{HERE / 'src'}{os.pathsep}{code}",
            "OMP_NUM_THREADS": "1",
            "NVFLARE_POC_WORKSPACE": str(tmp_path / "poc"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    files = sorted(sent.glob("*.safetensors"))
    assert [path.name for path in files] == [f"round-0000-{site}.safetensors" for site in hospital.SITES], (
        done.stdout + done.stderr
    )[-3000:]
    for path in files:
        values = load_update(path, model=hospital.net).values.values()
        assert sum(float(value.square().sum()) for value in values) ** 0.5 == pytest.approx(0.5, rel=1e-4)
