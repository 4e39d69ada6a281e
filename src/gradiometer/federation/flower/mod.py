"""What all mods share: they look at training rounds, check both directions, and let nothing out if anything is wrong."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable

from flwr.app import Context, Error, Message
from torch import nn

from gradiometer.core import BadInput

from ..exchange import Exchange
from ..rounds import reason
from .arrays import exchange_of, model_of, round_of

LOG = logging.getLogger("flwr.gradiometer")
REFUSED = 451
"""Code of the error that takes the place of a refused reply."""

Next = Callable[[Message, Context], Message]


class Mod(ABC):
    """A Flower mod around training. The first of a list of mods sees the reply last.

    Whatever goes wrong, in the server's model, in the client's training or in the mod itself: nothing is sent, and the
    reason stands in an error reply and in the client's log.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, message: Message, context: Context, call_next: Next) -> Message:
        try:
            if message.metadata.message_type.partition(".")[0] != "train":
                return self.elsewhere(call_next(message, context))
            return self.answer(message, context, call_next)
        except Exception as error:  # fail closed: an unforeseen error must not let the raw update out
            why = f"{type(self).__name__}: {reason(error)}"
            LOG.error("nothing is sent: %s", why)
            return Message(Error(code=REFUSED, reason=why), reply_to=message)

    def answer(self, message: Message, context: Context, call_next: Next) -> Message:
        """The reply to a message of training."""
        received = model_of(message.content, self.model)
        number = round_of(message.content)
        reply = call_next(message, context)
        if reply.has_error():
            return reply
        exchange = exchange_of(received, reply.content, round=number, member=member_of(context))
        return self.outgoing(exchange, reply, context)

    @abstractmethod
    def outgoing(self, exchange: Exchange, reply: Message, context: Context) -> Message:
        """What is sent instead of the reply."""

    def elsewhere(self, reply: Message) -> Message:
        """Replies to anything but training pass, unless they carry arrays, which nobody would look at.

        Raises:
            BadInput: they do.
        """
        if reply.has_content() and reply.content.array_records:
            raise BadInput("a reply that is not one of training carries arrays")
        return reply


def member_of(context: Context) -> int:
    """The client's partition, where its node has one; else the node's number."""
    told = context.node_config.get("partition-id", context.node_id)
    return told if isinstance(told, int) else context.node_id
