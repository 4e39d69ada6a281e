"""Sketch: a long vector as a short one that keeps inner products, by hashing its entries into buckets with random signs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import Values


@dataclass(frozen=True, kw_only=True, eq=False)
class CountSketch:
    """s_b = sum over entries i hashed to b of sign_i v_i: E<s(u), s(v)> = <u, v>.

    Args:
        bucket: [entries], in [0, length); sign: [entries], 1 or -1.
        length: of the sketch; a vector that is no longer than it is kept as it is.

    References:
        Charikar, Chen, Farach-Colton, "Finding Frequent Items in Data Streams", 2002.
        Weinberger, Dasgupta, Langford, Smola, Attenberg, "Feature Hashing for Large Scale Multitask Learning", 2009,
        arXiv:0902.2206.
    """

    bucket: Tensor
    sign: Tensor
    length: int

    @staticmethod
    def draw(entries: int, length: int, rng: torch.Generator) -> CountSketch:
        """A sketch of vectors with so many entries."""
        bucket = torch.randint(length, (entries,), generator=rng)
        sign = 2.0 * torch.randint(2, (entries,), generator=rng) - 1
        return CountSketch(bucket=bucket, sign=sign, length=length)

    def __call__(self, vector: Tensor) -> Tensor:
        """[entries] to [min(entries, length)]."""
        if vector.numel() <= self.length:
            return vector
        return vector.new_zeros(self.length).index_add_(0, self.bucket, self.sign.to(vector) * vector)


def unit_tensors(values: Values) -> Tensor:
    """All entries in one vector, every tensor brought to length 1, so that layers with small gradients count too."""
    return torch.cat([v.flatten() / v.norm().clamp_min(torch.finfo(v.dtype).tiny) for v in values.values()])
