"""fit: least squares that give the same bits every time."""

from __future__ import annotations

import torch
from torch import Tensor


def fit(system: Tensor, target: Tensor) -> Tensor:
    """The shortest x with the least `|system x - target|`.

    torch's default on a CPU (`gelsy`) orders columns by memory that nobody wrote to, so that its last bits come as they
    please; the singular value decomposition does not.

    Args:
        system: [rows, unknowns]. target: [rows], or [rows, n] for n of them.

    Returns:
        [unknowns] or [unknowns, n].
    """
    right = target[:, None] if target.ndim == 1 else target
    driver = "gelsd" if system.device.type == "cpu" else "gels"
    solution: Tensor = torch.linalg.lstsq(system, right, driver=driver).solution
    return solution[:, 0] if target.ndim == 1 else solution
