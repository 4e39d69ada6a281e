"""Sentences as `Data`: from memory or from a file of your own, padded to one length and dealt to the two sides of the wall."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from gradiometer.core import BadInput, Batch, Data, DataCard, Tokenizer, derive, text_layout

from .dealing import dealt, refuse_unless_dealable
from .reading import existing, reading
from .tokenizers import BytePairs, WordPieces, Words


def sentences_card(name: str, source: str) -> DataCard:
    return DataCard(name=name, source=source, license="the user's own", public=False)


jsonl_card = sentences_card(
    "jsonl", 'a file with a line {"text": ..., "label": ...} for each sentence, plain or gzipped'
)


def from_texts(
    texts: Sequence[str],
    labels: Sequence[int] | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    length: int = 32,
    names: Sequence[str] = (),
    card: DataCard = DataCard.default,
    public_share: float = 0.5,
    test_share: float = 0.2,
    limit: int | None = None,
    seed: int = 0,
) -> Data:
    """Sentences as `Data`; those that are longer than `length` tokens are left out, for a cut sentence is another one.

    Args:
        labels: a class each, from 0; None for language modeling.
        tokenizer: None takes the words of all sentences for the vocabulary.
        length: tokens that a sequence has at most, its start and end included.
        names: of the classes.
        public_share, test_share, limit, seed: as in `from_arrays`.

    Returns:
        Data with `input_ids`, `attention_mask` and, with labels, `y`.

    Raises:
        BadConfig: shares outside [0,1), or lengths and limits below 1.
        BadInput: texts and labels that do not fit each other, or no sentence short enough.
    """
    refuse_unless_dealable("sentences", public_share=public_share, test_share=test_share, length=length, limit=limit)
    if labels is not None and (len(labels) != len(texts) or min(labels, default=0) < 0):
        raise BadInput(f"there are {len(texts)} sentences and {len(labels)} labels", fix="give each one label, from 0")
    tokenizer = tokenizer or Words.of(texts)
    order = torch.randperm(len(texts), generator=derive(seed, "split")).tolist()
    encoded = [(ids, i) for i in order if 0 < len(ids := tokenizer.encode(texts[i])) <= length][:limit]
    if not encoded:
        raise BadInput(f"no sentence has at most {length} tokens", fix="raise length, or give other sentences")
    batch = padded([ids for ids, _ in encoded], length)
    classes = None
    if labels is not None:
        batch = batch.replace(y=torch.tensor([labels[i] for _, i in encoded]))
        classes = max(max(labels) + 1, len(names), 2)
    private, public, test = dealt(batch, public_share=public_share, test_share=test_share, what="sentence")
    return Data(
        private=private,
        public=public,
        test=test,
        layout=text_layout(length, tokenizer.size, classes, end=getattr(tokenizer, "end", None)),
        card=card,
        names=tuple(names),
        tokenizer=tokenizer,
    )


def padded(sequences: Sequence[Sequence[int]], length: int) -> Batch:
    """`input_ids` and `attention_mask` [n, length], filled up on the right with token 0 and mask 0."""
    ids, mask = torch.zeros(2, len(sequences), length, dtype=torch.long)
    for row, tokens in enumerate(sequences):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = torch.tensor(tokens), 1
    return Batch(input_ids=ids, attention_mask=mask)


def jsonl(
    path: str | Path,
    vocabulary: str | None = None,
    merges: str | None = None,
    *,
    length: int = 32,
    labeled: bool = True,
    public_share: float = 0.5,
    test_share: float = 0.2,
    limit: int | None = None,
    seed: int = 0,
) -> Data:
    """Sentences of your own, a JSON object a line with `text` and `label`.

    Args:
        path: the file, plain or gzipped.
        vocabulary: BERT's `vocab.txt`, or with `merges` GPT-2's `encoder.json`; None takes the words of the file.
        merges: GPT-2's `merges.txt`.
        length: tokens that a sequence has at most; longer sentences are left out.
        labeled: False reads no labels: language modeling.
        public_share, test_share, limit, seed: as in `from_texts`.

    Raises:
        BadInput: no such file, or a line of another form.
    """
    tokenizer: Tokenizer | None = None
    if vocabulary is not None:
        tokenizer = WordPieces.load(vocabulary) if merges is None else BytePairs.load(vocabulary, merges)
    texts, labels = read_jsonl(path)
    return from_texts(
        texts,
        labels if labeled else None,
        tokenizer=tokenizer,
        length=length,
        card=jsonl_card,
        public_share=public_share,
        test_share=test_share,
        limit=limit,
        seed=seed,
    )


def read_jsonl(path: str | Path, splits: Sequence[str] = ()) -> tuple[list[str], list[int]]:
    """Texts and labels of a file; a line without a label has label 0.

    Args:
        splits: keep lines whose `split` is one of these; empty keeps all.

    Raises:
        BadInput: no such file, or a line of another form.
    """
    path = existing(path)
    texts, labels = list[str](), list[int]()
    with (
        reading(path, "lines of JSON"),
        (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines,
    ):
        for number, line in enumerate(lines, 1):
            row = json.loads(line)
            text, label = row["text"], row.get("label", 0)
            if not isinstance(text, str) or type(label) is not int or label < 0:
                raise BadInput(
                    f"line {number} has no text, or a label that does not count from 0", fix="correct the line"
                )
            if not splits or row.get("split") in splits:
                texts.append(text)
                labels.append(label)
    return texts, labels
