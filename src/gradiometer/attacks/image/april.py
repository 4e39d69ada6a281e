"""APRIL: a vision transformer's picture from the gradient of its position embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from gradiometer.core import Card, Guess, NotApplicable, Update

from .recursive import Recursive


@dataclass(frozen=True, kw_only=True)
class APRIL(Recursive):
    """Reads dL/dz of the embedded patches z off the position embedding's gradient, and solves dL/dW = (dL/dz)^T x for them.

    What is added to z has z's derivative as its gradient, if it stands for one example alone. It is `Recursive`,
    which takes the same way in, for those who look for the paper and want a refusal where there is no such way.

    References:
        Lu, Zhang, Zhao, He, Cheng, "APRIL: Finding the Achilles' Heel on Privacy for Vision Transformers", 2022,
        arXiv:2112.14087.
    """

    card: ClassVar[Card] = Card(
        summary="Solves a vision transformer's patches from the gradient of its position embedding, at batch 1.",
        title="APRIL: Finding the Achilles' Heel on Privacy for Vision Transformers",
        authors="Lu, Zhang, Zhao, He, Cheng",
        year=2022,
        arxiv="2112.14087",
        modality="image",
        family="analytic",
        formula="dL/dz = dL/dE_pos;  dL/dW = (dL/dz)^T x, solved for the patches x",
        needs=("model",),
        departs="solves for the patches directly, from the patch embedding's gradient, so that LayerNorm and residual "
        "branches may follow; what a LayerNorm leaves open is settled by the whole gradient",
    )

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        from gradiometer.numerics.recursion.graph import Shift
        from gradiometer.numerics.recursion.tracing import trace

        graph, sent = trace(update.need("model"), update.layout["x"].shape), update.as_gradient()
        if not any(isinstance(n.operation, Shift) and n.operation.name in sent for n in graph.nodes.values()):
            raise NotApplicable(
                "APRIL reads the gradient of a trained position embedding, and this update holds none",
                fix="choose Recursive, which knows other ways in",
            )
        return super().run(update, rng)
