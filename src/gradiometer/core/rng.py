"""Randomness: every random number comes from a generator that is derived from a seed and a path of names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *path: object) -> torch.Generator:
    """A CPU generator that depends on the seed and the path alone: the same on every machine and in every order."""
    digest = hashlib.sha256(repr((seed, *map(str, path))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def spawn(rng: torch.Generator) -> torch.Generator:
    """A new generator seeded from the next draw of this one."""
    return torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=rng)))


@contextmanager
def global_seed(rng: torch.Generator) -> Iterator[None]:
    """Inside, torch's global CPU generator follows `rng` (dropout draws from it); outside, it is as it was."""
    with torch.random.fork_rng(devices=[]):
        seed = int(torch.randint(2**62, (), generator=rng))
        # Without an accelerator torch.manual_seed notes a stack trace for each that might come: 0.5 ms a call.
        (torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed)(seed)
        yield
