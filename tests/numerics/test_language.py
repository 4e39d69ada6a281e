"""Language priors: Kneser-Ney against values worked out by hand, the small Llama against its own prefixes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gradiometer.core import BadConfig, BadInput, MissingKnowledge, Threat, Update, derive, play
from gradiometer.data import Words
from gradiometer.numerics.language import KneserNey, Language, LanguagePrior, NGrams, TinyStories
from gradiometer.numerics.language.kneser_ney import START, STOP

SAID = [[0, 1, 2], [0, 1, 3], [0, 1, 2], [4, 1, 2]]


def probability(model: NGrams, *gram: int) -> float:
    return float((-(model.surprise([gram], whole=False) - model.surprise([gram[:-1]], whole=False))).exp())


def test_kneser_ney_by_hand() -> None:
    model = NGrams(SAID, vocabulary=5, order=2)
    # Bigrams: (start, 0) 3, (start, 4) 1, (0, 1) 3, (1, 2) 3, (1, 3) 1, (2, stop) 3, (3, stop) 1, (4, 1) 1: four once, none twice: D = 1.
    # Different tokens before each: 0: 1, 1: 2, 2: 1, 3: 1, 4: 1, stop: 2, of 8; four once, two twice: D = 4 / 8.
    one = (2 - 0.5) / 8 + 0.5 * 6 / 8 * (1 / 6)
    assert probability(model, 0, 1) == pytest.approx((3 - 1) / 3 + 1 * 1 / 3 * one)
    unseen = (1 - 0.5) / 8 + 0.5 * 6 / 8 * (1 / 6)
    assert probability(model, 0, 4) == pytest.approx(1 / 3 * unseen)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_sum_to_one_behind_any_context(order: int) -> None:
    model = NGrams(SAID, vocabulary=7, order=order)
    for context in ((), (0,), (0, 1), (6, 5), (1, 2)):
        marked = (*[START] * order, *context)[len(context) + 1 :]
        total = sum(model._probability((*marked, token)) for token in [*range(7), STOP])
        assert total == pytest.approx(1)


def test_what_was_said_surprises_less_than_another_order() -> None:
    model = NGrams(SAID, vocabulary=5)
    said, turned = model.surprise([[0, 1, 2], [2, 0, 1]]).tolist()
    assert said < turned
    with pytest.raises(BadConfig, match="order 0"):
        KneserNey(order=0)


def test_n_grams_need_public_sentences() -> None:
    from gradiometer.core import Client, sequence_cross_entropy
    from gradiometer.data import notes
    from gradiometer.models import gpt

    data = notes()
    model = gpt(data.layout["input_ids"].classes or 0, 20, 2, width=16, depth=1, heads=2)
    client = Client(model=model, layout=data.layout, loss=sequence_cross_entropy)
    update = play(client, data.private.take([0]), rng=derive(0), threat=Threat(), public=data.public)
    learned = KneserNey().learned(update)
    assert isinstance(KneserNey(), LanguagePrior)
    assert isinstance(learned, Language)
    with pytest.raises(MissingKnowledge, match="public"):
        KneserNey().learned(update.replace(public=None))


PIECES = ["<unk>", "\n<s>\n", "\n</s>\n", *(f"<0x{i:02X}>" for i in range(256)), *" abcd", " a", "ab", " ab", "cd"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng, d = np.random.default_rng(0), 8
    sizes = {"wq": (2, d, d), "wk": (2, d // 2, d), "wv": (2, d // 2, d), "wo": (2, d, d)}
    sizes |= {"w1": (2, 12, d), "w2": (2, d, 12), "w3": (2, 12, d), "tok_embeddings": (len(PIECES), d)}
    sizes |= {"attention_norm": (2, d), "ffn_norm": (2, d), "norm": (d,)}
    arrays = {name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    angle = np.arange(64)[:, None] / np.array([1.0])
    arrays |= {"freq_cos": np.cos(angle).astype(np.float32), "freq_sin": np.sin(angle).astype(np.float32)}
    arrays["config"] = np.array([d, 12, 2, 4, 2, len(PIECES), 64], dtype=np.int32)
    np.savez(tmp_path / "tinystories_llama260k.npz", **arrays)
    scores = [-float(i) for i in range(len(PIECES))]
    (tmp_path / "tinystories_tok512.json").write_text(json.dumps({"pieces": PIECES, "scores": scores}))
    return tmp_path


def nothing() -> Update:
    return Update(values={}, layout={})


def test_the_llama_reads_from_left_to_right(folder: Path) -> None:
    words = Words(words=("[UNK]", "[CLS]", "[SEP]", "ab", "cd", "d"))
    model = TinyStories(tokenizer=words, folder=str(folder)).learned(nothing())
    sentence = [1, 3, 4, 5, 2]
    begun, whole = (float(model.surprise([sentence], whole=end)) for end in (False, True))
    assert begun < whole
    # "-log p" of a text is the sum of what its tokens add, each read behind those before it alone.
    ids = model._pieces.encode("ab cd d")
    assert [PIECES[i] for i in ids[:1]] == [" ab"]
    parts = [torch.tensor([[1, *ids[: i + 1], 2]]) for i in range(len(ids))]
    steps = [float(model._read(part, whole=False)) for part in parts]
    logits = [model._logits(part[:, :-2]).log_softmax(-1)[0, -1] for part in parts]
    added = [-float(row[i]) for row, i in zip(logits, ids)]
    assert steps[-1] == pytest.approx(sum(added), rel=1e-4)
    assert begun == pytest.approx(steps[-1], rel=1e-6)


def test_files_of_another_form_are_refused(folder: Path) -> None:
    words = Words(words=("[UNK]", "[CLS]", "[SEP]"))
    (folder / "tinystories_tok512.json").write_text("[]")
    with pytest.raises(BadInput, match="published form"):
        TinyStories(tokenizer=words, folder=str(folder)).learned(nothing())
    (folder / "tinystories_tok512.json").unlink()
    with pytest.raises(BadInput, match="not there"):
        TinyStories(tokenizer=words, folder=str(folder)).learned(nothing())
