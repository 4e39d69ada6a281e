"""FederatedDropout: every client trains a smaller model, cut out of the federation's at random, in every round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from gradiometer.core import Attack, BadConfig, Card, Defense, Guess, NotApplicable, SubModel, Update, Values

if TYPE_CHECKING:
    from gradiometer.numerics.cutting import Units


@dataclass(frozen=True, kw_only=True)
class FederatedDropout(Defense):
    """Leaves out a share of the units of every layer whose units only layers read: neurons, and filters of convolutions.

    Rows, columns and normalization channels of a unit go with it, so the model is really smaller: fewer bytes down and up,
    fewer operations. The server averages every coordinate over the clients that had it. Units that are added to others
    (residual streams) and the outputs stay. Weights are not rescaled.

    Its purpose is to save bytes. Where the server cuts the model, it has the smaller model, and every attack applies to that one
    as to any other: it must only send fewer numbers than an attack needs equations.

    Args:
        rate: share of the units that is left out, in [0, 1); 0 is the identity. One unit a layer stays at least.
        mask: who chooses. The `server` sends the smaller model. A `client` that chooses for itself, and keeps it to
            itself, sends zeros for what it left out: somebody who knows this defense reads the choice off them.

    References:
        Caldas, Konečný, McMahan, Talwalkar, "Expanding the Reach of Federated Learning by Reducing Client Resource
        Requirements", 2018, arXiv:1812.07210.
    """

    card: ClassVar[Card] = Card(
        summary="Lets every client train a random smaller model: saves bytes, and is inverted like any model.",
        title="Expanding the Reach of Federated Learning by Reducing Client Resource Requirements",
        authors="Caldas, Konečný, McMahan, Talwalkar",
        year=2018,
        arxiv="1812.07210",
        family="model",
        formula="W -> W[kept outputs, kept inputs], a layer keeps round((1 - rate) n) units",
        strength="rate",
        departs="without the paper's lossy compression of what is sent",
    )
    rate: float = 0.25
    mask: Literal["server", "client"] = "server"

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise BadConfig(f"FederatedDropout needs rate in [0, 1), got {self.rate}")

    def on_download(self, model: nn.Module, *, rng: torch.Generator) -> SubModel | None:
        """Raises:
        NotApplicable: no unit can be left out.
        """
        from gradiometer.numerics.cutting import cut, units  # torch.fx takes a while to load

        if not self.rate:
            return None
        groups = units(model)
        if not groups:
            raise NotApplicable(
                f"{type(model).__name__} has no layer whose units could be left out", fix="leave this defense out"
            )
        kept = {
            group.layer: torch.randperm(group.count, generator=rng)[: max(1, round((1 - self.rate) * group.count))]
            for group in groups
        }
        return cut(model, {name: index.sort().values for name, index in kept.items()}, secret=self.mask == "client")

    def wire_bytes(self, values: Values) -> int:
        """Of the smaller model's values; a client that chose for itself adds a bit a unit, sent or not."""
        rows = sum(len(value) for value in values.values() if value.ndim > 1)
        positions = -(-round(rows / (1 - self.rate)) // 8) if self.rate and self.mask == "client" else 0
        return super().wire_bytes(values) + positions

    def informed(self, attack: Attack, *, clients: int = 1) -> Attack | None:
        return _Uncovering(attack=attack) if self.rate and self.mask == "client" else None


@dataclass(frozen=True, kw_only=True)
class _Uncovering(Attack):
    """Reads the units that were left out off the zeros of the message, and attacks the model without them.

    A unit that is silent on the whole batch leaves the same zeros, and cutting it out changes nothing either.
    """

    card: ClassVar[Card] = FederatedDropout.card
    attack: Attack

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        return self.attack.run(_uncovered(update), rng)

    def tamper(self, model: nn.Module) -> nn.Module:
        return self.attack.tamper(model)

    def probe(self, update: Update, rng: torch.Generator, starts: int = 4) -> list[float] | None:
        return self.attack.probe(_uncovered(update), rng, starts)


def _uncovered(update: Update) -> Update:
    from gradiometer.numerics.cutting import cut, units

    model = update.need("model")
    kept = {group.layer: _touched(group, update.values) for group in units(model)}
    small = cut(model, kept)
    buffers = None if update.buffers is None else small.gather(update.buffers)
    return update.replace(model=small.model, values=small.gather(update.values), buffers=buffers)


def _touched(group: Units, values: Values) -> Tensor:
    """Units of which anything was sent, or the first one if there is none. Encrypted entries are negative zeros."""
    said = torch.zeros(group.count, dtype=torch.bool)
    own = [values.get(f"{name}.{local}") for name in (group.layer, *group.norms) for local in ("weight", "bias")]
    read = [values.get(f"{name}.weight") for name in group.readers]
    for rows in (*own, *(None if value is None else value.transpose(0, 1) for value in read)):
        if rows is not None:
            said |= ((rows != 0) | rows.signbit()).reshape(group.count, -1).any(1).cpu()
    return said.nonzero()[:, 0] if bool(said.any()) else torch.zeros(1, dtype=torch.long)
