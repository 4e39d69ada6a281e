"""What label attacks see of an update: the head's gradient, in double precision, and how many examples made it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import NotApplicable, Update
from gradiometer.numerics.heads import Head, find_head


@dataclass(frozen=True, kw_only=True)
class HeadView:
    """Gradient of the head: `weight` [classes, features] and `bias` [classes] or None; `size` examples behind it."""

    head: Head
    weight: Tensor
    bias: Tensor | None
    size: int

    @property
    def classes(self) -> int:
        return self.weight.shape[0]


def view_head(update: Update) -> HeadView:
    """The head's mean gradient.

    A batch of unknown size is known to hold one example if the weight gradient has rank one.

    Raises:
        NotApplicable: no integer label in the layout, or no linear head.
        MissingKnowledge: the batch size, or the recipe of a weight delta.
    """
    spec = update.layout.get("y")
    if spec is None or spec.kind != "class" or not spec.classes:
        raise NotApplicable(
            "label attacks need a layout with a class label `y`", fix="choose an attack for this kind of data"
        )
    head = find_head(update.model, update.values, spec.classes)
    single = update.batch_size == 1 or (update.batch_size is None and _rank_one(update.values[head.weight]))
    if single and update.sends == "delta" and not update.knows("recipe"):
        gradient = {name: -value for name, value in update.values.items()}  # one label is a matter of signs
    else:
        gradient = update.as_gradient()
    share = max(update.clients, 1)
    return HeadView(
        head=head,
        weight=gradient[head.weight].double() / share,
        bias=None if head.bias is None else gradient[head.bias].double() / share,
        size=1 if single else update.need("batch_size"),
    )


def _rank_one(matrix: Tensor) -> bool:
    spectrum = torch.linalg.svdvals(matrix.double())
    return bool(spectrum[1] < 1e-5 * spectrum[0]) if len(spectrum) > 1 else True
