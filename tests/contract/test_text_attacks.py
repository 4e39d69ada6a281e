"""What every exported text attack goes through: one row of test-sized settings each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from gradiometer.attacks import text
from gradiometer.attacks.text import DAGER, FILM, LAMP, TAG, TIGER, BagOfWords, TextDLG
from gradiometer.attacks.text.moves import Moves
from gradiometer.core import (
    Attack,
    Batch,
    Client,
    Data,
    Guess,
    MissingKnowledge,
    NotApplicable,
    Recipe,
    Threat,
    Update,
    derive,
    play,
    play_sum,
    sequence_cross_entropy,
)
from gradiometer.data import notes
from gradiometer.metrics import score_text
from gradiometer.metrics.score_text import sentences
from gradiometer.models import gpt


@dataclass(frozen=True)
class Row:
    """An attack with test-sized settings.

    Args:
        count: sentences that it is shown.
        blind: how far above the blind baseline it must be.
        sums: whether it reads a sum over clients; otherwise it refuses one.
        single: whether it reads single sentences out of several; the best then counts.
    """

    attack: Attack
    count: int = 3
    blind: float = 0.3
    sums: bool = True
    single: bool = False


ROWS = [
    Row(DAGER()),
    Row(TIGER(starts=3, steps=40, turns=2), count=2),
    Row(FILM(beams=8, refined=2, rounds=20), count=1, single=True),
    Row(BagOfWords()),
    Row(TextDLG(iterations=30), count=1, blind=0.0, sums=False),
    Row(TAG(iterations=30), count=1, blind=0.0, sums=False),
    Row(LAMP(iterations=30, moves=Moves(every=10, tries=20, simulated=4, last=3)), count=1, blind=0.0, sums=False),
]
EACH = pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row.attack).__name__)


@pytest.fixture(scope="module")
def data() -> Data:
    return notes()


def client_of(data: Data, count: int) -> Client:
    model = gpt(data.layout["input_ids"].classes or 0, 20, 2, width=96, depth=2)
    return Client(model=model, layout=data.layout, loss=sequence_cross_entropy, recipe=Recipe(examples=count))


def observed(data: Data, row: Row) -> tuple[Batch, Update]:
    batch = data.private.take(slice(0, row.count))
    return batch, play(client_of(data, row.count), batch, rng=derive(0), threat=Threat(), public=data.public)


def gain(row: Row, guess: Guess, truth: Batch, data: Data) -> float:
    """How far the guess is above the blind one, in the share of what was said."""
    if "bag" in guess:
        said = {token for tokens in sentences(truth) for token in tokens}
        found, size = set(guess["bag"].tolist()), data.layout["input_ids"].classes
        assert size
        # All tokens of the vocabulary are the blind bag.
        return len(found & said) / len(found | said) - len(said) / size
    return (max if row.single else min)(one.gain for one in score_text(guess, truth, data, rng=derive(1)))


@EACH
def test_beats_the_blind_baseline_and_repeats_bit_for_bit(row: Row, data: Data) -> None:
    batch, update = observed(data, row)
    guess, again = (row.attack.run(update, derive(7)) for _ in range(2))
    assert gain(row, guess, batch, data) > row.blind
    assert set(guess.tensors) == set(again.tensors)
    assert all(torch.equal(guess[name], again[name]) for name in guess.tensors)


@EACH
def test_touches_nothing(row: Row, data: Data) -> None:
    _, update = observed(data, row)
    assert update.model is not None
    tensors = [*update.values.values(), *update.model.state_dict().values(), *(update.public or {}).values()]
    before = [tensor.clone() for tensor in tensors]
    flags = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in update.model.modules()]
    states = torch.get_rng_state(), copy.deepcopy(np.random.get_state())  # noqa: NPY002
    row.attack.run(update, derive(7))
    assert all(torch.equal(a, b) for a, b in zip(before, tensors))
    assert flags == [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in update.model.modules()]
    assert all(parameter.requires_grad and parameter.grad is None for parameter in update.model.parameters())
    assert torch.equal(states[0], torch.get_rng_state())
    assert all(np.array_equal(a, b) for a, b in zip(states[1], np.random.get_state()))  # noqa: NPY002


@EACH
def test_names_the_knowledge_that_it_lacks(row: Row, data: Data) -> None:
    _, update = observed(data, row)
    for name in row.attack.card.needs:
        with pytest.raises(MissingKnowledge, match=f"`{name}`"):
            row.attack.run(update.replace(**{name: None}), derive(7))


@EACH
def test_a_sum_over_clients_is_read_as_a_larger_batch(row: Row, data: Data) -> None:
    batches = [data.private.take([0]), data.private.take([1])]
    update = play_sum(client_of(data, 1), batches, rng=derive(0), threat=Threat(), public=data.public)
    if not row.sums:
        with pytest.raises(NotApplicable, match="a sum over 2"):
            row.attack.run(update, derive(7))
        return
    whole = Batch({name: torch.cat([batch[name] for batch in batches]) for name in batches[0]})
    assert gain(row, row.attack.run(update, derive(7)), whole, data) > 0.3


@EACH
def test_has_a_complete_card_and_survives_a_plan_file(row: Row, holds_its_card: Callable[[Attack, str], None]) -> None:
    holds_its_card(row.attack, "text")


def test_every_exported_attack_has_a_row() -> None:
    assert {getattr(text, name) for name in text.__all__} <= {type(row.attack) for row in ROWS}
