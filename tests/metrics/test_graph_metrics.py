"""Graph metrics: isomorphism against all orders, GSM at its ends, and graphs that no gradient tells apart."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from gradiometer.core import BadInput, Batch, Client, Guess, Unsupported, derive, graph_cross_entropy
from gradiometer.data import Graph, grown
from gradiometer.data.graphs import one_hot, packed
from gradiometer.metrics import exact_graph, gsm, score_graph
from gradiometer.metrics.graph import Whole
from gradiometer.metrics.score_graph import graphs
from gradiometer.models import gcn
from gradiometer.numerics.isomorphism import isomorphic


def drawn(rng: torch.Generator, count: int = 5) -> Whole:
    half = (torch.rand(count, count, generator=rng) < 0.4).float().triu(1)
    return Whole(nodes=torch.randint(2, (count, 1), generator=rng).float(), adjacency=half + half.T)


def test_isomorphism_agrees_with_trying_all_orders() -> None:
    rng, same = derive(0), 0
    for _ in range(60):
        one, other = drawn(rng, 4), drawn(rng, 4)
        slow = any(
            torch.equal(one.nodes[list(p)], other.nodes)
            and torch.equal(one.adjacency[list(p)][:, list(p)], other.adjacency)
            for p in permutations(range(4))
        )
        assert exact_graph(one, other) == slow
        same += slow
    assert 0 < same < 60


def test_what_refinement_cannot_tell_apart_the_search_can() -> None:
    """One ring of six and two of three: all nodes have two neighbors that have two neighbors."""
    ring = torch.zeros(6, 6)
    two = torch.zeros(6, 6)
    for i in range(6):
        ring[i, (i + 1) % 6] = ring[(i + 1) % 6, i] = 1
        two[i, i // 3 * 3 + (i + 1) % 3] = two[i // 3 * 3 + (i + 1) % 3, i] = 1
    features = torch.ones(6, 1)
    assert not isomorphic(features, ring, features, two)
    order = torch.tensor([3, 5, 1, 0, 4, 2])
    assert isomorphic(features, ring, features, ring[order][:, order])


def test_gsm_is_one_for_the_same_graph_and_zero_for_none() -> None:
    data = grown(10, count=40)
    one, other = graphs(data.private)[:2]
    order = torch.randperm(len(one.nodes), generator=derive(1))
    turned = Whole(nodes=one.nodes[order], adjacency=one.adjacency[order][:, order])
    assert gsm(turned, one) == pytest.approx([1.0, 1.0, 1.0])
    assert gsm(Whole(nodes=one.nodes[:0], adjacency=one.adjacency[:0, :0]), one) == [0.0, 0.0, 0.0]
    assert all(0 <= value < 1 for value in gsm(other, one))
    bare = gsm(Whole(nodes=one.nodes, adjacency=torch.zeros_like(one.adjacency)), one)
    assert bare[0] == pytest.approx(1.0)
    assert bare[2] < 1


def ring_batch(*sizes: int) -> Batch:
    edges, start = list[tuple[int, int]](), 0
    for size in sizes:
        edges += [(start + i, start + i + 1) for i in range(size - 1)] + [(start, start + size - 1)]
        start += size
    blocks = (5, 5, 5)
    return packed([Graph(nodes=one_hot([(0, 2, 2)] * start, blocks), edges=edges)], blocks, 12)


def test_a_graph_with_the_same_gradient_is_equivalent_and_not_exact() -> None:
    data = grown(12)
    client = Client(model=gcn(15, width=32), layout=data.layout, loss=graph_cross_entropy)
    truth = ring_batch(6)

    def score(batch: Batch) -> tuple[bool, bool | None]:
        found = score_graph(Guess(tensors=dict(batch)), truth, data, rng=derive(0), client=client)[0]
        return found.exact, found.equivalent

    assert score(truth) == (True, False)
    assert score(ring_batch(5)) == (False, True)
    assert score(ring_batch(3, 3)) == (False, True)
    assert score(data.private.take([0])) == (False, False)


def test_the_truth_gains_over_every_blind_guess_and_nothing_loses() -> None:
    data = grown(10, count=40)
    truth = data.private.take([0, 1])
    for one in score_graph(Guess(tensors=dict(truth.take([1, 0]))), truth, data, rng=derive(0)):
        assert one.exact
        assert one.equivalent is None
        assert one.edges == 1
        assert one.gain > 0
    for one in score_graph(Guess(tensors={}), truth, data, rng=derive(0)):
        assert not one.matched
        assert one.gain < 0


def test_guesses_of_another_shape_and_other_data_are_refused(digits_data) -> None:
    data = grown(10, count=40)
    truth = data.private.take([0])
    with pytest.raises(BadInput, match="nodes"):
        score_graph(
            Guess(tensors={"nodes": truth["nodes"][:, :3], "adjacency": truth["adjacency"]}), truth, data, rng=derive(0)
        )
    with pytest.raises(Unsupported):
        score_graph(Guess(tensors={}), digits_data.private.take([0]), digits_data, rng=derive(0))
