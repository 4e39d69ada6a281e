"""Exchange: what a server sent and a client returned in one round of Flower, checked, and read as an `Update`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from flwr.app import RecordDict
from torch import Tensor, nn

from gradiometer.core import BadConfig, BadInput, Client, Update, clone_model, trainable

from ..checking import check_alike
from .arrays import only_arrays


@dataclass(frozen=True, kw_only=True, eq=False)
class Exchange:
    """One round between the server and a client.

    Args:
        received: state of the model that the server sent. sent: that which the client returns.
        key: of the returned record of arrays.
        round: from 0. member: partition of the client, or its node's number.
        examples: that the client says it trained on; None where it does not say.
        wire_bytes: of the returned arrays.
    """

    received: dict[str, Tensor]
    sent: dict[str, Tensor]
    key: str
    round: int
    member: int
    examples: int | None
    wire_bytes: int

    def delta(self, model: nn.Module) -> dict[str, Tensor]:
        """Weights come back, so what was sent is subtracted; trained parameters only.

        Raises:
            BadInput: a parameter that `model` does not train came back changed: it would pass undefended.
        """
        trained, buffers = trainable(model), {name for name, _ in model.named_buffers()}
        for name in self.sent.keys() - trained.keys() - buffers:
            if not torch.equal(self.sent[name], self.received[name]):
                raise BadInput(f"{name} came back changed, and the model says that it is not trained")
        return {name: self.sent[name] - self.received[name] for name in trained}

    def update(self, client: Client) -> Update:
        """What the server sees. Buffers of normalization travel too and are part of it."""
        model = clone_model(client.model)
        model.load_state_dict(self.received)
        buffers = {name: self.sent[name] for name, _ in model.named_buffers() if name in self.sent}
        recipe = replace(client.recipe, examples=self.examples or 1, shares_buffers=bool(buffers))
        return Update(
            values=self.delta(client.model),
            layout=client.layout,
            sends="delta",
            model=model,
            loss=client.loss,
            recipe=recipe,
            batch_size=self.examples,
            buffers=buffers or None,
            round=self.round,
            wire_bytes=self.wire_bytes,
        )


def read_model(content: RecordDict, model: nn.Module) -> dict[str, Tensor]:
    """The state that a server sent.

    Raises:
        BadInput: it is not one of this architecture, or holds values that are not finite.
    """
    _, received, _ = only_arrays(content, "the server's message")
    received = _cast(received, model.state_dict())
    check_alike(received, model.state_dict(), "the server's model")
    return received


def read_exchange(received: dict[str, Tensor], content: RecordDict, *, round: int, member: int) -> Exchange:
    """A client's reply to a model.

    Raises:
        BadInput: it does not fit the model, or holds values that are not finite.
    """
    key, sent, size = only_arrays(content, "the client's reply")
    sent = _cast(sent, received)
    check_alike(sent, received, "the client's reply")
    return Exchange(
        received=received,
        sent=sent,
        key=key,
        round=round,
        member=member,
        examples=_examples(content),
        wire_bytes=size,
    )


def round_of(content: RecordDict) -> int:
    """The round from 0, as far as the server tells it (`server-round`, from 1); 0 where it does not."""
    told = [record["server-round"] for record in content.config_records.values() if "server-round" in record]
    return max(0, int(told[0]) - 1) if told and isinstance(told[0], int) else 0


def check_client(client: Client) -> Client:
    """A client as Flower knows them: it returns weights.

    Raises:
        BadConfig: its recipe sends gradients.
    """
    if client.recipe.sends != "delta":
        raise BadConfig(
            "Flower's clients return weights, and this one's recipe sends gradients",
            fix='describe their training: Recipe(sends="delta", epochs=..., batch_size=..., lr=...)',
        )
    return client


def _cast(found: dict[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's own types: Flower's servers return float64 where they averaged counters or took Adam's steps."""
    return {name: _as(value, like[name]) if name in like else value for name, value in found.items()}


def _as(value: Tensor, like: Tensor) -> Tensor:
    if like.is_floating_point():
        return value.to(like.dtype)
    return value.round().to(like.dtype) if torch.isfinite(value).all() else value  # what is not finite is refused later


def _examples(content: RecordDict) -> int | None:
    told: list[Any] = [record["num-examples"] for record in content.metric_records.values() if "num-examples" in record]
    if not told or isinstance(told[0], list) or not 1 <= told[0] <= 2**31:
        return None
    return int(told[0])
