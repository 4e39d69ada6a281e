"""The prior on features: what the classification head saw follows from its own gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import NotApplicable, Update

from .heads import find_head
from .terms import Iterate, Term


@dataclass(frozen=True, kw_only=True)
class HeadFeatures:
    """weight * mean((h_i - dW_c / db_c)^2), h_i the head's input for example i and c its label.

    Row c of the head's weight gradient is a sum over all examples, mostly those of class c: the quotient is exact for a
    single example, and close where no other example has the class and the network is untrained.

    References:
        Geiping et al., the library `breaching`, configuration `modern`, 2022.
    """

    weight: float = 0.1

    def term(self, update: Update) -> Term:
        """See `Prior.term`."""
        labels, gradient = update.need("labels"), update.as_gradient()
        classes = update.layout["y"].classes if "y" in update.layout else None
        head = find_head(update.need("model"), gradient, classes or 0)
        if head.bias is None:
            raise NotApplicable("the features of the head follow from its gradient only where it has a bias")
        slope = gradient[head.bias][labels]
        known = (slope != 0)[:, None]
        features = torch.where(known, gradient[head.weight][labels] / torch.where(slope != 0, slope, 1.0)[:, None], 0.0)

        def penalty(at: Iterate) -> Tensor:
            seen = torch.cat(at.inputs[head.module])[: len(features)]  # the first epoch, if there are several
            return self.weight * (seen - features).square().mean()

        return Term(penalty=penalty, watches=(head.module,))
