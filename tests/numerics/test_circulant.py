"""Circulant graphs: regular, symmetric, the same for all, and in one piece as the module's argument says."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradiometer.numerics.circulant import most_colluding_neighbors, neighborhoods


@pytest.mark.parametrize(("count", "degree"), [(10, 4), (100, 32), (7, 6), (5, 8), (2, 1)])
def test_regular_symmetric_and_nobody_is_its_own_neighbor(count, degree):
    graph = neighborhoods(range(3, 3 + count), degree, b"seed")
    for member, near in graph.items():
        assert len(near) == min(degree, count - 1)
        assert member not in near
        assert all(member in graph[other] for other in near)


def test_the_seed_alone_sets_the_order():
    members = list(range(50))
    assert neighborhoods(members, 4, b"a") == neighborhoods(members[::-1], 4, b"a")
    assert neighborhoods(members, 4, b"a") != neighborhoods(members, 4, b"b")


def pieces(graph, left):
    left, count = set(left), 0
    while left:
        count, front = count + 1, {left.pop()}
        while front:
            front = {other for member in front for other in graph[member]} & left
            left -= front
    return count


@settings(max_examples=150, deadline=None)
@given(count=st.integers(8, 60), half=st.integers(1, 8), seed=st.integers(0, 10**6))
def test_survivors_with_more_than_half_their_neighbors_hang_together(count, half, seed):
    draw = random.Random(seed)
    graph = neighborhoods(range(count), 2 * half, seed.to_bytes(8, "big"))
    left = set(draw.sample(range(count), draw.randint(1, count)))
    while thin := {member for member in left if len(graph[member] & left) <= half and 2 * half < count - 1}:
        left -= thin
    assert pieces(graph, left) <= 1


def test_bound_on_colluding_neighbors():
    assert most_colluding_neighbors(100, 0, 32) == 0
    assert most_colluding_neighbors(100, 20, 99) == 20
    few, many = most_colluding_neighbors(1000, 50, 100), most_colluding_neighbors(1000, 200, 100)
    assert 5 < few < many < 100
    draw = random.Random(1)
    seen = max(sum(i < 200 for i in draw.sample(range(999), 100)) for _ in range(2000))
    assert seen <= many
