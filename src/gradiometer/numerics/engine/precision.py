"""Mixed precision: whether 16-bit floats are worth their rounding on this hardware, by its units and one timed step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import torch

Precision = Literal["auto", "float32", "float64", "bfloat16"]
"""`float32` and `float64` throughout; `bfloat16`: before the last phase, with all scores in 32 bits; `auto`: the model's own type, with
`bfloat16` where the hardware has units for it and a timed step shows that they pay."""

MIXED = 0.4
"""Largest relative difference of derivatives that passes in mixed precision. Its 8 bits leave 0.05 to 0.2 where gradients of different pictures
differ; where they are all but parallel, as in deep untrained networks, they lose the difference, and half a decibel of the picture."""
GAIN = 1.25
"""How many times faster a step must be. Well above what a busy machine makes of equal steps."""


def has_units(device: torch.device) -> bool:
    """Whether the device multiplies matrices of bfloat16 itself: AMX, AVX-512 BF16, or a GPU's tensor cores since Ampere."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    known = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return device.type == "cpu" and any(bool(ask()) for ask in known if ask is not None)


def seconds(step: Callable[[], object], device: torch.device) -> float:
    """The shorter of two turns: CPU seconds of the process, on a GPU those of the clock."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    found = []
    for _ in range(2):
        begin = clock()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(clock() - begin)
    return min(found)


def pays(mixed: Callable[[], object], single: Callable[[], object], device: torch.device) -> bool:
    """Whether a step in mixed precision is clearly faster; both have run before."""
    return GAIN * seconds(mixed, device) < seconds(single, device)
