"""Mask: secure aggregation on a Flower client. What leaves is its update under masks that cancel in the sum alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from flwr.app import ConfigRecord, Context, Message
from torch import nn

from gradiometer.core import BadInput

from ..outgoing import fresh
from ..secure.client import SecureClient
from ..secure.member import Member
from ..secure.record import Record, Refused
from ..secure.storage import load_client, save_client
from ..secure.weighing import weigh
from .arrays import exchange_of, model_of, round_of
from .masked import fingerprint, flatten, parts, read_request, request
from .mod import Mod, Next, member_of

PLACE, AFTER = "gradiometer.mask", "after"


class Mask(Mod):
    """Answers the five stages of `SecureGrid`; the client trains in the third. Put it first in the list of mods.

    The mods behind it see the client's own update. What they pass on is masked, and nothing else of the reply leaves: no
    arrays, no metrics. What a client knows between two stages, secrets included, is kept in its node's own state until
    the round ends.

    Args:
        model: the architecture that is trained; anything else that a server sends is refused.
        member: `member(number)` gives the identity of the client, whom it knows, and its floors; see `load_member`.
        most: examples of the largest client, the same for all; None: every client weighs the same.
    """

    def __init__(self, model: nn.Module, member: Callable[[int], Member], *, most: int | None = None) -> None:
        super().__init__(model)
        self.member, self.most = member, most

    def answer(self, message: Message, context: Context, call_next: Next) -> Message:
        stage, record = read_request(message.content)
        client, after = self._load(stage, context)
        try:
            if stage == "mask":
                sent = self._masked(client, record, message, context, call_next)
            elif stage in ("advertise", "share", "consent", "open"):
                sent = getattr(client, stage)(record)
            else:
                raise Refused(f"there is no stage {stage!r}")
        except Exception:
            client.stage = "refused"  # whatever failed: nothing more is sent in this round
            raise
        finally:
            played = after if client.settings is None else max(after, client.settings.round)
            ended = client.stage in ("done", "refused")  # then no secret is kept
            left = SecureClient(member=client.member, stage=client.stage) if ended else client
            context.state[PLACE] = ConfigRecord({AFTER: played, **save_client(left)})
        return Message(request(stage, sent), reply_to=message)

    def outgoing(self, exchange: object, reply: Message, context: Context) -> Message:
        raise BadInput("an update that is not masked")

    def _load(self, stage: str, context: Context) -> tuple[SecureClient, int]:
        """The client where it stood, or at the start of a round, and the last round that it took part in."""
        kept = dict(context.state.config_records.get(PLACE, {}))
        after = int(str(kept.pop(AFTER, -1)))
        member = replace(self.member(member_of(context)), after=after)
        if stage == "advertise":
            return SecureClient(member=member), after
        if not kept:
            raise Refused(f"asked to {stage}, and no round has begun: nothing is sent")
        return load_client(kept, member), after

    def _masked(
        self, client: SecureClient, deliveries: object, message: Message, context: Context, call_next: Next
    ) -> Record:
        """The client's update under its masks."""
        settings, number = client.settings, round_of(message.content)
        if client.stage != "mask" or settings is None:
            raise Refused(f"asked to mask, but this client's next stage is {client.stage!r}: nothing is sent")
        if settings.round != number or settings.length != self._length:
            raise Refused("keys were exchanged for another round, or for another model")
        received = model_of(message.content, self.model)
        reply = call_next(message, context)
        if reply.has_error():
            raise Refused(f"the client did not train: {reply.error.reason}")
        exchange = exchange_of(received, reply.content, round=number, member=client.member.client)
        if exchange.examples is None:
            raise BadInput("the client does not say how many examples it trained on")
        trained = exchange.delta(self.model)
        moves = {name: exchange.sent[name] - received[name] for name in parts(self.model)} | trained
        count = exchange.examples if self.most else 1
        vector = weigh(flatten(moves, self.model), count, most=self.most or 1, clip=settings.clip)
        return client.mask(deliveries, vector, fresh(), context=fingerprint(received))

    @property
    def _length(self) -> int:
        return sum(value.numel() for value in parts(self.model).values()) + 1
