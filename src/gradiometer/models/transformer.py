"""Transformers for text: causal decoders and bidirectional encoders. Attention is written out, for second derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class Conv1D(nn.Module):
    """GPT-2's linear map `x W + b`, whose weight is [inputs, outputs]: the transpose of `nn.Linear`'s."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(inputs, outputs)), nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a text transformer is made of.

    Args:
        vocabulary, context: how many tokens there are, and how many a sequence has at most.
        width, depth, heads: channels, blocks, attention heads.
        outputs: classes, or None to predict tokens.
        causal: a token sees only those before it.
        fused: GPT-2's layout: one map for queries, keys and values, and `Conv1D` for every map.
        tied: the head that predicts tokens is the token embedding.
        activation: of the perceptrons.
    """

    vocabulary: int
    context: int
    width: int
    depth: int
    heads: int
    outputs: int | None
    causal: bool
    fused: bool
    tied: bool
    activation: Callable[[], nn.Module]

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        """A linear map in this layout."""
        return Conv1D(inputs, outputs) if self.fused else nn.Linear(inputs, outputs)


class SelfAttention(nn.Module):
    """Multi-head self-attention of tokens [n, length, width]; `seen` [n, length, length] says which token sees which."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads, width = sizes.heads, sizes.width
        if sizes.fused:
            self.joint = sizes.linear(width, 3 * width)
        else:
            self.query, self.key, self.value = (sizes.linear(width, width) for _ in range(3))
        self.fused, self.out = sizes.fused, sizes.linear(width, width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        parts = self.joint(x).chunk(3, -1) if self.fused else (self.query(x), self.key(x), self.value(x))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        # A finite number: padding that sees nothing then has a mean of nothing in particular, and not NaN.
        weights = scores.masked_fill(~seen[:, None], torch.finfo(x.dtype).min).softmax(-1)
        return self.out((weights @ value).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-normalized attention and perceptron."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.width
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(width), SelfAttention(sizes), nn.LayerNorm(width)
        self.mlp = nn.Sequential(sizes.linear(width, 4 * width), sizes.activation(), sizes.linear(4 * width, width))

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), seen)
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Token and position embeddings, blocks, a last normalization, a head.

    Called as `model(input_ids, attention_mask)`. With classes, the head reads the last token of a causal model and the
    first of another; without, every token.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.causal, self.classifies = sizes.causal, sizes.outputs is not None
        self.tokens = nn.Embedding(sizes.vocabulary, sizes.width)
        self.positions = nn.Embedding(sizes.context, sizes.width)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.width)
        self.head = nn.Linear(sizes.width, sizes.outputs or sizes.vocabulary, bias=self.classifies)
        self.apply(_initialize)
        for name, weight in self.named_parameters():
            if name.endswith(("attention.out.weight", "mlp.2.weight")):
                nn.init.normal_(weight, std=0.02 * (2 * sizes.depth) ** -0.5)  # as in GPT-2
        if sizes.tied:
            self.head.weight = self.tokens.weight

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Logits [n, classes], or [n, length, vocabulary].

        Args:
            input_ids: [n, length].
            attention_mask: [n, length], 0 for padding on the right; or [n, length, length], which token sees which.
            positions: [n, length]; 0, 1, 2, ... where not given.
        """
        length = input_ids.shape[1]
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        places = torch.arange(length, device=input_ids.device) if positions is None else positions
        seen = mask.bool() if mask.ndim == 3 else mask.bool()[:, None].expand(-1, length, -1)
        if self.causal and mask.ndim == 2:
            seen = seen & torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
        x = self.tokens(input_ids) + self.positions(places)
        for block in self.blocks:
            x = block(x, seen)
        x = self.norm(x)
        if self.classifies and self.causal:
            last = mask.sum(1, keepdim=True).clamp_min(1) - 1
            x = x.gather(1, last[..., None].expand(-1, -1, x.shape[2]))[:, 0]
        elif self.classifies:
            x = x[:, 0]
        return self.head(x)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding | Conv1D):
        nn.init.normal_(module.weight, std=0.02)
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
