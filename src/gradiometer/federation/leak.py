"""What attacks read off one update of a running federation, judged by whoever holds the examples behind it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch

from gradiometer.core import (
    Attack,
    Data,
    Defense,
    Guess,
    Threat,
    Update,
    spawn,
)
from gradiometer.metrics import score, score_labels

from .rounds import reason


@dataclass(frozen=True, kw_only=True)
class Leak:
    """One attack on one update.

    Args:
        round: of the update, from 0. examples: behind it.
        psnr: of the best recovered picture, in dB; identified: how many pictures retrieve their example; gain: the best
            picture's lead over the blind guess, in dB. None where the attack gives no pictures.
        labels, blind_labels: overlap of recovered and true labels, and of the best blind guess; None without labels.
        seconds: of the attack.
        reason: why there is nothing, where there is nothing.
    """

    attack: str
    round: int
    examples: int
    psnr: float | None = None
    gain: float | None = None
    identified: int | None = None
    labels: float | None = None
    blind_labels: float | None = None
    seconds: float = 0.0
    reason: str = ""

    def told(self) -> dict[str, Any]:
        """As JSON-like data."""
        return asdict(self)


def leaks(
    update: Update,
    data: Data,
    attacks: Sequence[Attack],
    *,
    rng: torch.Generator,
    threat: Threat = Threat(),  # noqa: B008 - a frozen value
    defense: Defense | None = None,
    budget: float | None = None,
) -> list[Leak]:
    """Attacks an update as its observer would, and compares with the truth.

    Args:
        data: `private` are exactly the examples behind the update; the rest is as in an audit.
        threat: what the observer is granted.
        defense: attacks are adapted to it where they can be; None: the observer knows of none.
        budget: seconds for all attacks. None is started afterwards, and optimizing ones stop in time; an exact attack
            that has begun is finished.
    """
    seen = update.replace(labels=data.private.get("y"), public=data.public, batch_size=data.private.size).under(threat)
    ends = None if budget is None else time.monotonic() + budget
    found = []
    for attack in attacks:
        name, left = type(attack).__name__, None if ends is None else ends - time.monotonic()
        bare = Leak(attack=name, round=update.round, examples=data.private.size)
        own = spawn(rng)
        if left is not None and left <= 0:
            found.append(replace(bare, reason="the time was spent"))
            continue
        adapted = defense.informed(attack, clients=update.clients) if defense is not None else None
        started = time.perf_counter()
        try:
            guess = _in_time(adapted or attack, left).run(seen, own)
            spent = time.perf_counter() - started
            found.append(replace(_judged(bare, guess, data, own), seconds=spent))
        except Exception as error:  # attacks may be anybody's code, and must not end a training
            found.append(replace(bare, seconds=time.perf_counter() - started, reason=reason(error)))
    return found


def _in_time(attack: Attack, left: float | None) -> Attack:
    """An optimizing attack has a limit of its own, `seconds`."""
    if left is None or "seconds" not in {field.name for field in fields(attack)}:
        return attack
    limit: float | None = attack.seconds  # type: ignore[attr-defined]
    changes: dict[str, Any] = {"seconds": left if limit is None else min(limit, left)}
    return replace(attack, **changes)


def _judged(bare: Leak, guess: Guess, data: Data, rng: torch.Generator) -> Leak:
    told = bare
    if "x" in guess:
        scores = score(guess, data.private, data, rng=rng)
        best = max(scores, key=lambda one: one.psnr)
        told = replace(told, psnr=best.psnr, gain=best.gain, identified=sum(one.identified for one in scores))
    if "y" in guess or "present" in guess:
        labels = score_labels(guess, data.private, data)
        told = replace(told, labels=labels.overlap, blind_labels=labels.blind)
    return told
