"""A real job of two clients in NVFlare's simulator, three rounds of FedAvg, against the same formulas in process."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
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
CASES = {
    "plain": [],
    "noisy": ["--defense", "hospital:noisy"],
    "coarse": ["--defense", "hospital:coarse", "--differences"],
}


@pytest.fixture(scope="module")
def hospital() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hospital_of_the_example", EXAMPLE / "hospital.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def python(code: Path, *arguments: str, **environment: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=code,
        env=os.environ | {"PYTHONPATH": f"{HERE / 'src'}{os.pathsep}{code}", "OMP_NUM_THREADS": "1"} | environment,
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


@pytest.mark.parametrize("case", CASES)
def test_a_job_sends_what_this_process_computes(hospital, tmp_path, case) -> None:
    code = shutil.copytree(EXAMPLE, tmp_path / "code")
    told = python(code, "job.py", "--workspace", str(tmp_path / "run"), *CASES[case], "--seed", "3")
    defense = Defense() if case == "plain" else getattr(hospital, case)
    files = sorted((tmp_path / "run" / "sent").glob("*.safetensors"))
    assert len(files) == 3 * len(hospital.SITES), told[-3000:]
    lines = [json.loads(line) for line in (tmp_path / "run" / "leaks" / "leaks.jsonl").read_text().splitlines()]
    assert len(lines) == len(files)
    worst, following = 0.0, {}  # the server draws the first model itself
    for number in range(3):
        updates = {
            site: load_update(tmp_path / "run" / "sent" / f"round-{number:04d}-{site}.safetensors", model=hospital.net)
            for site in hospital.SITES
        }
        for site, update in updates.items():
            assert (update.round, update.batch_size, update.buffers is None) == (number, 64, False)
            assert update.recipe == replace(hospital.recipe, shares_buffers=True)
            for name, parameter in update.model.named_parameters():
                torch.testing.assert_close(parameter, following.get(name, parameter), atol=1e-6, rtol=0)
            for name, value in in_process(hospital, update, site, defense).items():
                worst = max(worst, float((update.values[name] - value).abs().max()))
            rng = derive(0, number, site, "self-audit")
            again = leaks(update, hospital.behind(site, number), hospital.attacks, rng=rng, budget=20.0)
            mine = [line for line in lines if (line["round"], line["member"]) == (number, site)]
            assert [line["labels"] for line in mine] == [leak.labels for leak in again]
        following = {
            name: parameter + sum(update.values[name] for update in updates.values()) / len(updates)
            for name, parameter in update.model.named_parameters()
        }
    print(f"{case}: what is sent differs from in process by {worst:.1e} at most")
    assert worst <= 1e-6
    scan = python(
        code, "-m", "gradiometer", "scan", str(files[0]), "--model", "hospital:Net", "--attack", "RowSum", "-q"
    )
    assert "RowSum" in scan


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
    code, sent = shutil.copytree(EXAMPLE, tmp_path / "code"), tmp_path / "sent"
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
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # its scripts call python3
    told = python(
        code,
        "poc.py",
        str(tmp_path / "privacy.json"),
        NVFLARE_POC_WORKSPACE=str(tmp_path / "poc"),
        PATH=path,
        HOME=str(tmp_path),
    )
    files = sorted(sent.glob("*.safetensors"))
    assert [path.name for path in files] == [f"round-0000-{site}.safetensors" for site in hospital.SITES], told[-3000:]
    for path in files:
        values = load_update(path, model=hospital.net).values.values()
        assert sum(float(value.square().sum()) for value in values) ** 0.5 == pytest.approx(0.5, rel=1e-4)
