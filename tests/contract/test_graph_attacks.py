"""What every exported graph attack goes through: one row of test-sized settings each."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from gradiometer.attacks import graph
from gradiometer.attacks.graph import GRAIN, GraphDLG, GraphTabLeak
from gradiometer.core import (
    Attack,
    Batch,
    Client,
    Data,
    MissingKnowledge,
    NotApplicable,
    Recipe,
    Threat,
    Update,
    cross_entropy,
    derive,
    graph_cross_entropy,
    play,
)
from gradiometer.data import grown
from gradiometer.metrics import score_graph
from gradiometer.models import gcn, mlp


@dataclass(frozen=True)
class Row:
    """An attack with test-sized settings."""

    attack: Attack
    least: float = 0.3  # gain in mean GSM over the blind guess


ROWS = [
    Row(GRAIN()),
    Row(GraphDLG(nodes=8, iterations=120), least=0.0),
    Row(GraphTabLeak(nodes=8, iterations=80, restarts=3), least=0.0),
]
EACH = pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row.attack).__name__)


@pytest.fixture(scope="module")
def data() -> Data:
    return grown(8, count=60)


def observed(data: Data) -> tuple[Batch, Update]:
    client = Client(model=gcn(15, width=96), layout=data.layout, loss=graph_cross_entropy, recipe=Recipe())
    batch = data.private.take([int((data.private["mask"].sum(1) == 8).nonzero()[0])])  # as many as GraphDLG is told
    return batch, play(client, batch, rng=derive(0), threat=Threat(), public=data.public)


@EACH
def test_beats_the_blind_baseline_and_repeats_bit_for_bit(row: Row, data: Data) -> None:
    batch, update = observed(data)
    guess, again = (row.attack.run(update, derive(7)) for _ in range(2))
    assert score_graph(guess, batch, data, rng=derive(1))[0].gain > row.least
    assert set(guess.tensors) == set(again.tensors)
    assert all(torch.equal(guess[name], again[name]) for name in guess.tensors)


@EACH
def test_touches_nothing(row: Row, data: Data) -> None:
    _, update = observed(data)
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
    _, update = observed(data)
    for name in row.attack.card.needs:
        with pytest.raises(MissingKnowledge, match=f"`{name}`"):
            row.attack.run(update.replace(**{name: None}), derive(7))


@EACH
def test_pictures_are_refused(row: Row, digits_data: Data) -> None:
    client = Client(model=mlp((1, 8, 8), 10, widths=(32,)), layout=digits_data.layout, loss=cross_entropy)
    with pytest.raises(NotApplicable):
        row.attack.run(play(client, digits_data.private.take([0]), rng=derive(0)), derive(0))


@EACH
def test_has_a_complete_card_and_survives_a_plan_file(row: Row, holds_its_card: Callable[[Attack, str], None]) -> None:
    holds_its_card(row.attack, "graph")


def test_every_exported_attack_has_a_row() -> None:
    exported = {getattr(graph, name) for name in graph.__all__}
    attacks = {one for one in exported if inspect.isclass(one) and issubclass(one, Attack)}
    assert attacks <= {type(row.attack) for row in ROWS}
