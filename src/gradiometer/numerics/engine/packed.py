"""Products with a constant matrix, and memory that stays: what the machine needs to be used well.

A product with few rows spends much of its time bringing the other matrix into the order that the kernel reads. Where torch is
built with MKL this is done once. And glibc hands every large block of memory back to the system and asks for it again, page by
page, which costs more than many a product; it can be told not to.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

import torch
from torch import Tensor

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1


@cache
def keep_memory() -> bool:
    """Lets the process keep the memory that tensors leave behind (glibc only); whether that was possible."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 2**30) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))


@cache
def _packs() -> bool:
    """Whether this build of torch packs matrices, and gives the product that it should."""
    try:
        weight, rows = torch.arange(12.0).view(3, 4), torch.ones(2, 4)
        packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, 2)
        return torch.equal(torch.ops.mkl._mkl_linear(rows, packed, weight, None, 2), rows @ weight.t())
    except (RuntimeError, AttributeError):
        return False


class Packed:
    """Multiplies `rows` rows with the transpose of a constant matrix [out, in], of which no copy is made unless it is packed.

    Args:
        rows: how many rows come; other counts work as well, without the gain.
    """

    def __init__(self, matrix: Tensor, rows: int) -> None:
        self._transposed, self._rows = matrix.t(), rows
        fits = matrix.dtype == torch.float32 and matrix.device.type == "cpu" and rows > 1 and matrix.numel() > 4096
        self._packed: Tensor | None = None
        if fits and _packs():
            self._matrix = matrix.contiguous()
            self._packed = torch.ops.mkl._mkl_reorder_linear_weight(self._matrix, rows)

    def __call__(self, rows: Tensor, bias: Tensor | None = None) -> Tensor:
        """[rows, in] to [rows, out]."""
        if self._packed is not None and len(rows) == self._rows:
            return torch.ops.mkl._mkl_linear(rows, self._packed, self._matrix, bias, self._rows)
        return rows @ self._transposed if bias is None else torch.addmm(bias, rows, self._transposed)
