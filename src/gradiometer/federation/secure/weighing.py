"""Means weighted by numbers of examples, out of a plain sum: the weight travels as one more masked entry.

    sent: (n_k / most) (x_k, clip)      read off the sum (X, W):  sum_k n_k x_k / sum_k n_k = clip X / W

So the server learns the total number of examples, and nobody's own. The step of the mean is that of the sum over the sum of
n_k / most: keep `most` near the largest client.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradiometer.core import BadInput


def weigh(vector: Tensor, count: int, *, most: int, clip: float) -> Tensor:
    """What a client with `count` examples puts in: [length + 1].

    Args:
        vector: [length]; entries beyond `clip` are clipped before they are weighted.
        count, most: 1 <= count <= most, the same `most` for all clients.

    Raises:
        BadInput: a count out of range, which would weigh more than it may.
    """
    if not 1 <= count <= most:
        raise BadInput(f"{count} examples, where 1 to {most} were agreed on", fix="raise `most` for all clients")
    share = count / most
    return torch.cat([vector.clamp(-clip, clip), vector.new_tensor([clip])]).double() * share


def weighted_mean(total: Tensor, *, clip: float) -> Tensor:
    """The mean [length] behind a sum [length + 1] of such vectors."""
    return total[:-1] * (clip / total[-1])
