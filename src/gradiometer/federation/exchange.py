"""Exchange: what a server sent and a client returned in one round, checked, and read as an `Update`.

Every framework's adapter turns its messages into named tensors and leaves the rest to this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from gradiometer.core import BadConfig, BadInput, Client, Update, clone_model, trainable

from .checking import check_alike


@dataclass(frozen=True, kw_only=True, eq=False)
class Exchange:
    """One round between the server and a client.

    Args:
        received: state of the model that the server sent. sent: that which the client returns.
        diff: what the client returns, where it returns the difference itself; None where it returns `sent`.
        round: from 0. member: partition of the client, its node's number, or its site's name.
        examples: that the client says it trained on; None where it does not say.
        wire_bytes: of the returned arrays.
    """

    received: Mapping[str, Tensor]
    sent: Mapping[str, Tensor]
    diff: Mapping[str, Tensor] | None = None
    round: int
    member: int | str
    examples: int | None
    wire_bytes: int

    def delta(self, model: nn.Module) -> dict[str, Tensor]:
        """What the training changed: where weights come back, what was sent is subtracted; trained parameters only.

        Raises:
            BadInput: a parameter that `model` does not train came back changed: it would pass undefended.
        """
        trained, buffers = trainable(model), {name for name, _ in model.named_buffers()}
        for name in self.sent.keys() - trained.keys() - buffers:
            if self._changed(name):
                raise BadInput(f"{name} came back changed, and the model says that it is not trained")
        if self.diff is not None:
            return {name: self.diff[name] for name in trained}
        return {name: self.sent[name] - self.received[name] for name in trained}

    def returned(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The client's answer with these values in the place of its delta; all else as it was."""
        if self.diff is not None:
            return {**self.diff, **values}
        return {**self.sent, **{name: self.received[name] + value for name, value in values.items()}}

    def update(self, client: Client) -> Update:
        """What the server sees. Buffers of normalization travel too and are part of it."""
        model = clone_model(client.model)
        model.load_state_dict(dict(self.received))
        buffers = {name: self.sent[name] for name, _ in model.named_buffers() if name in self.sent}
        examples = self.examples or client.recipe.examples
        return Update(
            values=self.delta(client.model),
            layout=client.layout,
            sends="delta",
            model=model,
            loss=client.loss,
            recipe=replace(client.recipe, examples=examples, shares_buffers=bool(buffers)),
            batch_size=self.examples,
            buffers=buffers or None,
            round=self.round,
            wire_bytes=self.wire_bytes,
        )

    def _changed(self, name: str) -> bool:
        if self.diff is not None:
            return bool(self.diff[name].any())
        return not torch.equal(self.sent[name], self.received[name])


def read_model(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The state that a server sent, in the model's own types.

    Raises:
        BadInput: it is not one of this architecture, or holds values that are not finite.
    """
    received = _cast(tensors, model.state_dict())
    check_alike(received, model.state_dict(), "the server's model")
    return received


def read_exchange(
    received: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    *,
    round: int,
    member: int | str,
    examples: int | None,
    wire_bytes: int,
    diff: bool = False,
) -> Exchange:
    """A client's answer to a model.

    Args:
        diff: the tensors are differences, not weights.

    Raises:
        BadInput: it does not fit the model, or holds values that are not finite.
    """
    tensors = _cast(tensors, received)
    check_alike(tensors, received, "the client's reply")
    return Exchange(
        received=received,
        sent={name: received[name] + value for name, value in tensors.items()} if diff else tensors,
        diff=tensors if diff else None,
        round=round,
        member=member,
        examples=examples,
        wire_bytes=wire_bytes,
    )


def count_of(told: object) -> int | None:
    """A number of examples, if that is what was told."""
    if isinstance(told, bool) or not isinstance(told, int | float) or not 1 <= told <= 2**31:
        return None
    return int(told)


def check_client(client: Client) -> Client:
    """A client as the frameworks know them: it returns weights, or their difference.

    Raises:
        BadConfig: its recipe sends gradients.
    """
    if client.recipe.sends != "delta":
        raise BadConfig(
            "clients of Flower and NVFlare return weights, and this one's recipe sends gradients",
            fix='describe their training: Recipe(sends="delta", epochs=..., batch_size=..., lr=...)',
        )
    return client


def _cast(found: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's own types: servers return float64 where they averaged counters or took Adam's steps."""
    return {name: _as(value, like[name]) if name in like else value for name, value in found.items()}


def _as(value: Tensor, like: Tensor) -> Tensor:
    if like.is_floating_point():
        return value.to(like.dtype)
    return value.round().to(like.dtype) if torch.isfinite(value).all() else value  # what is not finite is refused later
