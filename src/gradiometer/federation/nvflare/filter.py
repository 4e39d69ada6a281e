"""What all filters share: they check both directions, and let nothing out if anything is wrong."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.dxo_filter import DXOFilter
from nvflare.apis.filter import ContentBlockedException, FilterChainType, FilterContextKey
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from torch import nn

from gradiometer.core import BadInput

from ..exchange import Exchange
from ..rounds import reason
from .arrays import MODELS, content_of, exchange_of, model_of, round_of
from .placing import place

REFUSED = "gradiometer.refused"
"""Header of the error reply that takes the place of a refused one: the reason."""


class ModelFilter(DXOFilter):
    """A filter of a client, which stands among its `task_data_filters` and its `task_result_filters`.

    On the way in it remembers the model that the server sent; on the way out it sees what the client returns.

    NVFlare's own filters pass what they do not know: error replies with content, messages that are no data exchange
    objects, other kinds of them. This one does not. Whatever goes wrong, in the server's model, in the client's
    training or in the filter itself: nothing is sent. The reason stands in the client's log and, on the way out, in
    the reply; on the way in, where the client does not even train, NVFlare's reply has room for a code alone.
    """

    def __init__(self) -> None:
        super().__init__(supported_data_kinds=list(MODELS), data_kinds_to_filter=None)

    @property
    @abstractmethod
    def architecture(self) -> nn.Module:
        """What is trained; anything else that a server sends is refused."""

    @abstractmethod
    def outgoing(self, exchange: Exchange, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> DXO:
        """What is sent instead of the client's model."""

    def elsewhere(self, shareable: Shareable) -> Shareable:
        """What is sent instead of a reply without a model."""
        return shareable

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        incoming = self.get_prop(FilterContextKey.CHAIN_TYPE) == FilterChainType.TASK_DATA_CHAIN
        try:
            return self._in(shareable, fl_ctx) if incoming else self._out(shareable, fl_ctx)
        except Exception as error:  # fail closed: an unforeseen error must not let the raw update out
            why = f"{type(self).__name__}: {reason(error)}"
            self.log_error(fl_ctx, f"nothing is sent: {why}", fire_event=False)
            if incoming:
                raise ContentBlockedException(why) from error
            return make_reply(ReturnCode.TASK_RESULT_FILTER_ERROR, headers={REFUSED: why})

    def process_dxo(self, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> DXO:
        known = fl_ctx.get_prop(self._place())
        if known is None:
            raise BadInput(
                "a model leaves, and none came in with this task",
                fix="place this filter among the task_data_filters, too",
            )
        received, number = known
        exchange = exchange_of(received, dxo, round=number, member=fl_ctx.get_identity_name())
        return self.outgoing(exchange, dxo, shareable, fl_ctx)

    def add_to_fed_job(
        self, job: Any, ctx: Any, filter_type: str | None = None, tasks: Sequence[str] | None = None
    ) -> None:
        """What `job.to_clients(...)` and `recipe.add_client_output_filter(...)` call."""
        place(self, job, ctx, filter_type=filter_type, tasks=tasks)

    def _in(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        dxo, known = content_of(shareable), None
        architecture = self.architecture  # a filter that cannot be made is found before the client trains
        if dxo is not None and dxo.data_kind in MODELS:
            known = (model_of(dxo, architecture), round_of(shareable))
        fl_ctx.set_prop(self._place(), known, private=True, sticky=False)
        return shareable

    def _out(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        dxo = content_of(shareable) if shareable.get_return_code() == ReturnCode.OK else None
        if dxo is None or dxo.data_kind not in MODELS:
            return self.elsewhere(shareable)
        if not dxo.data:
            raise BadInput("the client's reply is a model without weights")
        return self._apply_filter(dxo, shareable, fl_ctx).update_shareable(shareable)

    def _place(self) -> str:
        """Filters of a job do not write over what filters of the site remember."""
        return f"gradiometer.received.{self.get_prop(FilterContextKey.SOURCE)}"


def weights_like(dxo: DXO, data: dict[str, Any]) -> DXO:
    """The same message with other numbers."""
    return DXO(DataKind(dxo.data_kind), data=data, meta=dxo.meta)
