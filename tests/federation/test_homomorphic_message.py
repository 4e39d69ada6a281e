"""Encrypted vectors as bytes, and parameters: everything that needs no TenSEAL."""

from __future__ import annotations

from typing import Any

import pytest

from gradiometer.core import BadConfig, BadInput
from gradiometer.federation.homomorphic import Message, Parameters

KEY = bytes(range(32))
PARAMETERS = Parameters()
WHOLE = Message(key=KEY, length=5000, clients=3, parts=(b"a" * 70, b"b", b"c" * 9))


def decode(data: bytes, *, key: bytes = KEY, length: int = 5000) -> Message:
    return Message.decode(data, PARAMETERS, key=key, length=length)


def test_what_was_written_is_read() -> None:
    assert decode(WHOLE.encode()) == WHOLE


def test_every_shorter_message_is_refused() -> None:
    data = WHOLE.encode()
    for end in range(len(data)):
        with pytest.raises(BadInput, match="no encrypted vector"):
            decode(data[:end])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (WHOLE.encode() + b"x", "1 bytes follow"),
        (b"x" + WHOLE.encode()[1:], "does not begin"),
        (Message(key=KEY, length=4096, clients=3, parts=WHOLE.parts[:2]).encode(), "4096 entries where 5000"),
        (Message(key=KEY, length=5000, clients=0, parts=WHOLE.parts).encode(), "sum over 0"),
        (Message(key=KEY, length=5000, clients=2**31, parts=WHOLE.parts).encode(), "sum over 2147483648"),
        (Message(key=KEY, length=5000, clients=1, parts=(b"a", b"", b"c")).encode(), "ciphertext 1 says 0"),
        (Message(key=KEY, length=5000, clients=1, parts=(bytes(70_000), b"", b"c")).encode(), "says 70000 bytes"),
        (Message(key=KEY[::-1], length=5000, clients=1, parts=WHOLE.parts).encode(), "another key"),
        (b"", "0 bytes"),
    ],
)
def test_what_does_not_fit_is_named(data: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        decode(data)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"moduli": (60, 50)}, "less than 128 bits of security"),
        ({"ring": 2048}, "less than 128 bits of security"),
        ({"ring": 5000}, "ring must be one of"),
        ({"moduli": (61, 20)}, "20 to 60 bits"),
        ({"scale": 59}, "between 10 and 58"),
    ],
)
def test_parameters_out_of_range(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        Parameters(**settings)


def test_what_the_parameters_mean() -> None:
    assert Parameters().slots == 2048
    assert Parameters().limit == 512
    assert Parameters(ring=8192, moduli=(60, 60), scale=54).limit == 32
