"""What a user may import is what `__all__` says, and importing it is cheap."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import gradiometer

PACKAGES = [
    "core",
    "attacks.image",
    "attacks.text",
    "attacks.graph",
    "attacks.inference",
    "attacks.generative",
    "attacks.learned",
    "defenses",
    "models",
    "data",
    "metrics",
]
HEAVY = ("scipy", "sklearn", "skimage", "pydantic", "jinja2", "rich", "PIL", "flwr", "opacus", "transformers", "rdkit")


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_what_is_visible(name: str) -> None:
    package = importlib.import_module(f"gradiometer.{name}")
    exported = set(package.__all__)
    visible = {
        key
        for key, value in vars(package).items()
        if not key.startswith("_") and not inspect.ismodule(value) and key != "annotations"
    }
    assert exported == visible


@pytest.mark.parametrize("package", [gradiometer, gradiometer.attacks], ids=lambda package: package.__name__)
def test_names_that_are_loaded_late_resolve(package: ModuleType) -> None:
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("name", ["audit", "scan", "play", "Client", "Recipe", "Threat", "Batch", "Update"])
def test_the_names_of_the_documentation_are_there(name: str) -> None:
    assert name in gradiometer.__all__


def test_import_is_light() -> None:
    """Under 0.3 s of CPU more than torch alone, and no optional or heavy package loaded; the best of three counts."""
    code = (
        "import sys, time, numpy, torch; before = set(sys.modules); start = time.process_time(); import gradiometer;"
        "gradiometer.attacks, gradiometer.defenses;"
        f"print(time.process_time() - start, *sorted(m for m in set(sys.modules) - before if m in {HEAVY!r}))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(3)
    ]
    assert runs[0][1:] == [], f"importing gradiometer loads {runs[0][1:]}"
    assert min(float(run[0]) for run in runs) < 0.3
