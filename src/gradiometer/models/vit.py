"""A small vision transformer. Attention is written out: torch's fused kernels have no second derivative."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gradiometer.core import BadConfig, Card

from .building import check_shape, choose, seeded

vit_card = Card(
    summary="Patches, a learned position embedding, pre-normalized attention blocks and a linear head.",
    title="An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
    authors="Dosovitskiy et al.",
    year=2021,
    arxiv="2010.11929",
    modality="image",
    family="attention",
    departs="small (0.2 million parameters), and patches of 4 pixels, for pictures of 8 to 64 pixels",
)


class Attention(nn.Module):
    """Multi-head self-attention `softmax(q k' / sqrt(d)) v`; tokens [n, tokens, width] in and out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        def split(tokens: Tensor) -> Tensor:
            return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        query, key, value = split(self.query(x)), split(self.key(x)), split(self.value(x))
        weights = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
        return self.out((weights @ value).transpose(1, 2).flatten(2))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Patch embedding, position embedding, blocks, head."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        *,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        expansion: int,
        pool: Literal["class", "mean"],
    ) -> None:
        super().__init__()
        tokens = (shape[1] // patch) * (shape[2] // patch) + (pool == "class")
        self.embed = nn.Conv2d(shape[0], width, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width)) if pool == "class" else None
        self.position = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, tokens, width), std=0.02))
        self.blocks = nn.Sequential(*(_Block(width, heads, expansion) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        if self.token is not None:
            tokens = torch.cat([self.token.expand(tokens.size(0), -1, -1), tokens], 1)
        tokens = self.norm(self.blocks(tokens + self.position))
        return self.head(tokens.mean(1) if self.token is None else tokens[:, 0])


def vit(
    shape: tuple[int, int, int],
    classes: int,
    *,
    patch: int = 4,
    width: int = 64,
    depth: int = 4,
    heads: int = 4,
    expansion: int = 4,
    pool: Literal["class", "mean"] = "class",
    seed: int = 0,
) -> ViT:
    """A vision transformer with a learned position embedding (whose gradient alone can give the picture away).

    Args:
        patch: side of a patch in pixels; must divide both sides of the picture.
        width, depth, heads: channels, blocks, attention heads; `heads` must divide `width`.
        expansion: hidden width of the two-layer perceptrons, in multiples of `width`.
        pool: the head reads a `class` token, or the `mean` of all patches.

    Raises:
        BadConfig: sizes that do not divide, or an unknown `pool`.

    References:
        Dosovitskiy et al., An Image is Worth 16x16 Words, 2021, arXiv:2010.11929.
    """
    check_shape("vit", shape, classes, smallest=patch)
    choose("pool", pool, dict.fromkeys(("class", "mean")))
    problems = []
    if shape[1] % patch or shape[2] % patch:
        problems.append(f"patches of {patch} pixels do not tile pictures of {shape[1]} x {shape[2]}")
    if width % heads:
        problems.append(f"{heads} heads do not divide width {width}")
    if problems:
        raise BadConfig("the vit cannot be built", problems=problems)
    with seeded(seed):
        return ViT(shape, classes, patch=patch, width=width, depth=depth, heads=heads, expansion=expansion, pool=pool)
