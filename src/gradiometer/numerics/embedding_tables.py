"""The embedding tables of a text model: which module looks up tokens, which one places, and what their gradients tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradiometer.core import NotApplicable, Update, Values, clone_model, read_tokens


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Names of the modules that look up tokens and, where there is one, places."""

    tokens: str
    places: str | None


def find_tables(update: Update) -> Tables:
    """Shows the model a sequence and sees which embedding is asked for it, and which for 0, 1, 2, ...

    Raises:
        NotApplicable: the layout has no tokens, or the model looks up none.
    """
    field = update.layout.get("input_ids")
    if field is None or field.kind != "token" or not field.classes:
        raise NotApplicable("the attack reads the field `input_ids`, a sequence of tokens, which the layout lacks")
    model: nn.Module = clone_model(update.need("model")).eval()
    asked: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            module.register_forward_pre_hook(lambda _, inputs, name=name: asked.update({name: inputs[0]}))
    length = min(3, field.shape[0])
    ids = torch.tensor([[1, 0, 1][:length]], device=next(model.parameters()).device)
    try:
        with torch.no_grad():
            read_tokens(model, ids, torch.ones_like(ids))
    except Exception as error:  # a model of another kind may raise anything
        raise NotApplicable(
            f"the model does not take tokens: model(input_ids, attention_mask) fails with {type(error).__name__}: {error}",
            fix="text attacks need a text model that is called as model(input_ids, attention_mask)",
        ) from error

    def of(sought: Tensor) -> str | None:
        found = (name for name, seen in asked.items() if torch.equal(seen.flatten().cpu(), sought.cpu()))
        return next(found, None)

    tokens = of(ids[0])
    if tokens is None:
        raise NotApplicable("the model looks up its tokens in no nn.Embedding")
    return Tables(tokens=tokens, places=of(torch.arange(length)))


def longest(values: Values, tables: Tables, most: int) -> int | None:
    """How many tokens the longest sequence has: later rows of the place table have no gradient. Behind noise, it seems to fill all places.

    Returns:
        None where no gradient of such a table was sent.
    """
    gradient = None if tables.places is None else values.get(f"{tables.places}.weight")
    if gradient is None:
        return None
    used = gradient[:most].any(dim=1).nonzero()
    return int(used.max()) + 1 if len(used) else None


def embedded(model: nn.Module, table: str) -> nn.Module:
    """A copy of the model that takes embeddings [n, length, width] in the place of tokens; the table itself is not trained.

    Names of parameters stay as they are: the model is called with zeros for tokens, and what it looks up is replaced.
    """
    model, given = clone_model(model), list[Tensor]()
    lookup = model.get_submodule(table)
    lookup.requires_grad_(False)

    def enter(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given[:] = [named["input_ids"]] if "input_ids" in named else inputs[:1]
        tokens = torch.zeros(given[0].shape[:2], dtype=torch.long, device=given[0].device)
        return ((), named | {"input_ids": tokens}) if "input_ids" in named else ((tokens, *inputs[1:]), named)

    model.register_forward_pre_hook(enter, with_kwargs=True)
    lookup.register_forward_hook(lambda _, inputs, output: given[0])
    return model
