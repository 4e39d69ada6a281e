"""Defend: any `Defense` on what an NVFlare client sends."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

from nvflare.apis.dxo import DXO
from nvflare.apis.filter import FilterContextKey
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from torch import Tensor, nn

from gradiometer.core import BadInput, Defense, Memory

from ..exchange import Exchange
from ..outgoing import Protection
from ..packing import pack, unpack
from .arrays import like, plain
from .filter import ModelFilter, weights_like
from .placing import named


class Defend(ModelFilter):
    """Defends the weight delta of every model that leaves: `received + defense(trained - received)`.

    Buffers of normalization pass as they are, and so do numbers and text in the reply's meta and in replies without a
    model. Arrays beside the model are refused, for no defense would cover them. What the defense remembers between
    rounds is kept in the client's run folder.

    Args:
        defense: of updates, or `module:name` of one. One that changes the model or the data must be applied in the
            training script, where these are made.
        model: the architecture that is trained, or `module:name` of it; anything else that a server sends is refused.
        seed: None draws the defense's randomness from the system, as it must be; a number repeats a test.

    Raises:
        Unsupported: a defense that a filter cannot apply; one that is named is refused when the first model comes in.
    """

    def __init__(self, defense: Defense | str, model: nn.Module | str, seed: int | None = None) -> None:
        super().__init__()
        self.defense, self.model, self.seed = defense, model, seed
        if not isinstance(defense, str) and not isinstance(model, str):
            _ = self.protection

    @cached_property
    def protection(self) -> Protection:
        """Made where it is used: a job is written where the model and the data need not be."""
        model = named(self.model, nn.Module, "the model")
        return Protection(defense=named(self.defense, Defense, "the defense"), model=model, seed=self.seed)

    @property
    def architecture(self) -> nn.Module:
        return self.protection.model

    def outgoing(self, exchange: Exchange, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> DXO:
        _check_beside(shareable, "DXO")
        if not plain(dxo.meta):
            raise BadInput("the reply's meta holds more than numbers and text, and no defense covers it")
        path = Path(fl_ctx.get_prop(FLContextKey.APP_ROOT)) / f"defense-of-{self.get_prop(FilterContextKey.SOURCE)}"
        memory = _remembered(path)
        data = like(dxo.data, self.protection.apply(exchange, memory))
        _remember(memory, path)
        return weights_like(dxo, data)

    def elsewhere(self, shareable: Shareable) -> Shareable:
        _check_beside(shareable)
        return shareable


def _check_beside(shareable: Shareable, *covered: str) -> None:
    for key, value in shareable.items():
        if key not in (ReservedHeaderKey.HEADERS, *covered) and not plain(value):
            raise BadInput(f"the reply holds {key!r}, which is more than numbers and text, and no defense covers it")


def _remembered(path: Path) -> Memory:
    """A task may be a new process: memory lives in a file."""
    from safetensors import safe_open

    if not path.exists():
        return {}
    with safe_open(path, framework="pt", device="cpu") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
        found: Memory = unpack(json.loads(file.metadata()["memory"]), tensors)
    return found


def _remember(memory: Memory, path: Path) -> None:
    from safetensors.torch import save_file

    if not memory:
        return
    kept: list[Tensor] = []
    told = json.dumps(pack(memory, kept))
    partial = path.with_name(path.name + ".part")
    save_file({str(i): t.detach().contiguous().clone() for i, t in enumerate(kept)}, partial, metadata={"memory": told})
    partial.replace(path)
