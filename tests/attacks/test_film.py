"""FILM: whole sentences out of batches, what the words allow, and how the prior's part is told from the gradient's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from gradiometer.attacks.text import FILM
from gradiometer.attacks.text.beams import Words, changed, read, search
from gradiometer.attacks.text.likeness import Likeness
from gradiometer.core import (
    Client,
    Data,
    Guess,
    NotApplicable,
    Recipe,
    Threat,
    Update,
    derive,
    next_token_cross_entropy,
    play,
    sequence_cross_entropy,
)
from gradiometer.data import notes
from gradiometer.defenses import GaussianNoise
from gradiometer.metrics import score_text
from gradiometer.metrics.score_text import sentences
from gradiometer.models import bert, gpt
from gradiometer.numerics.embedding_tables import find_tables
from gradiometer.numerics.language import NGrams

LENGTH = 20


@pytest.fixture(scope="module")
def data() -> Data:
    return notes(LENGTH)


def observed(make: Callable[..., nn.Module], data: Data, rows: Sequence[int], classes: int | None = 2) -> Update:
    model = make(data.layout["input_ids"].classes, LENGTH, classes, width=64, depth=2, heads=4)
    layout = data.layout if classes else {name: field for name, field in data.layout.items() if name != "y"}
    loss = sequence_cross_entropy if classes else next_token_cross_entropy
    client = Client(model=model, layout=layout, loss=loss, recipe=Recipe(examples=len(rows)))
    return play(client, data.private.take(rows), rng=derive(0), threat=Threat(), public=data.public)


def words_of(update: Update) -> Words:
    return FILM()._words(update, find_tables(update), {}, derive(0))


@pytest.mark.parametrize(("make", "classes"), [(bert, 2), (gpt, 2), (gpt, None)], ids=["bert", "gpt", "next tokens"])
def test_one_sentence_comes_back_whole_and_is_certified(
    make: Callable[..., nn.Module], classes: int | None, data: Data
) -> None:
    guess = FILM().run(observed(make, data, [3], classes), derive(1))
    assert sentences(guess) == sentences(data.private.take([3]))
    assert guess.notes["exact"]
    assert guess.confidence is not None
    assert guess.confidence.tolist() == [1.0]


@pytest.mark.slow
def test_a_batch_gives_single_sentences_and_none_is_certified(data: Data) -> None:
    rows = list(range(6))
    guess = FILM(refined=2, rounds=30).run(observed(bert, data, rows), derive(1))
    best = max(one.rouge_l for one in score_text(guess, data.private.take(rows), data, rng=derive(2)))
    assert best > 0.8
    assert not guess.notes["exact"]
    assert "y" not in guess


def test_the_words_are_those_of_the_batch(data: Data) -> None:
    said = {token for one in sentences(data.private.take([0, 1, 2])) for token in one}
    assert set(words_of(observed(bert, data, [0, 1, 2])).bag) == said
    assert set(words_of(observed(gpt, data, [0, 1, 2], None)).bag) == said  # with those that are only predicted


def test_of_one_sentence_every_word_is_used_and_the_length_is_known(data: Data) -> None:
    (said,) = sentences(data.private.take([3]))
    words = words_of(observed(bert, data, [3]))
    assert words.all_used
    assert words.longest == len(said)
    assert words.end == said[-1]
    assert not words_of(observed(bert, data, [3, 4])).all_used


def test_the_search_keeps_to_the_words_and_puts_the_likeliest_first() -> None:
    language = NGrams([[0, 1, 2, 9], [0, 1, 3, 9], [0, 1, 2, 9]], vocabulary=10)
    found = search(language, Words(bag=[0, 1, 2, 9], longest=6, end=9), beams=8, penalty=2.0)
    assert found[0].tokens == (0, 1, 2, 9)
    assert all(set(one.tokens) <= {0, 1, 2, 9} and one.tokens.index(9) == len(one.tokens) - 1 for one in found)
    all_used = Words(bag=[0, 1, 9], longest=4, end=9, all_used=True)
    assert {tuple(sorted(one.tokens)) for one in search(language, all_used, beams=8, penalty=2.0)} == {
        (0, 0, 1, 9),
        (0, 1, 1, 9),
    }


def test_a_pair_that_comes_again_costs_the_penalty() -> None:
    language, words = NGrams([[0, 1, 0, 1]], vocabulary=3), Words(bag=[0, 1], longest=4)
    free, dear = (read(language, words, [(0, 1, 0, 1)], penalty)[0] for penalty in (0.0, 2.0))
    assert dear - free == pytest.approx(2.0 / 4)


def test_moves_keep_what_is_known_of_one_sentence() -> None:
    words, rng = Words(bag=[1, 2, 3, 9], longest=5, end=9, all_used=True), derive(0)
    for _ in range(50):
        moved = changed((1, 2, 3, 3, 9), words, rng)
        assert len(moved) == 5
        assert moved[-1] == 9
        assert 9 not in moved[:-1]


def test_rows_of_a_sentence_of_the_batch_are_more_alike_than_those_of_another(data: Data) -> None:
    rows = list(range(4))
    update = observed(bert, data, rows)
    likeness, (one, *_) = Likeness(update, find_tables(update), [0, 1]), sentences(data.private.take(rows))
    swapped = (*one[:2], one[3], one[2], *one[4:])
    (true, other) = likeness.sines([one, swapped])
    assert true < other < 0
    alone = Likeness(observed(bert, data, [0]), find_tables(update), [0, 1])
    assert alone.same(one)
    assert not alone.same(swapped)


def test_without_the_gradient_only_language_speaks(data: Data) -> None:
    """The control: the same search over the same words, which puts them in a likely order and not in theirs."""
    rows, brief = [3, 4], FILM(refined=1, rounds=10)

    def surprise(guess: Guess) -> float:
        return float(guess.notes["surprise"][0])

    update = observed(bert, data, rows)
    with_it, without = (replace(brief, gradient=judge).run(update, derive(1)) for judge in ("likeness", None))
    assert surprise(without) <= surprise(with_it) + 1e-9


def test_another_language_can_speak(data: Data) -> None:
    class Same:
        """All sentences are as likely as any."""

        def learned(self, update: Update) -> Same:
            return self

        def surprise(self, sentences: Sequence[Sequence[int]], *, whole: bool = True) -> Tensor:
            return torch.zeros(len(sentences), dtype=torch.float64)

    update = observed(bert, data, [3]).replace(public=None)
    guess = FILM(language=Same(), rounds=100).run(update, derive(1))  # type: ignore[arg-type]
    assert score_text(guess, data.private.take([3]), data, rng=derive(2))[0].rouge1 == 1.0


@pytest.mark.slow
def test_behind_noise_of_known_size_the_rows_still_stand_out(data: Data) -> None:
    defense, update = GaussianNoise(std=1e-3, relative=True), observed(bert, data, [3])
    sent = update.replace(values=defense.on_gradients(update.values, rng=derive(3), memory={}))
    informed = defense.informed(FILM())
    assert informed is not None
    guess = informed.run(sent, derive(1))
    assert sentences(guess) == sentences(data.private.take([3]))
    assert not guess.notes["exact"]


def test_a_frozen_embedding_is_refused(data: Data) -> None:
    update = observed(bert, data, [0])
    bare = {name: value for name, value in update.values.items() if not name.startswith("tokens")}
    with pytest.raises(NotApplicable, match="frozen"):
        FILM().run(update.replace(values=bare), derive(0))
