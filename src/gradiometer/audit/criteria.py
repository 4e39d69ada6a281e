"""When an example counts as leaked. The figures are ours; they are fixed here, stated in every report, and never tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradiometer.numerics.intervals import wilson

from .schema import Severity

GAIN = 3.0
"""dB over the best blind baseline, the attack's own guess from pure noise among them: half the squared error."""
CLEAR = 30.0
"""dB PSNR from which on a picture shows fine detail."""
EXACT = 100.0
"""dB PSNR from which on a picture is the original up to rounding."""

OVER = 0.25
"""ROUGE-L over the best blind baseline, the attack's own guess from pure noise among them: a quarter of a sentence."""

ORDER: tuple[Severity, ...] = ("none", "low", "medium", "high", "critical")


def picture_level(score: Mapping[str, Any]) -> Severity:
    """`critical`: identified among the candidates, gain >= 3 dB, PSNR >= 30 dB. `high`: identified, gain >= 3 dB.

    A picture that beats the blind guess but retrieves another example, or retrieves the right one while no blind guess
    would do worse, is no leak.
    """
    if not (score["identified"] and score["gain"] >= GAIN):
        return "none"
    return "critical" if score["psnr"] >= CLEAR else "high"


def sentence_level(score: Mapping[str, Any]) -> Severity:
    """`critical`: every token right, where no blind guess says the sentence. `high`: identified, ROUGE-L 0.25 above the blind guess.

    Sentences from a template share most of their words: as with pictures, what singles out no true sentence is no leak.
    """
    if not (score["identified"] and score["gain"] > 0):
        return "none"
    if score["exact"]:
        return "critical"
    return "high" if score["gain"] >= OVER else "none"


def graph_level(score: Mapping[str, Any]) -> Severity:
    """`critical`: the same graph. `high`: another one with the same gradient, the best that anybody can read off this update.

    Either where no blind guess is as alike: what anybody would have guessed is no leak. Half a graph is none, and is not counted.
    """
    if not (score["exact"] or score["equivalent"]) or score["gain"] <= 0:
        return "none"
    return "critical" if score["exact"] else "high"


def learns(training: Mapping[str, Any] | None) -> bool:
    """Whether the undefended training beats always naming the commonest class; if not, its accuracies compare nothing."""
    return training is not None and wilson(training["correct"], training["tested"]).lower > training["majority"]


def worst(levels: Any) -> Severity:
    """The gravest of some severities; `none` of none."""
    return max(levels, key=ORDER.index, default="none")
