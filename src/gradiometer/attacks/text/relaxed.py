"""Sentences as points between tokens: embeddings that move until what they cause lies in the spans of a transformer's gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradiometer.core import clone_model, read_tokens
from gradiometer.numerics.embedding_tables import Tables, embedded

from .seeing import TINY, Seen


class _Enough(Exception):
    """The last input that is looked at has been seen."""


class Relaxed:
    """A model that is asked, for embeddings instead of tokens, how far the inputs of its maps are from their spans.

    Args:
        model: of text. seen: in the order in which their maps run.
    """

    def __init__(self, model: nn.Module, tables: Tables, seen: Sequence[Seen]) -> None:
        self._model = embedded(clone_model(model).eval().float(), tables.tokens).requires_grad_(False)
        self.table = model.get_parameter(f"{tables.tokens}.weight").detach().float()
        self._seen, self._right = list(seen), [one.span.right.float() for one in seen]
        self._blur = [None if one.blur is None else one.blur.float() for one in seen]

    def distances(self, embeddings: Tensor) -> Tensor:
        """Squared sine of the angle of every token [n, length] to the spans, the mean over maps."""
        inputs = self._inputs(embeddings)
        return torch.stack([self._apart(i, x) for i, x in enumerate(inputs)]).mean(0)

    def _apart(self, i: int, x: Tensor) -> Tensor:
        unit = x / x.norm(dim=-1, keepdim=True)
        along = unit @ self._right[i].T
        outside = (1 - along.square().sum(-1)).clamp_min(TINY)
        blur = self._blur[i]
        return outside if blur is None else outside / (outside.detach() + along.detach().square() @ blur)

    def _inputs(self, embeddings: Tensor) -> list[Tensor]:
        found: dict[int, Tensor] = {}

        def look(i: int, x: Tensor) -> None:
            found[i] = x
            if len(found) == len(self._seen):
                raise _Enough

        handles = [
            self._model.get_submodule(one.reader.name).register_forward_pre_hook(
                lambda _, inputs, i=i: look(i, inputs[0])
            )
            for i, one in enumerate(self._seen)
        ]
        try:
            read_tokens(self._model, embeddings, torch.ones(embeddings.shape[:2], dtype=torch.long))
        except _Enough:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return [found[i] for i in range(len(self._seen))]


def descend_between(
    relaxed: Relaxed,
    slots: Sequence[Tensor],
    *,
    starts: int,
    steps: int,
    lr: float,
    rng: torch.Generator,
    often: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """The candidates of every place, the nearest to where the embeddings end first, for each start: [starts, k] a place.

    Args:
        slots: the tokens that each place can have. lr: step of Adam, in units of the table's root mean square, falling to zero.
        often: how often to begin at each of these tokens; None: anywhere.
    """
    unit = relaxed.table.square().mean().sqrt()
    width = relaxed.table.shape[1]
    z = torch.randn(starts, len(slots), width, generator=rng)
    if often is not None:
        drawn = [
            tokens[torch.multinomial(one, starts, replacement=True, generator=rng)] for tokens, one in zip(slots, often)
        ]
        z = relaxed.table[torch.stack(drawn, 1)] / unit
    z.requires_grad_()
    fixed = {place: relaxed.table[tokens[0]] for place, tokens in enumerate(slots) if len(tokens) == 1}
    if len(fixed) == len(slots):
        return [tokens.expand(1, 1) for tokens in slots]
    adam = torch.optim.Adam([z], lr=lr)
    for step in range(steps):
        adam.param_groups[0]["lr"] = lr * (1 - step / steps)
        e = _held(z * unit, fixed)
        loss = relaxed.distances(e).sqrt().mean(1).sum()
        (z.grad,) = torch.autograd.grad(loss, z)
        adam.step()
    e = _held(z.detach() * unit, fixed)
    found = []
    for place, tokens in enumerate(slots):
        rows = relaxed.table[tokens]
        found.append(tokens[torch.cdist(e[:, place], rows).argsort(1)])
    return found


def _held(e: Tensor, fixed: dict[int, Tensor]) -> Tensor:
    """The embeddings with those of known tokens in their places."""
    return torch.stack([fixed[p].expand(len(e), -1) if p in fixed else e[:, p] for p in range(e.shape[1])], 1)
