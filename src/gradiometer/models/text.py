"""Victims that read text: `gpt` (causal) and `bert` (bidirectional) of any size, `gpt2` in its published one."""

from __future__ import annotations

from torch import nn

from gradiometer.core import BadConfig, Card

from .building import seeded
from .transformer import Sizes, Transformer

gpt_card = Card(
    summary="A causal transformer: token and position embeddings, pre-normalized blocks, a head for classes or tokens.",
    title="Language Models are Unsupervised Multitask Learners",
    authors="Radford, Wu, Child, Luan, Amodei, Sutskever",
    year=2019,
    modality="text",
    family="attention",
    departs="small (3 blocks of width 256); queries, keys and values are maps of their own unless `fused`",
)
gpt2_card = Card(
    summary="GPT-2 small: 12 blocks of width 768, fused Conv1D maps, 50257 tokens, 124 million parameters.",
    title=gpt_card.title,
    authors=gpt_card.authors,
    year=2019,
    modality="text",
    family="attention",
    departs="random weights; no dropout",
)
bert_card = Card(
    summary="A bidirectional transformer whose first token is classified.",
    title="BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
    authors="Devlin, Chang, Lee, Toutanova",
    year=2019,
    arxiv="1810.04805",
    modality="text",
    family="attention",
    departs="small (3 blocks of width 256); normalizes before each part instead of after; one segment; no dropout",
)


def gpt(
    vocabulary: int,
    length: int,
    classes: int | None = None,
    *,
    width: int = 256,
    depth: int = 3,
    heads: int = 4,
    fused: bool = False,
    tied: bool = False,
    seed: int = 0,
) -> Transformer:
    """A causal transformer, as GPT-2 is built, with weights drawn as GPT-2's are.

    Args:
        vocabulary, length: how many tokens there are, and how many a sequence has at most.
        classes: of a sequence, read off its last token; None predicts the next token everywhere.
        width, depth, heads: channels, blocks, attention heads; `heads` must divide `width`.
        fused: GPT-2's own layout, one `Conv1D` for queries, keys and values.
        tied: the next token is predicted with the token embedding.

    Raises:
        BadConfig: sizes that do not fit together.

    References:
        Radford, Wu, Child, Luan, Amodei, Sutskever, Language Models are Unsupervised Multitask Learners, 2019.
    """
    return _build(vocabulary, length, classes, width, depth, heads, causal=True, fused=fused, tied=tied, seed=seed)


def gpt2(vocabulary: int = 50257, length: int = 1024, classes: int | None = None, *, seed: int = 0) -> Transformer:
    """GPT-2 small with random weights: 124 million parameters, the head tied to the embedding unless it names classes.

    Args:
        vocabulary, length, classes: as in `gpt`.
    """
    length = max(length, 1024)
    return gpt(vocabulary, length, classes, width=768, depth=12, heads=12, fused=True, tied=classes is None, seed=seed)


def bert(
    vocabulary: int,
    length: int,
    classes: int = 2,
    *,
    width: int = 256,
    depth: int = 3,
    heads: int = 4,
    seed: int = 0,
) -> Transformer:
    """A bidirectional transformer that classifies a sequence by its first token.

    Args:
        vocabulary, length, classes, width, depth, heads: as in `gpt`.

    Raises:
        BadConfig: sizes that do not fit together.

    References:
        Devlin, Chang, Lee, Toutanova, BERT: Pre-training of Deep Bidirectional Transformers, 2019, arXiv:1810.04805.
    """
    return _build(vocabulary, length, classes, width, depth, heads, causal=False, fused=False, tied=False, seed=seed)


def _build(
    vocabulary: int,
    length: int,
    classes: int | None,
    width: int,
    depth: int,
    heads: int,
    *,
    causal: bool,
    fused: bool,
    tied: bool,
    seed: int,
) -> Transformer:
    least = {"vocabulary": (vocabulary, 2), "length": (length, 1), "width": (width, 1), "depth": (depth, 1)}
    problems = [f"{name} must be at least {low}, got {value}" for name, (value, low) in least.items() if value < low]
    if classes is not None and classes < 2:
        problems.append(f"there must be at least 2 classes, got {classes}")
    if heads < 1 or width % max(heads, 1):
        problems.append(f"{heads} heads do not divide width {width}")
    if tied and classes is not None:
        problems.append("only a head that predicts tokens can be tied to their embedding")
    if problems:
        raise BadConfig("the transformer cannot be built", problems=problems)
    sizes = Sizes(
        vocabulary=vocabulary,
        context=length,
        width=width,
        depth=depth,
        heads=heads,
        outputs=classes,
        causal=causal,
        fused=fused,
        tied=tied,
        activation=_tanh_gelu if causal else nn.GELU,
    )
    with seeded(seed):
        return Transformer(sizes)


def _tanh_gelu() -> nn.Module:
    return nn.GELU(approximate="tanh")
