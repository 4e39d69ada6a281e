"""Shamir's secret sharing of 32-byte secrets: any `threshold` shares give the secret, fewer say nothing about it.

    f(x) = secret + a_1 x + ... + a_(t-1) x^(t-1)  over GF(P),   share of x = f(x),   secret = sum_i f(x_i) w_i

with uniform a_i and the Lagrange weights at zero, w_i = prod_(j != i) x_j / (x_j - x_i).

References:
    Shamir, "How to Share a Secret", Communications of the ACM, 1979.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

P = 2**256 + 297
"""The least prime above 2^256: every 32-byte secret is an element of the field."""

SECRET, SHARE = 32, 33
"""Bytes of a secret and of a share."""


def split(secret: bytes, threshold: int, count: int, entropy: Callable[[int], bytes]) -> list[bytes]:
    """Shares of a 32-byte secret for the points 1 to `count`, 33 bytes each.

    Args:
        threshold: how many shares give the secret, 1 to `count`.
        entropy: so many uniform bytes from a cryptographic source.
    """
    # 48 bytes modulo P are uniform up to 2^-127.
    coefficients = [int.from_bytes(entropy(48), "big") % P for _ in range(threshold - 1)]
    coefficients.append(int.from_bytes(secret, "big"))
    shares = []
    for x in range(1, count + 1):
        value = 0
        for coefficient in coefficients:
            value = (value * x + coefficient) % P
        shares.append(value.to_bytes(SHARE, "big"))
    return shares


def weights(points: Sequence[int]) -> list[int]:
    """Lagrange weights at zero of distinct points, 1 <= x < P: the same for every secret shared over them."""
    return [
        prod(other for other in points if other != x)
        * pow(prod(other - x for other in points if other != x), -1, P)
        % P
        for x in points
    ]


def combine(shares: Sequence[bytes], weights: Sequence[int]) -> bytes | None:
    """The secret behind the shares of as many points as there are weights; None where they are shares of no secret.

    Shares that were altered give another secret, or none: whoever combines them checks it against something known.
    """
    value = sum(int.from_bytes(share, "big") * weight for share, weight in zip(shares, weights, strict=True)) % P
    return value.to_bytes(SECRET, "big") if value < 2 ** (8 * SECRET) else None
