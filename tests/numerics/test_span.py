"""Spans: rank, gap, distance; and the sparse directions of a subspace."""

from __future__ import annotations

import pytest
import torch

from gradiometer.core import derive
from gradiometer.numerics.span import outline, span
from gradiometer.numerics.sparse_directions import Basis, descend, independent, polish
from gradiometer.numerics.sparse_factors import search


def layer(examples: int, rows: int = 120, inputs: int = 60) -> tuple[torch.Tensor, ...]:
    """Inputs, weights [W, b] and the derivative of a ReLU layer, in double precision."""
    rng = derive(7, examples)
    x = torch.randn(examples, inputs, generator=rng, dtype=torch.float64)
    joint = torch.cat([x, torch.ones(examples, 1, dtype=torch.float64)], 1)
    weight = torch.randn(rows, inputs + 1, generator=rng, dtype=torch.float64) / inputs**0.5
    slopes = torch.randn(rows, examples, generator=rng, dtype=torch.float64) * (weight @ joint.T > 0)
    return joint, weight, slopes


def test_rank_gap_and_distance() -> None:
    joint, _, deltas = layer(5)
    seen = span((deltas @ joint).float())
    assert seen.rank == 5
    assert seen.gap > 1e4
    assert seen.distance(joint).max() < 1e-5
    assert seen.distance(torch.randn(8, joint.shape[1], generator=derive(1), dtype=torch.float64)).min() > 0.5
    assert torch.allclose(seen.left * seen.values @ seen.right, deltas @ joint, atol=1e-4)


@pytest.mark.parametrize("louder", [1.0, 10.0])
def test_noise_is_read_off_what_lies_outside_row_by_row(louder: float) -> None:
    joint, _, deltas = layer(5, rows=300, inputs=400)
    noise = 1e-3 * torch.randn(300, 401, generator=derive(2), dtype=torch.float64)
    noise[150:] *= louder
    seen = span(deltas @ joint + noise)
    assert seen.rank == 5
    # Loud rows turn the span a little, by which the quiet ones then miss it.
    assert float(seen.noise[:150].mean()) == pytest.approx(1e-3, rel=0.1 if louder == 1 else 1.0)
    assert float(seen.noise[150:].mean()) == pytest.approx(1e-3 * louder, rel=0.1)


def test_a_rank_is_no_larger_than_asked_and_nothing_has_none() -> None:
    joint, _, deltas = layer(5)
    assert span(deltas @ joint, rank=3).rank == 3
    assert span(deltas @ joint, most=2).rank <= 2
    assert span(torch.zeros(4, 6)).rank == 0


@pytest.mark.parametrize("examples", [5, 100])
def test_an_outline_of_a_large_gradient_has_the_rank_of_the_whole(examples: int) -> None:
    rng = derive(3, examples)
    gradient = (torch.randn(900, examples, generator=rng) @ torch.randn(examples, 600, generator=rng)).float()
    seen = outline(gradient, derive(4))
    assert seen.rank == outline(gradient.T, derive(4)).rank == examples
    assert seen.gap > 1e3
    assert not seen.full
    whole = span(gradient, rank=examples)
    assert seen.least == pytest.approx(float(whole.values[-1]) / float(gradient.norm()), rel=0.7)


def test_noise_drowns_a_span_where_the_outline_says() -> None:
    rng = derive(5)
    gradient = torch.randn(200, 6, generator=rng, dtype=torch.float64) @ torch.randn(
        6, 150, generator=rng, dtype=torch.float64
    )
    size, limit = float(gradient.square().mean().sqrt()), outline(gradient, derive(6)).drowns
    for times, kept in ((0.03, True), (3.0, False)):
        noise = times * limit * size * torch.randn(200, 150, generator=rng, dtype=torch.float64)
        assert (outline(gradient + noise, derive(6)).gap > 20) is kept


def test_descent_finds_the_sparse_vectors_of_a_subspace() -> None:
    joint, _, deltas = layer(6)
    seen = span(deltas @ joint)
    basis = Basis(rows=seen.left, noise=seen.noise.clamp_min(1e-12), values=seen.values)
    q, zeros = polish(basis, descend(basis, 96, derive(3)))
    q, zeros = independent(q, zeros, 6)
    assert len(q) == 6
    truth = torch.linalg.lstsq(seen.left, deltas).solution
    likeness = (q @ (truth / truth.norm(dim=0))).abs()
    assert torch.allclose(likeness.max(1).values, torch.ones(6).double())
    assert sorted(likeness.argmax(1).tolist()) == list(range(6))


def test_factors_certify_themselves_by_signs_that_the_search_never_saw() -> None:
    joint, weight, deltas = layer(6)
    last = list(search(span(deltas @ joint), [weight], derive(4), 640))[-1]
    assert last.certain
    assert torch.cdist(last.inputs, joint[:, :-1]).min(1).values.max() < 1e-8
    other = torch.randn(weight.shape, generator=derive(9), dtype=torch.float64)
    assert not list(search(span(deltas @ joint), [other], derive(4), 64))[-1].certain
