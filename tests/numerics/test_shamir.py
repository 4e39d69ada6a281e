"""Shamir's sharing: any threshold shares give the secret, and fewer are consistent with every secret."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradiometer.numerics.shamir import SECRET, SHARE, P, combine, split, weights

SECRETS = st.binary(min_size=SECRET, max_size=SECRET)


def source(seed: int):
    return random.Random(seed).randbytes


@settings(max_examples=60, deadline=None)
@given(secret=SECRETS, count=st.integers(1, 12), data=st.data())
def test_any_threshold_shares_give_the_secret(secret, count, data):
    threshold = data.draw(st.integers(1, count))
    shares = split(secret, threshold, count, source(data.draw(st.integers(0, 99))))
    assert [len(share) for share in shares] == [SHARE] * count
    points = data.draw(st.permutations(range(1, count + 1)))[:threshold]
    assert combine([shares[x - 1] for x in points], weights(points)) == secret
    assert combine(shares, weights(range(1, count + 1))) == secret, "more than the threshold agree"


@settings(max_examples=40, deadline=None)
@given(secret=SECRETS, other=SECRETS, threshold=st.integers(2, 8), data=st.data())
def test_fewer_shares_are_consistent_with_every_secret(secret, other, threshold, data):
    """For t - 1 shares and any other secret there is exactly one polynomial through both: the missing share exists."""
    count = data.draw(st.integers(threshold, 12))
    shares = split(secret, threshold, count, source(1))
    *known, missing = data.draw(st.permutations(range(1, count + 1)))[:threshold]
    points = [*known, missing]
    lagrange = weights(points)
    part = sum(int.from_bytes(shares[x - 1], "big") * w for x, w in zip(known, lagrange))
    share = (int.from_bytes(other, "big") - part) * pow(lagrange[-1], -1, P) % P
    values = [*(shares[x - 1] for x in known), share.to_bytes(SHARE, "big")]
    assert combine(values, lagrange) == other


@settings(max_examples=40, deadline=None)
@given(secret=SECRETS, place=st.integers(0, 2), change=st.integers(1, P - 1))
def test_an_altered_share_never_gives_the_secret(secret, place, change):
    shares = split(secret, 3, 3, source(2))
    altered = (int.from_bytes(shares[place], "big") + change) % P
    shares[place] = altered.to_bytes(SHARE, "big")
    assert combine(shares, weights([1, 2, 3])) != secret


def test_the_modulus_is_prime():
    """Miller-Rabin with 40 bases: wrong with a chance below 4^-40."""
    odd, twos = P - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in random.Random(0).sample(range(2, 10**9), 40):
        x = pow(base, odd, P)
        assert x in (1, P - 1) or any((x := x * x % P) == P - 1 for _ in range(twos - 1))
    assert P > 2**256


def test_shares_of_all_points_but_one_look_uniform():
    """The leading bits of a share of one fixed secret, over 4,000 sharings (chi-square with 15 degrees, 1 in 1,000)."""
    counts = [0] * 16
    draw = source(3)
    for _ in range(4000):
        share = split(bytes(SECRET), 2, 1, draw)[0]
        counts[int.from_bytes(share, "big") >> 252] += 1
    assert sum((count - 250) ** 2 / 250 for count in counts) < 37.7


@pytest.mark.parametrize("threshold", [1, 3])
def test_a_threshold_of_one_is_the_secret_itself(threshold):
    secret = bytes(range(SECRET))
    same = {share[1:] for share in split(secret, threshold, 3, source(4))} == {secret}
    assert same == (threshold == 1)
