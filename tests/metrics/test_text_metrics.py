"""ROUGE by hand-computed examples, and how guessed sentences meet true ones."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from gradiometer.core import BadInput, Batch, Data, Guess, Unsupported, derive
from gradiometer.data import notes
from gradiometer.metrics import (
    blind_sentences,
    in_common,
    rouge_l,
    rouge_n,
    score_text,
    score_words,
    token_accuracy,
)


def test_rouge_by_hand() -> None:
    # Lin, 2004, section 3.1: S1 the reference, S2 and S3 the candidates; ROUGE-L 3/4 and 2/4, and ROUGE-2 equal.
    reference, second, third = (
        text.split() for text in ("police killed the gunman", "police kill the gunman", "the gunman kill police")
    )
    assert rouge_l(second, reference) == 0.75
    assert rouge_l(third, reference) == 0.5
    assert rouge_n(second, reference, 2) == pytest.approx(1 / 3)
    assert rouge_n(third, reference, 2) == pytest.approx(1 / 3)
    # P = 3/5, R = 3/3 for words; "the the" is shared once.
    assert rouge_n(["the", "the", "the", "cat", "sat"], ["the", "cat", "sat"], 1) == pytest.approx(2 * 0.6 / 1.6)
    assert rouge_n(["a", "b", "c", "d"], ["a", "b", "c"], 2) == pytest.approx(2 * (2 / 3) / (5 / 3))
    assert rouge_n([1], [1], 2) == 1
    assert rouge_n([1], [2], 2) == 0
    assert rouge_l([], []) == 1
    assert rouge_l([], [1]) == 0


def test_rouge_l_is_symmetric_and_finds_the_longest_subsequence() -> None:
    one, other = list("abcbdab"), list("bdcaba")
    assert rouge_l(one, other) == rouge_l(other, one) == pytest.approx(2 * 4 / 13)


def test_what_is_in_common_is_a_longest_subsequence() -> None:
    one, other = list("abcbdab"), list("bdcaba")
    marks = in_common(one, other)
    kept, rest = [letter for letter, mark in zip(one, marks) if mark], iter(other)
    assert sum(marks) == 4
    assert all(letter in rest for letter in kept)
    assert in_common(["a", "b"], ["b"]) == [False, True]
    assert in_common([], ["b"]) == []


def test_token_accuracy_counts_missing_places() -> None:
    assert token_accuracy([1, 2, 3], [1, 9, 3, 4]) == 0.5
    assert token_accuracy([], []) == 1


@pytest.fixture(scope="module")
def data() -> Data:
    return notes()


def guess_of(batch: Batch) -> Guess:
    return Guess(tensors={name: batch[name] for name in ("input_ids", "attention_mask")})


def test_sentences_in_another_order_are_matched(data: Data) -> None:
    truth = data.private.take(slice(0, 5))
    scores = score_text(guess_of(truth.take([3, 1, 0, 4, 2])), truth, data, rng=derive(0))
    assert [score.guess for score in scores] == [2, 1, 4, 0, 3]
    assert all(score.exact and score.rouge2 == score.rouge_l == score.accuracy == 1 for score in scores)
    assert all(0 < score.gain < 1 for score in scores)


def test_no_guess_counts_twice_and_no_more_than_there_are(data: Data) -> None:
    truth = data.private.take(slice(0, 2))
    scores = score_text(guess_of(truth.take([0])), truth, data, rng=derive(0))
    assert [score.matched for score in scores] == [True, False]
    assert scores[1].rouge1 == 0
    many = guess_of(data.private.take([7, 8, 0, 1]))
    assert not any(score.exact for score in score_text(many, truth, data, rng=derive(0)))
    sure = Guess(tensors=many.tensors, confidence=torch.tensor([0.1, 0.1, 0.9, 0.8]))
    assert all(score.exact for score in score_text(sure, truth, data, rng=derive(0)))


def test_what_is_no_sentence_is_refused(data: Data, digits_data: Data) -> None:
    truth = data.private.take([0])
    with pytest.raises(BadInput, match="shape"):
        score_text(Guess(tensors={"input_ids": torch.zeros(3)}), truth, data, rng=derive(0))
    with pytest.raises(BadInput, match="outside"):
        score_text(Guess(tensors={"input_ids": torch.full((1, 20), 10**6)}), truth, data, rng=derive(0))
    with pytest.raises(Unsupported):
        score_text(Guess(tensors={}), digits_data.private, digits_data, rng=derive(0))


def test_blind_sentences_come_from_public_data_only(data: Data) -> None:
    assert data.public is not None
    blind = blind_sentences(3, data, rng=derive(0))
    public = {
        tuple(row[mask.bool()].tolist()) for row, mask in zip(data.public["input_ids"], data.public["attention_mask"])
    }
    assert set(blind["random_public"]) <= public
    assert len(set(blind["common"])) == 1
    alone = Data(private=data.private, layout=data.layout)
    assert blind_sentences(2, alone, rng=derive(0)) == {"nothing": [(), ()]}


def test_a_sentence_is_identified_among_others_and_noise_is_a_baseline(data: Data) -> None:
    truth = data.private.take(slice(0, 3))
    right = score_text(guess_of(truth), truth, data, rng=derive(0), candidates=50)
    assert all(score.identified and score.rank == 1 and score.candidates == 50 for score in right)
    wrong = score_text(guess_of(data.private.take([7, 8, 9])), truth, data, rng=derive(0), candidates=50)
    assert not any(score.identified for score in wrong)
    same = score_text(guess_of(truth), truth, data, rng=derive(0), noise_guess=guess_of(truth))
    assert all(score.gain == 0 and score.blind_name == "noise" and score.noise_rouge_l == 1 for score in same)


def test_the_likeliest_sentence_is_a_chain_of_public_neighbors(data: Data) -> None:
    assert data.public is not None
    likely = blind_sentences(2, data, rng=derive(0))["likely"]
    assert likely[0] == likely[1]
    pairs = {pair for row in data.public["input_ids"].tolist() for pair in pairwise(row)}
    assert all(pair in pairs for pair in pairwise(likely[0]))


def test_words_are_scored_against_the_commonest(data: Data) -> None:
    truth = data.private.take(slice(0, 4))
    said = truth["input_ids"][truth["attention_mask"].bool()].unique()
    right = score_words(Guess(tensors={"bag": said}), truth, data, rng=derive(0))
    assert (right.overlap, right.exact) == (1.0, True)
    assert 0 < right.blind < 1
    half = score_words(Guess(tensors={"bag": said[::2]}), truth, data, rng=derive(0))
    assert half.overlap == pytest.approx(len(said[::2]) / len(said))
    assert not half.exact
