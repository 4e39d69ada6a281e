"""Matching on sentences: the unknown embeddings, what the tables tell, discrete moves, and what each paper's settings promise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gradiometer.attacks.text import LAMP, TAG, TextDLG
from gradiometer.attacks.text.matching import TextMatching
from gradiometer.attacks.text.moves import Moves
from gradiometer.attacks.text.sentences import Sentences
from gradiometer.core import (
    BadConfig,
    Batch,
    Client,
    Data,
    NotApplicable,
    Recipe,
    Threat,
    Update,
    derive,
    next_token_cross_entropy,
    play,
    play_sum,
    sequence_cross_entropy,
    simulate,
)
from gradiometer.data import notes
from gradiometer.metrics import score_text
from gradiometer.models import bert, gpt
from gradiometer.numerics.embedding_tables import embedded, find_tables, longest
from gradiometer.numerics.length_prior import EmbeddingLength
from gradiometer.numerics.terms import Iterate

LENGTH = 20


@pytest.fixture(scope="module")
def data() -> Data:
    return notes(LENGTH)


def client_of(data: Data, make: object = bert, recipe: Recipe | None = None) -> Client:
    assert callable(make)
    model = make(data.layout["input_ids"].classes, LENGTH, 2, width=32, depth=1, heads=2)
    return Client(model=model, layout=data.layout, loss=sequence_cross_entropy, recipe=recipe or Recipe())


def observed(data: Data, rows: list[int], client: Client | None = None, threat: Threat | None = None) -> Update:
    client = client or client_of(data)
    client = replace(client, recipe=replace(client.recipe, examples=len(rows)))
    return play(client, data.private.take(rows), rng=derive(0), threat=threat or Threat(), public=data.public)


def problem_of(attack: TextMatching, update: Update) -> Sentences:
    problem, _ = attack._problem(update, derive(1))
    assert isinstance(problem, Sentences)
    return problem


def tokens(batch: Batch, row: int = 0) -> torch.Tensor:
    return batch["input_ids"][row, batch["attention_mask"][row].bool()][None]


def test_the_tables_are_found_by_what_they_look_up(data: Data) -> None:
    update = observed(data, [0])
    tables = find_tables(update)
    assert (tables.tokens, tables.places) == ("tokens", "positions")
    true = tokens(data.private).shape[1]
    assert longest(update.values, tables, LENGTH) == true
    place = update.values["positions.weight"]
    assert longest({"positions.weight": place + 1e-6}, tables, LENGTH) == LENGTH, "noise hides the length"
    assert longest({}, tables, LENGTH) is None


@pytest.mark.parametrize("make", [bert, gpt])
def test_embeddings_of_the_true_tokens_cause_the_true_update(data: Data, make: object) -> None:
    client = client_of(data, make)
    update = observed(data, [0], client)
    problem = problem_of(TextDLG(), update)
    ids = tokens(data.private)
    assert problem.engine.measure(problem.decode([problem.embeddings(ids)])) < 1e-10
    assert torch.equal(problem.nearest(problem.embeddings(ids)), ids)
    model = embedded(client.model, "tokens")
    batch = Batch(input_ids=client.model.tokens(ids), attention_mask=torch.ones_like(ids), y=data.private["y"][:1])
    caused = simulate(model, sequence_cross_entropy, Recipe(), batch).values
    assert set(caused) == set(update.values) - {"tokens.weight"}
    assert all(torch.allclose(value, update.values[name], atol=1e-6) for name, value in caused.items())


def test_tag_and_lamp_read_a_sentence(data: Data) -> None:
    update = observed(data, [1])
    truth = data.private.take([1])
    scores = [
        score_text(attack.run(update, derive(2)), truth, data, rng=derive(1))[0]
        for attack in (TAG(iterations=50), LAMP(iterations=50, moves=Moves(tries=40, simulated=8, last=6)))
    ]
    assert all(score.rouge1 > 0.4 for score in scores)


def test_lengths_labels_and_tokens_come_from_the_gradient(data: Data) -> None:
    update = observed(data, [0])
    guess = TextDLG(iterations=3).run(update, derive(0))
    assert guess["y"].tolist() == data.private["y"][:1].tolist()
    assert guess.notes["labels"] == "RowSum"
    assert guess["attention_mask"].sum() <= tokens(data.private).shape[1]
    said = set(guess["input_ids"][guess["attention_mask"].bool()].tolist())
    assert said <= set(tokens(data.private)[0].tolist()), "only what the token embedding's gradient reveals"
    assert len(problem_of(TextDLG(vocabulary="all"), update).allowed) == data.layout["input_ids"].classes
    informed = TextDLG(iterations=3).run(observed(data, [0], threat=Threat(labels=True)), derive(0))
    assert "y" not in informed


def test_sentences_of_a_batch_end_with_the_token_that_closes_them(data: Data) -> None:
    update = observed(data, [0, 1])
    problem = problem_of(TAG(), update)
    assert problem.free == problem.like.shape[1]
    ids = torch.stack([row[: problem.free] for row in data.private["input_ids"][:2]])
    ids[ids == 0] = int(problem.allowed[1])
    answer = problem.answer([problem.embeddings(ids)])
    for row in (0, 1):
        length = tokens(data.private, row).shape[1]
        assert answer["attention_mask"][row].sum() == length
        assert torch.equal(answer["input_ids"][row, :length], data.private["input_ids"][row, :length])
    guess = LAMP(iterations=4, moves=Moves(every=1, begin=0.0, tries=4, simulated=2, last=1)).run(update, derive(0))
    assert guess["input_ids"].shape == (2, LENGTH)
    assert sorted(guess["y"].tolist()) == sorted(data.private["y"][:2].tolist())


def test_moves_find_the_order_and_a_wrong_word(data: Data) -> None:
    short = int(data.private["attention_mask"].sum(1).argmin())
    problem = problem_of(LAMP(), observed(data, [short]))
    ids, rng, moves = tokens(data.private, short), derive(5), Moves(tries=30, simulated=30)
    mixed = ids.clone()
    mixed[0, [1, 2]] = ids[0, [2, 1]]
    z = problem.embeddings(mixed)
    for _ in range(6):
        if torch.equal(problem.nearest(z), ids):
            break
        z = moves._reordered(problem, None, z, [], 0, rng)
    assert torch.equal(problem.nearest(z), ids)
    found = ids.clone()
    found[0, 1] = ids[0, 2]
    for _ in range(4):
        if torch.equal(found, ids):
            break
        found = moves._exchanged(problem, None, found, problem.near(z[0], 1), [], 0, rng)
    assert torch.equal(found, ids)
    assert found[0, -1] == problem.end


def test_embeddings_of_usual_length_cost_nothing(data: Data) -> None:
    update = observed(data, [0])
    table = update.need("model").tokens.weight.detach()
    term = EmbeddingLength(weight=2.0).term(update)
    usual = table / table.norm(dim=1, keepdim=True) * table.norm(dim=1).mean()
    assert float(term.penalty(Iterate(x=usual[None]))) == pytest.approx(0, abs=1e-10)
    assert float(term.penalty(Iterate(x=3 * usual[None]))) == pytest.approx(8.0, rel=1e-4)


def test_a_change_of_weights_is_matched_too(data: Data) -> None:
    client = client_of(data, recipe=Recipe(sends="delta", lr=0.01))
    problem = problem_of(TextDLG(), observed(data, [0], client))
    assert problem.engine.measure(problem.decode([problem.embeddings(tokens(data.private))])) < 1e-4


def test_what_cannot_be_read_is_refused(data: Data, digits_data: Data) -> None:
    layout = {name: field for name, field in data.layout.items() if name != "y"}
    model = gpt(data.layout["input_ids"].classes or 0, LENGTH, width=32, depth=1, heads=2)
    client = Client(model=model, layout=layout, loss=next_token_cross_entropy)
    update = play(client, data.private.take([0]), rng=derive(0), threat=Threat())
    with pytest.raises(NotApplicable, match="class"):
        TAG().run(update, derive(0))
    parts = [data.private.take([0]), data.private.take([1])]
    with pytest.raises(NotApplicable, match="a sum over 2"):
        TAG().run(play_sum(client_of(data), parts, rng=derive(0), threat=Threat()), derive(0))
    with pytest.raises(NotApplicable, match="input_ids"):
        TAG().run(Update(values={}, layout=digits_data.layout, model=model), derive(0))
    with pytest.raises(BadConfig, match="tries"):
        Moves(tries=0)
