"""The positive control: an attack that fails even on an easy victim proves nothing by failing on a hard one."""

from __future__ import annotations

from dataclasses import asdict, replace
from statistics import median
from typing import Any

from gradiometer.core import (
    Attack,
    Client,
    Data,
    NotApplicable,
    Recipe,
    Threat,
    Unsupported,
    derive,
    play,
)
from gradiometer.metrics import score, score_labels

GAIN = 3.0
"""A control passes if the median picture is at least this many dB better than the best blind guess,"""
OVERLAP = 0.9
"""or if the labels found overlap at least this much with the true ones."""
ROUNDS = 3


def positive(attack: Attack, recipe: Recipe, threat: Threat, seed: int) -> dict[str, Any]:
    """The attack without any defense on small victims, batch 1, under the same threat: the first that it can read.

    Returns:
        `figure`, `threshold`, `unit`, `passed`, and the victim's name.

    Raises:
        NotApplicable: it can read none of them.
    """
    from gradiometer.data import digits

    data = digits()
    refused: NotApplicable | Unsupported | None = None
    for name, client in _victims(data, recipe):
        try:
            return {"victim": name, **_tried(attack, client, data, threat, seed)}
        except (NotApplicable, Unsupported) as error:
            refused = refused or error
    assert refused is not None
    raise refused


def _victims(data: Data, recipe: Recipe) -> list[tuple[str, Client]]:
    from gradiometer.models import lenet, mlp, resnet20

    shape, classes = data.layout["x"].shape, data.layout["y"].classes or 10
    easy = Recipe(sends=recipe.sends, lr=recipe.lr, shares_buffers=True, examples=1)
    made = {
        "sigmoid MLP on digits": mlp(shape, classes, widths=(32,), activation="sigmoid"),  # type: ignore[arg-type]
        "LeNet on digits": lenet(shape, classes),  # type: ignore[arg-type]
        "ResNet20 on digits": resnet20(shape, classes),  # type: ignore[arg-type]
    }
    return [(name, Client(model=model, layout=data.layout, recipe=easy)) for name, model in made.items()]


def _tried(attack: Attack, client: Client, data: Data, threat: Threat, seed: int) -> dict[str, Any]:
    threat = replace(threat, rounds=1)
    gains, overlaps = [], []
    for i in range(ROUNDS):
        batch = data.private.take([i])
        update = play(client, batch, rng=derive(seed, "control", i), threat=threat, attack=attack, public=data.public)
        guess = attack.run(update, derive(seed, "control attack", i))
        if "x" in guess:
            gains += [asdict(s)["gain"] for s in score(guess, batch, data, rng=derive(seed, "control score", i))]
        if "y" in guess:
            overlaps.append(score_labels(guess, batch, data).overlap)
    if gains:
        figure, threshold, unit = median(gains), GAIN, "dB over the best blind guess"
    elif overlaps:
        figure, threshold, unit = sum(overlaps) / len(overlaps), OVERLAP, "share of the labels"
    else:
        return {"passed": False, "figure": None, "threshold": None, "unit": "", "why": "it guessed nothing at all"}
    why = "" if figure >= threshold else f"{figure:.2f} {unit} on an easy victim, where {threshold:g} is due"
    return {"passed": figure >= threshold, "figure": figure, "threshold": threshold, "unit": unit, "why": why}
