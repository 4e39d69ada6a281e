"""Sentences: tokenizers against published encodings, and what is dealt to whom."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
import torch

from gradiometer.core import BadConfig, BadInput, Client, derive, sequence_cross_entropy, text_layout
from gradiometer.data import BytePairs, WordPieces, Words, from_texts, jsonl, notes
from gradiometer.models import gpt

SHARED = os.environ.get("GRADIOMETER_DATA")


def test_words_begin_and_end_and_come_back() -> None:
    words = Words.of(["The cat sat.", "the dog"])
    ids = words.encode("The dog sat on.")
    assert words.words[:4] == ("[UNK]", "[CLS]", "[SEP]", "the")
    assert ids[0] == 1
    assert ids[-1] == words.end == 2
    assert words.decode(ids) == "the dog sat [UNK] ."


def test_byte_pairs_join_the_earliest_merge_first(tmp_path: Path) -> None:
    pieces = ["a", "b", "c", "Ġ", "ab", "bc", "abc", "Ġab", "Ã", "¤"]
    (tmp_path / "encoder.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nb c\na b\na bc\nĠ ab\n")
    pairs = BytePairs.load(tmp_path / "encoder.json", tmp_path / "merges.txt")
    assert [pieces[i] for i in pairs.encode("abc ab ä")] == ["abc", "Ġab", "Ġ", "Ã", "¤"]
    assert pairs.decode(pairs.encode("abc ab ä")) == "abc ab ä"


def test_word_pieces_take_the_longest_piece(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(["[UNK]", "[CLS]", "[SEP]", "play", "##ing", "##ed", "cafe", ","]))
    pieces = WordPieces.load(tmp_path / "vocab.txt")
    assert pieces.encode("Playing, café xyz") == [1, 3, 4, 7, 6, 0, 2]
    assert pieces.decode([1, 3, 4, 7, 6, 2]) == "playing , cafe"
    (tmp_path / "short.txt").write_text("a\nb")
    with pytest.raises(BadInput, match=r"\[CLS\]"):
        WordPieces.load(tmp_path / "short.txt")


@pytest.mark.skipif(not SHARED, reason="needs GRADIOMETER_DATA")
def test_published_vocabularies_give_the_published_encodings() -> None:
    folder = Path(SHARED or "") / "text"
    pairs = BytePairs.load(folder / "gpt2_encoder.json", folder / "gpt2_merges.txt")
    assert pairs.encode("Hello, my dog is cute") == [15496, 11, 616, 3290, 318, 13779]
    for text in ("it's   über-nice 123\n", "naïve — 東京", " x_y"):
        assert pairs.decode(pairs.encode(text)) == text
    pieces = WordPieces.load(folder / "bert_base_uncased_vocab.txt")
    assert pieces.encode("Hello, my dog is cute") == [101, 7592, 1010, 2026, 3899, 2003, 10140, 102]


def test_notes_are_dealt_without_overlap_and_fit_their_layout() -> None:
    data = notes()
    assert data.public is not None
    assert data.test is not None
    assert data.private.size + data.public.size + data.test.size == 384
    rows = [{tuple(row) for row in part["input_ids"].tolist()} for part in (data.private, data.public, data.test)]
    assert not rows[0] & rows[1]
    assert not rows[0] & rows[2]
    ids, mask = data.private["input_ids"], data.private["attention_mask"]
    assert bool((mask.diff(dim=1) <= 0).all())
    assert bool((ids[mask == 0] == 0).all())
    assert data.tokenizer is not None
    assert data.tokenizer.size == data.layout["input_ids"].classes
    assert notes().private["input_ids"].equal(ids)


def test_long_sentences_are_left_out_and_never_cut() -> None:
    data = from_texts(["a b c d e f", "a b", "c d"], [0, 1, 1], length=4, public_share=0.0, test_share=0.0)
    assert data.private.size == 2
    with pytest.raises(BadInput, match="at most 3 tokens"):
        from_texts(["a b"], [0], length=3)
    with pytest.raises(BadConfig, match="public_share"):
        from_texts(["a"], [0], public_share=1.0)
    with pytest.raises(BadInput, match="2 sentences and 1 labels"):
        from_texts(["a", "b"], [0])


def test_jsonl_reads_labels_or_leaves_them(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"text": f"word{i} again", "label": i % 2}) for i in range(10))
    path = tmp_path / "own.jsonl.gz"
    path.write_bytes(gzip.compress(lines.encode()))
    assert "y" in jsonl(path).private
    assert "y" not in jsonl(path, labeled=False).layout
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "a", "label": 0}\n{"label": 1}')
    with pytest.raises(BadInput, match=r"bad\.jsonl"):
        jsonl(path)


def test_tokens_outside_the_vocabulary_are_refused() -> None:
    data = notes()
    client = Client(model=gpt(50, 20, 2, width=16, depth=1), layout=text_layout(20, 50, 2), loss=sequence_cross_entropy)
    with pytest.raises(BadInput, match="tokens outside"):
        client.train(data.private.replace(input_ids=data.private["input_ids"] + 40), rng=derive(0))
    assert isinstance(data.private["input_ids"], torch.Tensor)
