"""A captured update without the truth beside it: what attacks claim of it, and whether the claims explain the update."""

from __future__ import annotations

from typing import Any

import torch

from gradiometer.core import Batch, Guess, Update, derive, simulate

from .modality import modality


def claims(update: Update, guess: Guess, noise: Guess | None) -> dict[str, Any]:
    """The examples and labels that the attack claims, and how much of the update its guess leaves unexplained.

    `mismatch` is ||simulated - sent||² / ||sent||² of the guess put back through the client's code: 0 explains all, 1 is
    no better than nothing. `noise_mismatch` is that of the attack's guess from pure noise.
    """
    kind = modality(update.layout)
    told: dict[str, Any] = {kind.many: len(guess[kind.field]) if kind.field in guess else 0}
    if "bag" in guess:
        told["words"] = len(guess["bag"])
    if "y" in guess:
        told["labels"] = guess["y"].tolist()
    labels = guess.tensors.get("y", update.labels)
    return told | {
        "mismatch": _mismatch(update, guess, labels),
        "noise_mismatch": noise and _mismatch(update, noise, labels),
    }


def _mismatch(update: Update, guess: Guess, labels: torch.Tensor | None) -> float | None:
    if update.model is None or update.loss is None or update.recipe is None:
        return None
    needed = [name for name in update.layout if name != "y"]
    if any(name not in guess for name in needed):
        return None
    inputs = Batch({name: guess[name] for name in needed})
    if "y" in update.layout and (labels is None or len(labels) != inputs.size):
        return None
    batch = inputs.replace(y=labels) if labels is not None and "y" in update.layout else inputs
    sent = simulate(update.model, update.loss, update.recipe, batch, rng=derive(0, "claims")).values
    error = sum(float((sent[name] - value).square().sum()) for name, value in update.values.items())
    return error / max(sum(float(value.square().sum()) for value in update.values.values()), 1e-30)
