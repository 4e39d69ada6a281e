"""Chain: several defenses, one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from gradiometer.core import Batch, Card, Channel, Defense, Memory, Values, spawn
from gradiometer.numerics.accounting import gaussian_epsilon
from gradiometer.numerics.channels import sequence

from .clip import Clip
from .gaussian_noise import GaussianNoise
from .laplace_noise import LaplaceNoise
from .prune import Prune
from .qsgd import QSGD
from .ternary import Ternary
from .top_k import TopK

RANDOM = (GaussianNoise, LaplaceNoise, QSGD, Ternary)


@dataclass(frozen=True, kw_only=True)
class Chain(Defense):
    """Applies its members in order, each with its own memory.

    The informed attacker brings what it simulates through the members in front, and applies the last one's
    likelihood. Privacy: `Clip` (`l2` or `per_layer`, to C) and then `GaussianNoise` (std) make one round
    (epsilon, delta)-private for the whole update of one client (local, client level), with sensitivity 2 C: any update
    may be replaced by any other. What comes after the noise cannot weaken that; between the two only members may stand
    that never lengthen the update. Batch-normalization buffers that the client shares are not covered.

    Args:
        members: in the order in which they are applied.
    """

    card: ClassVar[Card] = Card(
        summary="Applies several defenses one after the other.",
        title="Learning Differentially Private Recurrent Language Models",
        authors="McMahan, Ramage, Talwar, Zhang",
        year=2017,
        arxiv="1710.06963",
        family="composition",
        formula="d_n(...d_1(v))",
        strength="that of its members",
        departs="noise is each client's own (local), so that the server need not be trusted",
    )
    members: tuple[Defense, ...] = ()

    def on_model(self, model: nn.Module) -> nn.Module:
        for member in self.members:
            model = member.on_model(model)
        return model

    def on_batch(self, batch: Batch, *, rng: torch.Generator) -> Batch:
        for member in self.members:
            batch = member.on_batch(batch, rng=spawn(rng))
        return batch

    def on_gradients(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        for i, member in enumerate(self.members):
            values = member.on_gradients(values, rng=spawn(rng), memory=memory.setdefault(f"member {i}", {}))
        return dict(values)

    def on_wire(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        for i, member in enumerate(self.members):
            values = member.on_wire(values, rng=spawn(rng), memory=memory.setdefault(f"member {i}", {}))
        return dict(values)

    def wire_bytes(self, values: Values) -> int:
        """The shortest of the members' encodings; those in front of a member that draws at random no longer fit."""
        fitting: list[Defense] = [Defense()]
        for member in self.members:
            if isinstance(member, RANDOM):
                fitting = [Defense()]
            fitting.append(member)
        return min(member.wire_bytes(values) for member in fitting)

    def epsilon(self, delta: float = 1e-5) -> float | None:
        bound: float | None = None
        for member in self.members:
            if isinstance(member, Clip) and member.norm != "linf":
                bound = member.bound if bound is None else min(bound, member.bound)
            elif isinstance(member, GaussianNoise) and not member.relative and member.std and bound is not None:
                return None if math.isinf(bound) else gaussian_epsilon(2 * bound / member.std, delta)
            elif not _never_lengthens(member):
                bound = None
        return None

    def channel(self) -> Channel | None:
        return sequence([member.channel() for member in self.members])


def _never_lengthens(member: Defense) -> bool:
    return isinstance(member, Clip | Prune) or (isinstance(member, TopK) and not member.error_feedback)


def chain(*defenses: Defense) -> Chain:
    """These defenses as one, applied in this order. Chains inside are taken apart.

    >>> chain(Clip(bound=1.0), GaussianNoise(std=1.0)).epsilon() > 0
    True
    """
    members: list[Defense] = []
    for defense in defenses:
        members += defense.members if isinstance(defense, Chain) else [defense]
    return Chain(members=tuple(members))
