"""How models of text are called: ours by place, those of the library `transformers` by name, which answer with a record."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor


def read_tokens(model: Callable[..., Any], ids: Tensor, mask: Tensor, positions: Tensor | None = None) -> Tensor:
    """What a model of text answers: logits [n, classes], or [n, length, vocabulary].

    A model whose `forward` knows `position_ids` is one of the library `transformers`: it is called by name, and finds the token of its
    `config.pad_token_id` wherever the mask has none, since some of its kind look for the end of a sequence there and not in the mask.

    Args:
        model: called as `model(ids, mask)`, or `model(ids, mask, positions)`.
        ids: [n, length]; or embeddings [n, length, width], where the model was told to take them.
        mask: [n, length], 0 for padding on the right; or [n, length, length], which token sees which.
        positions: [n, length]; 0, 1, 2, ... where not given.
    """
    own: Any = type(model)
    if not _by_name(own):
        logits: Tensor = model(ids, mask) if positions is None else model(ids, mask, positions)
        return logits
    padding = getattr(getattr(model, "config", None), "pad_token_id", None)
    if mask.ndim == 3:
        kind = next((value.dtype for value in model.parameters()), torch.float32)  # type: ignore[attr-defined]
        hidden = ~mask.bool()[:, None]
        mask = torch.zeros_like(hidden, dtype=kind).masked_fill(hidden, torch.finfo(kind).min)
    elif padding is not None and ids.ndim == 2:
        ids = ids.masked_fill(mask == 0, padding)
    places = {} if positions is None else {"position_ids": positions}
    answer = model(input_ids=ids, attention_mask=mask, **places)
    return answer.logits if hasattr(answer, "logits") else answer[0]


@cache
def _by_name(kind: type) -> bool:
    forward = getattr(kind, "forward", None)
    return forward is not None and "position_ids" in inspect.signature(forward).parameters
