"""Attacks on text read models of the library `transformers` as they are (extra `text`)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gradiometer.attacks.text import DAGER, TAG, BagOfWords
from gradiometer.core import (
    Batch,
    Client,
    Loss,
    Recipe,
    Threat,
    Update,
    derive,
    next_token_cross_entropy,
    play,
    sequence_cross_entropy,
    text_layout,
)

transformers = pytest.importorskip("transformers")

WORDS, LENGTH = 1000, 16
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
GPT2 = {"vocab_size": WORDS, "n_positions": LENGTH, "n_embd": 128, "n_layer": 3, "n_head": 4, **TOKENS}
SIZES = {"vocab_size": WORDS, "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
BERT = {**SIZES, "intermediate_size": 512, "max_position_embeddings": LENGTH}
LLAMA = {**SIZES, "intermediate_size": 256, "max_position_embeddings": 64, **TOKENS}


def model(kind: str, config: str, **settings: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: nn.Module = getattr(transformers, kind)(getattr(transformers, config)(**settings)).eval()
    return made


def sentences(lengths: tuple[int, ...], classes: int | None) -> Batch:
    ids, mask = torch.zeros(2, len(lengths), LENGTH, dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, :length], mask[row, :length] = torch.randint(2, WORDS, (length,), generator=derive(row)), 1
    batch = Batch(input_ids=ids, attention_mask=mask)
    return batch if classes is None else batch.replace(y=torch.arange(len(lengths)) % classes)


def observed(victim: nn.Module, lengths: tuple[int, ...], classes: int | None) -> tuple[Update, Batch]:
    loss: Loss = next_token_cross_entropy if classes is None else sequence_cross_entropy
    private = sentences(lengths, classes)
    client = Client(
        model=victim, layout=text_layout(LENGTH, WORDS, classes), loss=loss, recipe=Recipe(examples=private.size)
    )
    return play(client, private, rng=derive(0), threat=Threat(public=False)), private


def read(batch: Any) -> set[tuple[int, ...]]:
    return {tuple(row[there.bool()].tolist()) for row, there in zip(batch["input_ids"], batch["attention_mask"])}


@pytest.mark.parametrize(
    ("kind", "config", "settings", "classes", "lengths"),
    [
        ("GPT2ForSequenceClassification", "GPT2Config", {**GPT2, "num_labels": 2}, 2, (8, 5, 10, 7)),
        ("GPT2LMHeadModel", "GPT2Config", GPT2, None, (8, 6)),
        ("BertForSequenceClassification", "BertConfig", BERT, 2, (8,)),
        ("LlamaForSequenceClassification", "LlamaConfig", {**LLAMA, "num_labels": 2}, 2, (8, 5)),
        ("LlamaForCausalLM", "LlamaConfig", LLAMA, None, (8,)),
    ],
)
def test_dager_reads_whole_batches(
    kind: str, config: str, settings: dict[str, Any], classes: int | None, lengths: tuple[int, ...]
) -> None:
    update, private = observed(model(kind, config, **settings), lengths, classes)
    guess = DAGER().run(update, derive(1))
    assert guess.notes["exact"]
    assert read(guess.tensors) == read(private)
    if classes:
        assert sorted(guess["y"].tolist()) == sorted(private["y"].tolist())


def test_matching_and_bags_take_them_too() -> None:
    update, private = observed(model("BertForSequenceClassification", "BertConfig", **BERT), (4,), 2)
    assert BagOfWords().run(update, derive(1))["bag"].tolist() == sorted(set(private["input_ids"][0, :4].tolist()))
    assert read(TAG(iterations=80).run(update, derive(1)).tensors) == read(private)
