"""The prior of LAMP: embeddings of a sentence are as long as those of the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gradiometer.core import Update

from .embedding_tables import find_tables
from .terms import Iterate, Term


@dataclass(frozen=True, kw_only=True)
class EmbeddingLength:
    """weight * (mean length of the embeddings / mean length of the table's rows - 1)^2: without it, entries grow.

    References:
        Balunović, Dimitrov, Jovanović, Vechev, "LAMP: Extracting Text from Gradients with Language Model Priors", 2022,
        arXiv:2202.08827.
    """

    weight: float = 1.0

    def term(self, update: Update) -> Term:
        """See `Prior.term`."""
        table = update.need("model").get_parameter(f"{find_tables(update).tokens}.weight")
        usual = float(table.detach().norm(dim=1).mean())

        def penalty(at: Iterate) -> Tensor:
            return self.weight * (at.x.norm(dim=-1).mean() / usual - 1).square()

        return Term(penalty=penalty)
