"""What one side of a federation may not take from the other unseen: names, shapes, numbers."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gradiometer.core import BadInput, all_finite


def check_alike(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Refuses tensors that are not those expected.

    Args:
        what: whose they are, for the message: "the server's model".

    Raises:
        BadInput: other names or shapes, or values that are not finite; the message names the first fault.
    """
    for name in expected:
        if name not in found:
            raise BadInput(f"{what}: {name} is missing")
    for name, value in found.items():
        if name not in expected:
            raise BadInput(f"{what}: there is a {name!r} that nobody asked for")
        if value.shape != expected[name].shape:
            raise BadInput(f"{what}: {name} has shape {tuple(value.shape)}, not {tuple(expected[name].shape)}")
        if value is not expected[name] and not all_finite(value):  # the very same tensor was looked at before
            raise BadInput(f"{what}: {name} holds values that are not finite")
