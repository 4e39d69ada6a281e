"""The channel of selective encryption: some entries are unknown, and the observer knows which."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import NotApplicable, Values

from .shared import cosine_distance

HIDDEN = -0.0
"""What stands in the place of an encrypted entry: the zero that no plain entry is, as `hide` makes theirs positive."""


def hide(value: Tensor, hidden: Tensor) -> Tensor:
    """The values with the entries where `hidden` is true marked as unknown."""
    return torch.where(hidden, HIDDEN, value + 0.0).to(value)


def is_hidden(values: Values) -> dict[str, Tensor]:
    """Where `hide` marked entries. After sums, which lose a zero's sign, wherever there is a zero."""
    zeros = {name: value == 0 for name, value in values.items()}
    marked = {name: zeros[name] & value.signbit() for name, value in values.items()}
    return marked if any(bool(m.any()) for m in marked.values()) else zeros


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """Visible entries are exact, and hidden ones say nothing.

    distance = 1 - cos(s, q) over the visible entries alone: an attacker who takes hidden entries for zeros is misled,
    and one who leaves them out is not.

    Raises (all methods but `forward`):
        NotApplicable: nothing is visible.
    """

    def distance(self, simulated: Values, sent: Values) -> Tensor:
        weights = {k: (~hidden).to(sent[k]) for k, hidden in self._hidden(sent).items()}
        return cosine_distance(simulated, sent, weights)

    def decode(self, sent: Values) -> dict[str, Tensor]:
        """Hidden entries as zeros, which is what they are on average."""
        return {k: torch.where(hidden, 0.0, sent[k]).to(sent[k]) for k, hidden in self._hidden(sent).items()}

    def variance(self, sent: Values) -> dict[str, Tensor]:
        """Infinite where hidden, zero elsewhere."""
        return {k: torch.where(hidden, torch.inf, 0.0).to(sent[k]) for k, hidden in self._hidden(sent).items()}

    def forward(self, simulated: Values) -> dict[str, Tensor]:
        return dict(simulated)

    def _hidden(self, sent: Values) -> dict[str, Tensor]:
        found = is_hidden(sent)
        if all(bool(hidden.all()) for hidden in found.values()):
            raise NotApplicable("everything in this message is encrypted, and the observer has no key")
        return found
