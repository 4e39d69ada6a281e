"""ClientDP: whole updates are clipped, and noise is added by the server, by all clients together, or by each alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gradiometer.core import BadConfig, Card, Channel, Defense, Memory, Recipe, Threat, Values
from gradiometer.numerics.accounting import gaussian_epsilon
from gradiometer.numerics.channels import Additive, Rescaled, sequence
from gradiometer.numerics.noise import discrete_gaussian
from gradiometer.numerics.renyi import renyi_epsilon
from gradiometer.numerics.shrinking import clip_layers, clip_length

LEAST_STEPS = 4.0
"""Steps of the grid in one client's standard deviation, from which sums of discrete Gaussians are discrete Gaussians to e^-150."""


@dataclass(frozen=True, kw_only=True)
class ClientDP(Defense):
    """v <- v min(1, C / ||v||), and N(0, (z C)^2) on the sum over clients: client-level differential privacy.

    Who adds the noise decides who must be trusted, and epsilon is that of what the observer sees:

    - `central`: the server, to the sum. Proves nothing against whoever sees one client's message.
    - `distributed`: every client its share, z C / sqrt(clients). A single message is covered weakly, the sum fully: meant
      for secure aggregation. Every client that drops out or colludes takes its share of the noise with it.
    - `local`: every client all of it. No trust needed.

    A sum is accounted for one client's update against zero in its place (ratio 1 / z), a single message for any other
    update in its place (2 / z). It composes over the rounds that the threat observes; that clients are drawn at random
    is not counted. Buffers that clients share are not covered. The noise comes from torch's ordinary generator.

    Args:
        bound: C > 0.
        noise_multiplier: z >= 0, in the sum (`local`: in every message).
        where: the noise is added.
        clients: over which `distributed` noise is spread, counting only honest ones that stay to the end.
        norm: `l2` over all tensors; `per_layer`, every tensor to C / sqrt(number of tensors).
        step: > 0 sends whole multiples of it, for modular sums: updates are cut toward zero, which never lengthens
            them, and the noise is discrete Gaussian. 0: real numbers.

    References:
        Central: McMahan, Ramage, Talwar, Zhang, "Learning Differentially Private Recurrent Language Models", 2017,
        arXiv:1710.06963. Distributed: Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism for Federated
        Learning with Secure Aggregation", 2021, arXiv:2102.06387.

    Departs from Kairouz et al. in cutting toward zero in place of rotation and conditional rounding: unbiased only up to
    one step, which is to be small against the update's entries.
    """

    card: ClassVar[Card] = Card(
        summary="Clips a client's whole update and adds noise in the sum, in shares or alone: client-level privacy.",
        title="Learning Differentially Private Recurrent Language Models",
        authors="McMahan, Ramage, Talwar, Zhang",
        year=2017,
        arxiv="1710.06963",
        family="differential privacy",
        formula="sum_i v_i min(1, C / ||v_i||) + N(0, (z C)^2)",
        strength="noise_multiplier",
        departs="on a grid, updates are cut toward zero in place of rotation and conditional rounding",
    )
    bound: float = 1.0
    noise_multiplier: float = 1.0
    where: Literal["central", "distributed", "local"] = "distributed"
    clients: int = 10
    norm: Literal["l2", "per_layer"] = "l2"
    step: float = 0.0

    def __post_init__(self) -> None:
        z = self.noise_multiplier
        problems = [] if self.bound > 0 else [f"bound must be positive, got {self.bound}"]
        problems += [] if 0 <= z < math.inf else [f"noise_multiplier must be finite and at least 0, got {z}"]
        problems += [] if self.clients >= 1 else [f"clients must be at least 1, got {self.clients}"]
        problems += [] if 0 <= self.step < math.inf else [f"step must be finite and at least 0, got {self.step}"]
        if math.isinf(self.bound) and (z or self.step):
            problems.append("noise and a grid need a finite bound")
        if not problems and self.step and self._share and self._share < LEAST_STEPS * self.step:
            problems.append(f"step must be at most {self._share / LEAST_STEPS:.3g}, a quarter of a message's noise")
        if problems:
            raise BadConfig("ClientDP cannot be set up", problems=problems)

    @property
    def _share(self) -> float:
        """Standard deviation of the noise in one message."""
        if self.where == "central" or not self.noise_multiplier:
            return 0.0
        whole = self.noise_multiplier * self.bound
        return whole if self.where == "local" else whole / math.sqrt(self.clients)

    def _spread(self, clients: int) -> float:
        """Standard deviation of the noise in the sum over so many messages."""
        return self.noise_multiplier * self.bound if self.where == "central" else math.sqrt(clients) * self._share

    def on_gradients(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        if math.isinf(self.bound):
            return dict(values)
        clipped = (clip_length if self.norm == "l2" else clip_layers)(values, self.bound)
        return {name: self._noisy(value, rng) for name, value in clipped.items()}

    def on_sum(self, values: Values, *, clients: int, rng: torch.Generator) -> dict[str, Tensor]:
        if self.where != "central" or not self.noise_multiplier:
            return dict(values)
        spread = self._spread(clients)
        return {k: v + spread * torch.randn(v.shape, generator=rng, dtype=v.dtype).to(v) for k, v in values.items()}

    def aggregates(self) -> bool:
        """Noise of the server, and noise in parts, is proven in the sum of equal clients alone."""
        return self.where != "local" and self.noise_multiplier > 0

    def epsilon(
        self,
        delta: float = 1e-5,
        *,
        recipe: Recipe = Recipe(),  # noqa: B008 - a frozen value
        threat: Threat = Threat(),  # noqa: B008 - a frozen value
    ) -> float | None:
        alone = threat.clients == 1
        noise = self._share if alone else self._spread(threat.clients)
        if not noise:
            return None
        sensitivity = 2 * self.bound if alone else self.bound
        if self.step:  # the discrete law has the continuous one's Rényi divergence
            return renyi_epsilon(noise / sensitivity, 1.0, threat.rounds, delta)
        return gaussian_epsilon(math.sqrt(threat.rounds) * sensitivity / noise, delta)

    def channel(self) -> Channel | None:
        clip = None if math.isinf(self.bound) else Rescaled(bound=self.bound, per_layer=self.norm == "per_layer")
        return sequence([clip, Additive(std=self._share) if self._share else None])

    def sum_channel(self, clients: int) -> Channel | None:
        """The noise of the whole sum; how much each client's update was shortened is not known of a sum."""
        return Additive(std=self._spread(clients)) if self.noise_multiplier else None

    def _noisy(self, value: Tensor, rng: torch.Generator) -> Tensor:
        if self.step:
            steps = (value.double() / self.step).trunc()
            if self._share:
                steps = steps + discrete_gaussian(steps, self._share / self.step, rng).to(steps)
            return (steps * self.step).to(value.dtype)
        if not self._share:
            return value
        return value + self._share * torch.randn(value.shape, generator=rng, dtype=value.dtype).to(value)
