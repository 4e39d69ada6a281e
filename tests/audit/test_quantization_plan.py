"""The plan of the quantization experiment, and the grid of its example, spell things that exist."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from gradiometer.audit.plan import load_plan, make_plan
from gradiometer.audit.spelling import build
from gradiometer.defenses import Quantize

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    found = importlib.util.spec_from_file_location("quantization_run", ROOT / "examples" / "quantization" / "run.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_plan_asks_who_knows_and_who_learns() -> None:
    plan = load_plan(ROOT / "plans" / "quantization.toml")
    assert {client.trained_steps for client in plan.client} == {0, 30, 1000}
    assert {client.recipe["sends"] for client in plan.client} == {"gradient", "delta"}
    assert plan.audit.informed
    assert plan.audit.undefended
    assert "RidgeInversion" in {attack["name"] for attack in plan.attack}


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("quick", [False, True])
def test_the_grid_is_whole(example: ModuleType, quick: bool, summed: bool) -> None:
    plan = make_plan(example.plan(quick, summed=summed))
    made = [build(spec, "defense") for spec in plan.defense]
    grid = {
        (one.bits, one.scheme, one.rounding) for one in made if isinstance(one, Quantize) and not one.error_feedback
    }
    assert len(grid) == (2 if quick or summed else 36)
    assert len(plan.client) == (1 if quick or summed else 6)
