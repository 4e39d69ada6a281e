"""Federation: who trains what with whom, by which rules. It stays the same from round to round."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from gradiometer.core import BadConfig, Batch, Client, Defense, Unsupported, derive

from .averaging import Averaging
from .members import Member
from .strategy import Strategy


@dataclass(frozen=True, kw_only=True, eq=False)
class Federation:
    """All that does not change from round to round.

    Args:
        client: model, loss and recipe that all members share.
        strategy: of the server; it may have its say in the recipe.
        defense: of every client.
        examples: that a member draws for a round; None: all that it has.
        test: common held-out examples.
        aggregation: what shows the server the sum alone; None: it sees every message.
        dropout: chance of every member to answer no more in a round, after it shared its secrets.
    """

    client: Client
    members: tuple[Member, ...]
    strategy: Strategy
    defense: Defense = field(default_factory=Defense)
    examples: int | None = None
    test: Batch | None = None
    seed: int = 0
    aggregation: Averaging | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sends, wanted = self.client.recipe.sends, self.strategy.sends
        if sends != wanted:
            raise BadConfig(
                f"{type(self.strategy).__name__} needs clients that send a {wanted}, and these send a {sends}",
                fix=f'set sends = "{wanted}" in the recipe, or choose another strategy',
            )
        if not 0 <= self.dropout < 1:
            raise BadConfig(f"dropout is a chance in [0, 1), got {self.dropout}")
        if self.aggregation is not None:
            self.aggregation.check(len(self.members))
            if self.defense.cuts():
                raise Unsupported(
                    "members that train different parts of the model have no plain sum", fix="leave the aggregation out"
                )
        for batch in (self.test, *(part for m in self.members for part in (m.train, m.test))):
            if batch is not None and ("y" not in batch or batch["y"].is_floating_point()):
                raise Unsupported("federated training measures accuracy, which needs integer labels `y`")

    @property
    def most(self) -> int | None:
        """Examples that the largest member trains on in a round; None where all weigh alike."""
        if self.defense.aggregates():
            return None
        return max(min(member.train.size, self.examples or member.train.size) for member in self.members)

    def gone(self, number: int) -> frozenset[int]:
        """Members that answer no more in this round."""
        drawn = torch.rand(len(self.members), generator=derive(self.seed, "dropout", number))
        return frozenset((drawn < self.dropout).nonzero().flatten().tolist())
