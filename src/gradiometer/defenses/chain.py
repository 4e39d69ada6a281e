"""Chain: several defenses, one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from gradiometer.core import (
    Attack,
    Batch,
    Card,
    Channel,
    Defense,
    Memory,
    Recipe,
    SubModel,
    Threat,
    Values,
    WeightsLoss,
    spawn,
)
from gradiometer.numerics.accounting import gaussian_epsilon
from gradiometer.numerics.channels import sequence

from .client_dp import ClientDP
from .clip import Clip
from .dpsgd import DPSGD
from .gaussian_noise import GaussianNoise
from .laplace_noise import LaplaceNoise
from .prune import Prune
from .qsgd import QSGD
from .quantize import Quantize
from .ternary import Ternary
from .top_k import TopK

RANDOM = (ClientDP, DPSGD, GaussianNoise, LaplaceNoise, QSGD, Ternary)


@dataclass(frozen=True, kw_only=True)
class Chain(Defense):
    """Applies its members in order, each with its own memory.

    The informed attacker brings what it simulates through the members in front, and applies the last one's
    likelihood. Privacy: `Clip` (`l2` or `per_layer`, to C) and then `GaussianNoise` (std) make one round
    (epsilon, delta)-private for the whole update of one client (local, client level), with sensitivity 2 C: any update
    may be replaced by any other. What comes after the noise cannot weaken that; between the two only members may stand
    that never lengthen the update. `DPSGD` and `ClientDP` bring proofs of their own: what else the chain does to
    messages cannot weaken them, but for noise that is proven in the sum, which nothing may follow. Where there are
    several proofs, the least epsilon is stated. Batch-normalization buffers that the client shares are not covered.

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

    def on_download(self, model: nn.Module, *, rng: torch.Generator) -> SubModel | None:
        """The first member's that cuts; there is no use for a second one."""
        parts = (member.on_download(model, rng=rng) for member in self.members)
        return next((part for part in parts if part is not None), None)

    def cuts(self) -> bool:
        return any(member.cuts() for member in self.members)

    def on_batch(self, batch: Batch, *, rng: torch.Generator) -> Batch:
        for member in self.members:
            batch = member.on_batch(batch, rng=spawn(rng))
        return batch

    def on_step(
        self, loss: WeightsLoss, weights: dict[str, Tensor], part: Batch, *, rng: torch.Generator, memory: Memory
    ) -> dict[str, Tensor] | None:
        for i, member in enumerate(self.members):
            own = member.on_step(loss, weights, part, rng=rng, memory=memory.setdefault(f"member {i}", {}))
            if own is not None:
                return own
        return None

    def on_gradients(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        for i, member in enumerate(self.members):
            values = member.on_gradients(values, rng=spawn(rng), memory=memory.setdefault(f"member {i}", {}))
        return dict(values)

    def on_wire(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        for i, member in enumerate(self.members):
            values = member.on_wire(values, rng=spawn(rng), memory=memory.setdefault(f"member {i}", {}))
        return dict(values)

    def on_sum(self, values: Values, *, clients: int, rng: torch.Generator) -> dict[str, Tensor]:
        for member in self.members:
            values = member.on_sum(values, clients=clients, rng=rng)
        return dict(values)

    def aggregates(self) -> bool:
        return any(member.aggregates() for member in self.members)

    def wire_bytes(self, values: Values) -> int:
        """The shortest of the members' encodings; those in front of a member that draws at random no longer fit.

        Ciphertexts look random, and nothing shortens them.
        """
        encrypted = [member.wire_bytes(values) for member in self.members if _encrypts(member)]
        if encrypted:
            return max(encrypted)
        fitting: list[Defense] = [Defense()]
        for member in self.members:
            if isinstance(member, RANDOM) or (isinstance(member, Quantize) and member.rounding == "stochastic"):
                fitting = [Defense()]
            fitting.append(member)
        return min(member.wire_bytes(values) for member in fitting)

    def epsilon(
        self,
        delta: float = 1e-5,
        *,
        recipe: Recipe = Recipe(),  # noqa: B008 - a frozen value
        threat: Threat = Threat(),  # noqa: B008 - a frozen value
    ) -> float | None:
        if any(type(member).on_batch is not Defense.on_batch for member in self.members):
            return None  # changed data may mix examples
        proofs = [self._clipped_noise(delta, threat.rounds)]
        for member in self.members:
            last = member is self.members[-1]
            if isinstance(member, ClientDP) and self.cuts() and member.where == "distributed":
                continue  # a coordinate gets the noise of those clients alone that had it
            if isinstance(member, DPSGD) or (isinstance(member, ClientDP) and (last or member.where == "local")):
                proofs.append(member.epsilon(delta, recipe=recipe, threat=threat))
        return min((proof for proof in proofs if proof is not None), default=None)

    def _clipped_noise(self, delta: float, rounds: int) -> float | None:
        """What `Clip` and then `GaussianNoise` prove for every single message."""
        bound: float | None = None
        for member in self.members:
            if isinstance(member, Clip) and member.norm != "linf":
                bound = member.bound if bound is None else min(bound, member.bound)
            elif isinstance(member, GaussianNoise) and not member.relative and member.std and bound is not None:
                ratio = math.sqrt(rounds) * 2 * bound / member.std
                return None if math.isinf(bound) else gaussian_epsilon(ratio, delta)
            elif not _never_lengthens(member):
                bound = None
        return None

    def informed(self, attack: Attack, *, clients: int = 1) -> Attack | None:
        adapted = super().informed(attack, clients=clients)
        for member in self.members:
            if type(member).informed is not Defense.informed:
                adapted = member.informed(adapted or attack, clients=clients) or adapted
        return adapted

    def channel(self) -> Channel | None:
        """The members' in their order; encryption comes after everything else."""
        return sequence(member.channel() for member in sorted(self.members, key=_encrypts))

    def sum_channel(self, clients: int) -> Channel | None:
        return sequence([member.sum_channel(clients) for member in self.members])


def _encrypts(member: Defense) -> bool:
    if isinstance(member, Chain):
        return any(map(_encrypts, member.members))
    return type(member).on_wire is not Defense.on_wire


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
