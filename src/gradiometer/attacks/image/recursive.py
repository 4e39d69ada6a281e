"""Recursive: exact inversion by linear algebra, layer by layer from the head to the input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch

from gradiometer.core import Attack, Card, Channel, Guess, Update

if TYPE_CHECKING:
    from gradiometer.numerics.meter import Meter


@dataclass(frozen=True, kw_only=True)
class Recursive(Attack):
    """Solves every layer's input from its own weight gradient, from the head down, for whole batches.

    What stands above a layer gives its derivatives, and these turn its weight gradient into linear equations in its
    input. Behind a global mean the shift structure of the last convolution's gradient tells the batch size, every
    example's masks, and p - y, hence the labels. Neither labels nor batch size need be granted. Where the equations end
    the pictures follow from the last exact maps by descent through the layers below.

    Args:
        evaluations: upper limit of that descent.
        channel: what an informed attacker knows of a defense: it decodes the entries, and their variances weight the equations.

    The guess is called exact (`notes["exact"]`) only if the gradient that it would cause is the one that was sent, up to
    the rounding of 32-bit floats, or to what relative errors of 1e-6 in the pictures (120 dB) would change.
    """

    card: ClassVar[Card] = Card(
        summary="Inverts networks layer by layer with linear systems: exact for one example and for small batches.",
        title="R-GAP: Recursive Gradient Attack on Privacy",
        authors="Zhu, Blaschko",
        year=2021,
        arxiv="2010.07733",
        modality="image",
        family="analytic",
        formula="corr(u, delta) = dW, solved for u from the head to the input",
        needs=("model",),
        departs="weighted least squares with a noise model, bias gradients as checksums, residual networks, batches, and "
        "global pooling by the shift structure of convolution gradients, which is ours",
    )
    evaluations: int = 400
    channel: Channel | None = None

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        from .recursing import Recursing  # tracing and linear algebra: not loaded before they are needed

        return Recursing(update=update.to("cpu"), channel=self.channel, evaluations=self.evaluations).run(rng)

    def observing(self, channel: Channel) -> Attack:
        return replace(self, channel=channel)

    def meter(self, update: Update) -> Meter:
        """What this attack is predicted to reach, by counting equations and reading spectra; nothing is solved.

        Raises:
            MissingKnowledge, BadInput: no prediction can be made.
        """
        from .recursing import predict

        return predict(update.to("cpu"))
