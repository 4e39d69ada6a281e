"""Several channels in a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from gradiometer.core import Channel, Values


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """What left the first went through the second, and so on.

    The simulation is brought forward through all but the last, whose likelihood is the distance. Sent values are
    decoded backward, and the errors of all steps add up.

    Args:
        channels: in the order of the defenses.
    """

    channels: tuple[Channel, ...]

    def distance(self, simulated: Values, sent: Values) -> Tensor:
        for channel in self.channels[:-1]:
            simulated = channel.forward(simulated)
        return self.channels[-1].distance(simulated, sent)

    def decode(self, sent: Values) -> dict[str, Tensor]:
        for channel in reversed(self.channels):
            sent = channel.decode(sent)
        return dict(sent)

    def variance(self, sent: Values) -> dict[str, Tensor]:
        sums: dict[str, Tensor] = {}
        for channel in reversed(self.channels):
            for k, variance in channel.variance(sent).items():
                sums[k] = sums[k] + variance if k in sums else variance
            sent = channel.decode(sent)
        return sums

    def forward(self, simulated: Values) -> dict[str, Tensor]:
        for channel in self.channels:
            simulated = channel.forward(simulated)
        return dict(simulated)


def sequence(channels: Iterable[Channel | None]) -> Channel | None:
    """These channels in a row, without those that tell nothing; None if none is left."""
    telling = tuple(channel for channel in channels if channel is not None)
    return telling[0] if len(telling) == 1 else Sequence(channels=telling) if telling else None
