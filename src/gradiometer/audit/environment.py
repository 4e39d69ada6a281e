"""What results may depend on beside the plan."""

from __future__ import annotations

import os
import platform

import torch


def environment() -> dict[str, str]:
    """Versions and the kind of machine."""
    import numpy

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
    }
