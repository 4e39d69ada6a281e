"""Error feedback: what compression left out of one round is added to the next."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gradiometer.core import BadConfig, Memory, Values

_FIX = "set error_feedback = false where clients train parts of the model"


def with_feedback(values: Values, memory: Memory, compress: Callable[[Values], Values]) -> dict[str, Tensor]:
    """Sends compress(v + e) and remembers e <- v + e - sent. The sum of all that is sent is the sum of all v less e."""
    left = memory.get("residual")
    if left is not None and any(left[name].shape != value.shape for name, value in values.items()):
        raise BadConfig("what was left out of one part of the model cannot be added to another part", fix=_FIX)
    total = dict(values) if left is None else {name: value + left[name] for name, value in values.items()}
    sent = dict(compress(total))
    memory["residual"] = {name: total[name] - sent[name] for name in sent}
    return sent
