"""Losses of models of text, called as `model(input_ids, attention_mask)` or as `transformers` calls them, and of graphs, `model(nodes, adjacency, mask)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from .batch import Batch
from .calling import read_tokens


def sequence_cross_entropy(model: Callable[..., Any], batch: Batch) -> Tensor:
    """Mean softmax cross-entropy of one class a sequence: `model` gives [n, classes] for `y` [n]."""
    return F.cross_entropy(read_tokens(model, batch["input_ids"], batch["attention_mask"]), batch["y"])


def next_token_cross_entropy(model: Callable[..., Any], batch: Batch) -> Tensor:
    """Mean softmax cross-entropy of every token but the first, given those before it: `model` gives [n, length, vocabulary].

    The mean is over all tokens that are predicted, so that longer sequences count more.
    """
    ids, mask = batch["input_ids"], batch["attention_mask"]
    logits = read_tokens(model, ids, mask)[:, :-1]
    losses = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    counted = mask[:, 1:].flatten().to(losses)
    return (losses * counted).sum() / counted.sum()


def graph_cross_entropy(model: Callable[..., Any], batch: Batch) -> Tensor:
    """Mean softmax cross-entropy of one class a graph: `model` gives [n, classes] for `y` [n]."""
    return F.cross_entropy(model(batch["nodes"], batch["adjacency"], batch["mask"]), batch["y"])


def node_cross_entropy(model: Callable[..., Any], batch: Batch) -> Tensor:
    """Mean softmax cross-entropy of one class a node, over all nodes: `model` gives [n, most, classes] for `y` [n, most]."""
    mask = batch["mask"]
    logits = model(batch["nodes"], batch["adjacency"], mask)
    losses = F.cross_entropy(logits.flatten(0, 1), batch["y"].flatten(), reduction="none")
    counted = mask.flatten().to(losses)
    return (losses * counted).sum() / counted.sum()
