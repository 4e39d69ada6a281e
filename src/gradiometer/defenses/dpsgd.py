"""DPSGD: single examples are clipped and noise is added in every step of the client's own training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gradiometer.core import (
    BadConfig,
    Batch,
    Card,
    Channel,
    Defense,
    Memory,
    Recipe,
    Threat,
    Unsupported,
    Values,
    WeightsLoss,
)
from gradiometer.numerics.accounting import composed_epsilon
from gradiometer.numerics.channels import NoisyDirection
from gradiometer.numerics.per_example import sum_of_scaled

INSIDE = "the last round's steps were private"


@dataclass(frozen=True, kw_only=True)
class DPSGD(Defense):
    """g <- (sum_i g_i min(1, C / ||g_i||) + N(0, (z C)^2)) / B: record-level differential privacy, in every local step.

    Epsilon counts one example's presence against its absence (its gradient replaced by zero). In a round an example
    takes part in as many steps as there are epochs, each with probability `rate`; that the federation draws which
    clients or examples take part is not counted. It composes over the rounds that the threat observes. The noise comes
    from torch's ordinary generator and floating-point numbers: a measurement, no hardened release.

    Args:
        bound: C, at the start where clipping is adaptive.
        noise_multiplier: z >= 0; 0 clips without a proof.
        clipping: `flat`, over all tensors; `per_layer`, every tensor to C / sqrt(number of tensors); `adaptive`, flat,
            with C following a quantile of the norms: C <- C exp(-pace (share within C - quantile)). The share is noised
            with B / 20 examples (at least z), and the gradient's noise grows so that z covers both.
        rate: probability with which each example of a step's batch takes part (Poisson sampling); B is the expected
            number. 1 takes the recipe's fixed batches. With a recipe whose `batch_size` is None, this is the sampling
            of the paper.
        quantile, pace: of adaptive clipping.
        microbatch: examples whose gradients are held at a time; 1 for models that `torch.func.vmap` cannot run.

    References:
        Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar, Zhang, "Deep Learning with Differential Privacy", 2016,
        arXiv:1607.00133. Adaptive clipping: Andrew, Thakkar, McMahan, Ramaswamy, "Differentially Private Learning with
        Adaptive Clipping", 2019, arXiv:1905.03871.
    """

    card: ClassVar[Card] = Card(
        summary="Clips the gradient of every example and adds noise, in every local step: record-level privacy.",
        title="Deep Learning with Differential Privacy",
        authors="Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar, Zhang",
        year=2016,
        arxiv="1607.00133",
        family="differential privacy",
        formula="(sum_i g_i min(1, C / ||g_i||) + N(0, (z C)^2)) / B",
        strength="noise_multiplier",
    )
    bound: float = 1.0
    noise_multiplier: float = 1.0
    clipping: Literal["flat", "per_layer", "adaptive"] = "flat"
    rate: float = 1.0
    quantile: float = 0.5
    pace: float = 0.2
    microbatch: int = 32

    def __post_init__(self) -> None:
        z = self.noise_multiplier
        problems = [] if self.bound > 0 else [f"bound must be positive, got {self.bound}"]
        problems += [] if 0 <= z < math.inf else [f"noise_multiplier must be finite and at least 0, got {z}"]
        problems += [] if 0 < self.rate <= 1 else [f"rate must lie in (0, 1], got {self.rate}"]
        problems += [] if 0 < self.quantile < 1 else [f"quantile must lie in (0, 1), got {self.quantile}"]
        problems += [] if self.pace > 0 else [f"pace must be positive, got {self.pace}"]
        problems += [] if self.microbatch >= 1 else [f"microbatch must be at least 1, got {self.microbatch}"]
        if math.isinf(self.bound) and (z or self.clipping == "adaptive"):
            problems.append("noise and adaptive clipping need a finite bound")
        if problems:
            raise BadConfig("DPSGD cannot be set up", problems=problems)

    @property
    def _off(self) -> bool:
        return math.isinf(self.bound) and self.rate == 1

    def on_model(self, model: nn.Module) -> nn.Module:
        if not self._off and any(isinstance(module, _BatchNorm) for module in model.modules()):
            raise Unsupported(
                "DPSGD clips single examples, and the model's batch normalization mixes them",
                fix="put BatchNormToGroupNorm() in front: chain(BatchNormToGroupNorm(), DPSGD(...))",
            )
        return model

    def on_step(
        self, loss: WeightsLoss, weights: dict[str, Tensor], part: Batch, *, rng: torch.Generator, memory: Memory
    ) -> dict[str, Tensor] | None:
        if self._off:
            return None
        memory[INSIDE] = True
        bound: float = memory.get("bound", self.bound)
        expected = self.rate * part.size
        taken = part if self.rate == 1 else _sampled(part, self.rate, rng)
        spread = self.noise_multiplier
        if taken is None:
            total, norms = {k: torch.zeros_like(w) for k, w in weights.items()}, torch.zeros(0, 1)
        else:
            total, norms = sum_of_scaled(
                loss, weights, taken, lambda norms: self._factors(norms, bound), self.microbatch
            )
        if self.clipping == "adaptive":
            count_noise = max(expected / 20, spread) if spread else 0.0
            memory["bound"] = bound * math.exp(-self.pace * self._share(norms, bound, expected, count_noise, rng))
            spread = (spread**-2 - (2 * count_noise) ** -2) ** -0.5 if spread else 0.0
        if spread:
            total = {k: g + spread * bound * _normal(g, rng) for k, g in total.items()}
        return {k: g / expected for k, g in total.items()}

    def on_gradients(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        """Passes on what private steps made, and refuses anything else: nothing unprotected may leave.

        Raises:
            Unsupported: the training that made these values did not call `on_step`.
        """
        if not self._off and not memory.pop(INSIDE, False):
            raise Unsupported(
                "DPSGD acts inside local training, and these values were made without it: nothing is sent",
                fix="train with Client.train(batch, rng=rng, step=partial(defense.on_step, memory=memory))",
            )
        return dict(values)

    def epsilon(
        self,
        delta: float = 1e-5,
        *,
        recipe: Recipe = Recipe(),  # noqa: B008 - a frozen value
        threat: Threat = Threat(),  # noqa: B008 - a frozen value
    ) -> float | None:
        if not self.noise_multiplier:
            return None
        steps = recipe.epochs * threat.rounds
        return composed_epsilon(self.noise_multiplier, rate=self.rate, steps=steps, delta=delta)

    def channel(self) -> Channel | None:
        """Exact for one example a step; clipping of a mean of several is not one factor for all."""
        return None if self._off else NoisyDirection(per_layer=self.clipping == "per_layer")

    def _factors(self, norms: Tensor, bound: float) -> Tensor:
        """Factors [examples, tensors] from norms of the same shape."""
        if self.clipping == "per_layer":
            return (bound / math.sqrt(norms.shape[1]) / norms).clamp_max(1.0)
        return (bound / norms.norm(dim=1, keepdim=True)).clamp_max(1.0).expand_as(norms)

    def _share(self, norms: Tensor, bound: float, expected: float, noise: float, rng: torch.Generator) -> float:
        """Noisy share of examples within the bound, less the quantile that it is to be."""
        centered = float(((norms.norm(dim=1) <= bound).double() - 0.5).sum())
        if noise:
            centered += noise * float(torch.randn((), generator=rng))
        return centered / expected + 0.5 - self.quantile


def _sampled(part: Batch, rate: float, rng: torch.Generator) -> Batch | None:
    """Each example with probability `rate`; None where none was drawn."""
    taken = torch.rand(part.size, generator=rng) < rate
    return part.take(taken) if taken.any() else None


def _normal(like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=rng, dtype=like.dtype).to(like.device)
