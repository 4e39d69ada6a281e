"""What is known of a generator's latent vector: its entries look like draws from N(0, 1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gradiometer.core import Update

from .terms import Iterate, Term


@dataclass(frozen=True, kw_only=True)
class LatentNormal:
    """weight * KL(N(m, s^2) || N(0, 1)) = weight / 2 * (m^2 + s^2 - 1 - log s^2), m and s over the entries of one latent vector.

    Searches without a latent vector are not penalized.

    References:
        Li, Zhang, Liu, Liu, "Auditing Privacy Defenses in Federated Learning via Generative Gradient Leakage", 2022,
        arXiv:2203.15696.
    """

    weight: float = 1e-3

    def term(self, update: Update) -> Term:
        """See `Prior.term`."""

        def penalty(at: Iterate) -> Tensor:
            if at.latent is None:
                return at.x.new_zeros(())
            spread = at.latent.var(1, correction=0)
            return self.weight / 2 * (at.latent.mean(1).square() + spread - 1 - spread.clamp_min(1e-12).log()).mean()

        return Term(penalty=penalty)
