"""SelectiveEncryption: the most revealing entries leave encrypted, the rest in clear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gradiometer.core import BadConfig, Batch, Card, Channel, Defense, Memory, Unsupported, Values, WeightsLoss
from gradiometer.numerics.channels import Hidden, hide
from gradiometer.numerics.per_example import mean_magnitude
from gradiometer.numerics.shrinking import Scope, largest

SLOTS, CIPHERTEXT, HEADER = 2048, 65_680, 52
"""Entries and bytes of a CKKS ciphertext at `homomorphic.Parameters()`, and bytes before the first one, as TenSEAL wrote them."""


@dataclass(frozen=True, kw_only=True)
class SelectiveEncryption(Defense):
    """Encrypts the share p of the entries that say most of the data. The server knows which, and sees all others.

    What an entry says is judged by its sensitivity to the labels, S_i = mean_k |dg_i / dy_k| (FedML-HE). For
    cross-entropy, which is linear in label probabilities, dg_i / dy_k at the true class is g_k,i, example k's own
    gradient: S is the mean magnitude of single examples' gradients, and for one example the magnitude of what is sent.

    The choice is made in the client's first round and kept, as long as it trains the same part of the model. This class hides entries; ciphertexts that can be added are
    `federation.homomorphic`, whose sizes `wire_bytes` states, with one bit an entry to say which are encrypted.

    Args:
        share: p in [0, 1]; 0 is the identity, 1 encrypts everything.
        by: `magnitude` of what is sent; `sensitivity`, as above; or `random`.
        scope: the share counts in each `tensor`, or `global`ly.
        key: who can decrypt one message. `clients` share a secret key that the server has not. At the `server`, it
            reads every message: encryption then protects against third parties alone, as that of the transport does.

    References:
        Jin et al., "FedML-HE: An Efficient Homomorphic-Encryption-Based Privacy-Preserving Federated Learning System",
        2023, arXiv:2303.10837.
    """

    card: ClassVar[Card] = Card(
        summary="Encrypts the entries that say most of the data, for a key that the server does not have.",
        title="FedML-HE: An Efficient Homomorphic-Encryption-Based Privacy-Preserving Federated Learning System",
        authors="Jin, Yao, Han, Gu, Joe-Wong, Ravi, Avestimehr, He",
        year=2023,
        arxiv="2303.10837",
        family="cryptographic",
        formula="seen_i = v_i unless S_i is among the largest share p, S_i = mean_k |dg_i / dy_k|",
        strength="share",
        departs="the choice is each client's own in place of one from all clients' encrypted maps",
    )
    share: float = 0.1
    by: Literal["magnitude", "sensitivity", "random"] = "magnitude"
    scope: Scope = "global"
    key: Literal["clients", "server"] = "clients"

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise BadConfig(f"SelectiveEncryption needs share in [0, 1], got {self.share}")

    def on_model(self, model: nn.Module) -> nn.Module:
        if self.by == "sensitivity" and any(isinstance(module, _BatchNorm) for module in model.modules()):
            raise Unsupported(
                "sensitivities are those of single examples, and the model's batch normalization mixes them",
                fix='choose by = "magnitude", or put BatchNormToGroupNorm() in front',
            )
        return model

    def on_step(
        self, loss: WeightsLoss, weights: dict[str, Tensor], part: Batch, *, rng: torch.Generator, memory: Memory
    ) -> dict[str, Tensor] | None:
        if self.by == "sensitivity" and 0 < self.share < 1 and not {"hidden", "sensitivity"} & memory.keys():
            found = mean_magnitude(loss, weights, part)
            memory["sensitivity"] = {name.removeprefix("model."): value for name, value in found.items()}
        return None

    def on_wire(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        if not self.share or self.key == "server":
            return dict(values)
        kept = memory.get("hidden", {})
        if any(name not in kept or kept[name].shape != value.shape for name, value in values.items()):
            memory["hidden"] = self._chosen(values, memory.pop("sensitivity", None), rng)
        return {name: hide(value, memory["hidden"][name]) for name, value in values.items()}

    def _chosen(self, values: Values, sensitivity: Values | None, rng: torch.Generator) -> dict[str, Tensor]:
        """Where entries are encrypted. Steps that belong to another defense leave no sensitivities: magnitudes it is."""
        if self.share == 1:
            return {name: torch.ones_like(value, dtype=torch.bool) for name, value in values.items()}
        marks = sensitivity or values
        if self.by == "random":
            marks = {name: torch.rand(value.shape, generator=rng).to(value.device) for name, value in values.items()}
        return {name: mask.bool() for name, mask in largest(marks, self.share, self.scope).items()}

    def wire_bytes(self, values: Values) -> int:
        entries = sum(value.numel() for value in values.values())
        hidden = self._count(values)
        if not hidden:
            return super().wire_bytes(values)
        clear = super().wire_bytes(values) * (entries - hidden) // entries
        positions = -(-entries // 8) if hidden < entries else 0
        return clear + positions + HEADER + CIPHERTEXT * -(-hidden // SLOTS)

    def _count(self, values: Values) -> int:
        sizes = [value.numel() for value in values.values()]
        groups = sizes if self.scope == "tensor" else [sum(sizes)]
        return sum(max(1, round(self.share * size)) for size in groups) if self.share else 0

    def channel(self) -> Channel | None:
        return Hidden() if self.share and self.key == "clients" else None
