"""GRAIN: molecules, papers with classes of their own, what hides a graph, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from gradiometer.attacks.graph import GRAIN, Cause, Unread
from gradiometer.attacks.graph.counts import FITS, numbers, robust_shares, shares
from gradiometer.attacks.graph.realize import Search, oddity
from gradiometer.attacks.graph.spans import binary_points
from gradiometer.core import (
    Batch,
    Client,
    Data,
    Guess,
    Loss,
    NotApplicable,
    Recipe,
    Threat,
    Update,
    derive,
    graph_cross_entropy,
    node_cross_entropy,
    play,
)
from gradiometer.data import Graph, from_graphs, grown
from gradiometer.data.graphs import one_hot
from gradiometer.metrics import GraphScore, score_graph
from gradiometer.models import gat, gcn
from gradiometer.numerics.span import span

BLIND = Threat(batch_size=False, recipe=False, buffers=False, public=False)


@pytest.fixture(scope="module")
def data() -> Data:
    return grown(10, count=60)


def client_of(
    data: Data, make: Callable[..., nn.Module] = gcn, loss: Loss = graph_cross_entropy, **settings: object
) -> Client:
    features, label = data.layout["nodes"].shape[1], data.layout["y"]
    model = make(features, label.classes, **{"width": 128, "per_node": len(label.shape) == 1, **settings})
    return Client(model=model, layout=data.layout, loss=loss, recipe=Recipe())


def read(
    client: Client, batch: Batch, data: Data, attack: GRAIN | None = None, **changes: object
) -> tuple[Guess, GraphScore]:
    update = play(client, batch, rng=derive(0), threat=BLIND).replace(**changes)
    guess = (attack or GRAIN()).run(update, derive(1))
    return guess, score_graph(guess, batch, data, rng=derive(2), client=client)[0]


@pytest.mark.parametrize("make", [gcn, gat])
@pytest.mark.parametrize("example", range(4))
def test_a_molecule_comes_back_with_its_label(data: Data, make: Callable[..., nn.Module], example: int) -> None:
    batch = data.private.take([example])
    guess, score = read(client_of(data, make), batch, data)
    assert score.exact or score.equivalent
    assert guess.notes["verified"]
    assert guess["y"].tolist() == batch["y"].tolist()
    assert guess.confidence.tolist() == [1.0]


def test_public_graphs_help_but_are_not_needed(data: Data) -> None:
    batch, client = data.private.take([1]), client_of(data)
    with_help, without = read(client, batch, data, public=data.public), read(client, batch, data)
    assert with_help[0].notes["kinds"] <= without[0].notes["kinds"]
    assert with_help[1].exact
    assert without[1].exact


def test_nodes_with_classes_of_their_own_are_read_with_them() -> None:
    rng = derive(3)
    words = (torch.rand(9, 60, generator=rng) < 0.15).float()
    edges = [(0, i) for i in range(1, 9)] + [(1, 2), (3, 4)]  # a hub of eight, and twins
    degrees = torch.bincount(torch.tensor(edges).flatten(), minlength=9)
    nodes = torch.cat([words, torch.nn.functional.one_hot(degrees, 12)], 1)
    graph = Graph(nodes=nodes, edges=edges, label=[0, 1, 2, 0, 1, 2, 0, 1, 2])
    data = from_graphs([graph], (1,) * 60 + (12,), degree=60, most=12, public_share=0.0, test_share=0.0)
    guess, score = read(client_of(data, loss=node_cross_entropy), data.private, data, GRAIN(prior=False))
    assert score.exact
    label = {tuple(x.tolist()): int(y) for x, y in zip(nodes, graph.label)}
    there = guess["mask"][0].bool()
    assert [label[tuple(x.tolist())] for x in guess["nodes"][0, there]] == guess["y"][0, there].tolist()


def test_two_atoms_of_which_the_first_gradient_shows_the_sum_are_read() -> None:
    """Methanol: both nodes see the same, A + I is singular, and the readout's own features tell them apart."""
    blocks = (2, 3)
    graph = Graph(nodes=one_hot([(0, 1), (1, 1)], blocks), edges=[(0, 1)])
    data = from_graphs([graph], blocks, degree=1, most=4, public_share=0.0, test_share=0.0)
    assert read(client_of(data), data.private, data)[1].exact


def test_a_ring_of_five_is_equivalent_to_one_of_six() -> None:
    blocks = (1, 4)
    nodes = torch.cat([torch.ones(5, 1), one_hot([(2, 2)] * 5, (4, 4))[:, :4]], 1)
    ring = Graph(nodes=nodes, edges=[(i, i + 1) for i in range(4)] + [(0, 4)])
    data = from_graphs([ring], blocks, degree=1, most=8, public_share=0.0, test_share=0.0)
    guess, score = read(client_of(data), data.private, data)
    assert int(guess["mask"].sum()) == 6
    assert not score.exact
    assert score.equivalent


def test_a_single_node_is_a_graph() -> None:
    blocks = (3, 2)
    data = from_graphs(
        [Graph(nodes=one_hot([(2, 0)], blocks), edges=[])], blocks, degree=1, most=3, public_share=0.0, test_share=0.0
    )
    assert read(client_of(data), data.private, data)[1].exact


def test_a_local_step_is_read_where_the_rounding_of_weights_does_not_cover_it(data: Data) -> None:
    batch = data.private.take([0])

    def stepped(lr: float) -> Update:
        client = replace(client_of(data), recipe=Recipe(sends="delta", lr=lr))
        return play(client, batch, rng=derive(0), threat=Threat(public=False))

    assert score_graph(GRAIN().run(stepped(30.0), derive(1)), batch, data, rng=derive(2))[0].exact
    with pytest.raises(Unread) as refusal:
        GRAIN().run(stepped(0.01), derive(1))
    assert refusal.value.cause in (Cause.FULL_SPAN, Cause.UNEXPLAINED)


def noisy(update: Update, level: float) -> Update:
    rng = derive(3)
    values = {
        k: v + level * v.square().mean().sqrt() * torch.randn(v.shape, generator=rng) for k, v in update.values.items()
    }
    return update.replace(values=values)


def test_noise_ends_it_with_a_cause(data: Data) -> None:
    update = noisy(play(client_of(data), data.private.take([0]), rng=derive(0), threat=BLIND), 0.1)
    with pytest.raises(Unread) as refusal:
        GRAIN().run(update, derive(1))
    assert refusal.value.cause in set(Cause)


def test_a_budget_that_is_spent_is_a_cause(data: Data) -> None:
    update = play(client_of(data), data.private.take([0]), rng=derive(0), threat=BLIND)
    with pytest.raises(Unread) as refusal:
        GRAIN(most=3).run(update, derive(1))
    assert refusal.value.cause in (Cause.TOO_MANY_NEIGHBORHOODS, Cause.MISSING_NEIGHBORHOODS)


def test_what_it_cannot_take_apart_is_refused(data: Data) -> None:
    two = play(client_of(data), data.private.take([0, 1]), rng=derive(0))
    with pytest.raises(NotApplicable, match="one graph"):
        GRAIN().run(two, derive(1))
    deep = play(client_of(data, depth=3), data.private.take([0]), rng=derive(0))
    with pytest.raises(NotApplicable, match="2 layers"):
        GRAIN().run(deep, derive(1))
    update = play(client_of(data), data.private.take([0]), rng=derive(0))
    layout = {**data.layout, "nodes": replace(data.layout["nodes"], degree=None)}
    with pytest.raises(NotApplicable, match="degree"):
        GRAIN().run(update.replace(layout=layout), derive(1))
    part = {name: value for name, value in update.values.items() if "layers" not in name}
    with pytest.raises(NotApplicable, match="no gradient of"):
        GRAIN().run(update.replace(values=part), derive(1))


def test_points_of_a_span_are_found_all() -> None:
    rng = derive(5)
    points = (torch.rand(6, 40, generator=rng) < 0.3).double()
    points[:, :3] = torch.nn.functional.one_hot(torch.arange(6) % 3, 3)
    mixed = span(torch.randn(30, 6, generator=rng, dtype=torch.float64) @ points)
    live = points.any(0)
    found = {tuple(p.tolist()) for p in binary_points(mixed, live, torch.arange(3), 2**12)}
    assert {tuple(p.tolist()) for p in points} <= found
    assert all(float(mixed.distance(torch.tensor([p]).double())) < 1e-9 for p in found)
    with pytest.raises(Unread):
        binary_points(mixed, live, None, 1)


def test_counts_are_told_also_where_a_unit_is_at_its_edge() -> None:
    rng = derive(6)
    slopes, rows = (torch.randn(50, width, generator=rng, dtype=torch.float64) for width in (120, 40))
    counts = torch.zeros(50, dtype=torch.float64)
    counts[[3, 14, 15]] = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    target, none = slopes.T @ (counts[:, None] * rows), torch.zeros(0, 50, dtype=torch.float64)
    found, left = shares(target, slopes, rows, none, FITS, rng)
    assert left < FITS
    assert torch.allclose(found, counts, atol=1e-6)
    assert numbers(found[found > 0.01], 12) == [4, 8, 12]
    target[7] += 1
    found, left = robust_shares(target, slopes, rows, none, FITS, rng)
    assert left < FITS
    assert torch.allclose(found, counts, atol=1e-6)


def test_the_search_finds_every_graph_with_these_neighborhoods() -> None:
    """Six nodes of one kind with two neighbors each: one ring of six, or two of three."""
    found = set(Search(blocks=[0] * 6, around=[(0, 0)] * 6, prior=True, most=10_000).run())
    parts = {oddity(edges, 6) for edges in found}
    assert min(parts) == 0.0
    assert len(parts) == 2
    assert oddity(next(iter(Search(blocks=[0] * 6, around=[(0, 0)] * 6, prior=True, most=10_000).run())), 6) == 0.0


def test_members_are_pooled_by_how_certain_they_are_of_nodes_in_one_order() -> None:
    from gradiometer.attacks.graph.tableak import entropy, pooled

    nodes = torch.tensor([[[0.9, 0.1], [0.1, 0.9], [0.2, 0.8]]])
    adjacency = torch.zeros(1, 3, 3)
    adjacency[0, 0, 1] = adjacency[0, 1, 0] = 0.9
    sure = Batch(nodes=nodes, adjacency=adjacency, mask=torch.ones(1, 3).long(), y=torch.tensor([[0.3, 0.7]]))
    order = [2, 0, 1]
    turned = sure.replace(nodes=nodes[:, order], adjacency=adjacency[:, order][:, :, order])
    unsure = sure.replace(nodes=torch.full_like(nodes, 0.5), adjacency=torch.full_like(adjacency, 0.5))
    both, mostly = pooled([sure, turned], (2,)), pooled([sure, unsure], (2,))
    assert torch.allclose(both["nodes"], nodes)
    assert torch.allclose(both["adjacency"], adjacency)
    assert torch.allclose(mostly["nodes"], nodes, atol=1e-4)
    assert entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]])).flatten().tolist() == pytest.approx([1.0, 0.0])
    assert entropy(torch.tensor([[0.5]])).item() == pytest.approx(1.0)
