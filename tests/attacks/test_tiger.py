"""TIGER: embeddings that end beside the true tokens, in encoders and decoders, behind noise, and what it owes to DAGER."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import nn

from gradiometer.attacks.text import TIGER
from gradiometer.attacks.text.body import Body
from gradiometer.attacks.text.relaxed import Relaxed, descend_between
from gradiometer.attacks.text.seeing import before_and_behind
from gradiometer.core import (
    Client,
    Data,
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
from gradiometer.metrics.score_text import sentences
from gradiometer.models import bert, gpt
from gradiometer.numerics.embedding_tables import find_tables

LENGTH = 20


@pytest.fixture(scope="module")
def data() -> Data:
    return notes(LENGTH)


def observed(make: Callable[..., nn.Module], data: Data, rows: Sequence[int], classes: int | None = 2) -> Update:
    model = make(data.layout["input_ids"].classes, LENGTH, classes, width=96, depth=2, heads=4)
    layout = data.layout if classes else {name: field for name, field in data.layout.items() if name != "y"}
    loss = sequence_cross_entropy if classes else next_token_cross_entropy
    client = Client(model=model, layout=layout, loss=loss, recipe=Recipe(examples=len(rows)))
    return play(client, data.private.take(rows), rng=derive(0), threat=Threat(recipe=False, public=False))


@pytest.mark.parametrize(
    ("make", "rows", "classes"),
    [(bert, [3], 2), pytest.param(bert, [0, 5], 2, marks=pytest.mark.slow), (gpt, [3], 2), (gpt, [3], None)],
    ids=["encoder", "two sentences", "decoder", "next tokens"],
)
def test_sentences_come_back_whole_and_are_certified(
    make: Callable[..., nn.Module], rows: list[int], classes: int | None, data: Data
) -> None:
    guess = TIGER().run(observed(make, data, rows, classes), derive(1))
    assert sorted(sentences(guess)) == sorted(sentences(data.private.take(rows)))
    assert guess.notes["exact"]


def test_embeddings_end_beside_the_true_tokens_of_the_whole_vocabulary(data: Data) -> None:
    update = observed(bert, data, [3])
    (said,) = sentences(data.private.take([3]))
    seen = before_and_behind(Body(update.need("model")), update.values, tolerance=None, drifts=False)
    relaxed = Relaxed(update.need("model"), find_tables(update), seen)
    everything = torch.arange(data.layout["input_ids"].classes or 0)
    ends = descend_between(relaxed, [everything] * len(said), starts=4, steps=100, lr=0.2, rng=derive(0))
    first = torch.stack([tokens[:, 0] for tokens in ends], 1)
    assert (first == torch.tensor(said)).double().mean(1).max() >= 0.8
    true = relaxed.distances(relaxed.table[torch.tensor([said])])
    assert float(true.max()) < 1e-6 < float(relaxed.distances(relaxed.table[torch.tensor([said[::-1]])]).max())


def test_who_knows_the_noise_reads_on(data: Data) -> None:
    defense, update = GaussianNoise(std=0.01, relative=True), observed(bert, data, [3])
    sent = update.replace(values=defense.on_gradients(update.values, rng=derive(3), memory={}))
    informed = defense.informed(TIGER())
    assert isinstance(informed, TIGER)
    guess = informed.run(sent, derive(1))
    assert sentences(guess) == sentences(data.private.take([3]))
    assert guess.notes["explained"]
    assert not guess.notes["exact"]


def test_a_batch_as_large_as_the_model_is_wide_is_refused(data: Data) -> None:
    with pytest.raises(NotApplicable, match="no end of its span"):
        TIGER().run(observed(bert, data, list(range(20))), derive(0))
