"""Modality: what an audit shows, scores and says, by what the private examples are. A row each; nothing else branches on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from gradiometer.core import (
    Batch,
    Client,
    Layout,
    Loss,
    cross_entropy,
    graph_cross_entropy,
    next_token_cross_entropy,
    node_cross_entropy,
    sequence_cross_entropy,
)
from gradiometer.metrics import ExampleScore, GraphScore, TextScore, score, score_graph, score_text
from gradiometer.metrics.graph import graph_print
from gradiometer.metrics.score_graph import graphs

from .criteria import CLEAR, EXACT, GAIN, OVER, graph_level, picture_level, sentence_level
from .schema import Severity

Score = Mapping[str, Any]
Scorer = Callable[..., Sequence[ExampleScore | TextScore | GraphScore]]


@dataclass(frozen=True, kw_only=True)
class Modality:
    """One kind of private examples.

    Args:
        one, many: what reports call an example, and several.
        field, kind: name and kind of the tensor that is recovered.
        prints: the examples of a batch as bytes; those of one example are equal.
        quality: the figure by which examples are ranked; only this modality's scores have it. unit: behind its value.
        figures: whose medians a report tells.
        scorer: of a client; scores every true example by `(guess, truth, data, rng=, candidates=, noise_guess=)`.
        level: how gravely an example with this score leaked; exact: whether it came back whole.
        criterion: the level in words.
        loss: what `loss = "cross_entropy"` means for this layout.
        given: arguments of a model that the layout tells.
    """

    one: str
    many: str
    field: str
    kind: str
    prints: Callable[[Batch], list[bytes]]
    quality: str
    unit: str
    figures: tuple[str, ...]
    scorer: Callable[[Client], Scorer]
    level: Callable[[Score], Severity]
    exact: Callable[[Score], bool]
    criterion: str
    loss: Callable[[Layout], Loss]
    given: Callable[[Layout], dict[str, Any]]

    def told(self, value: float) -> str:
        """The quality of an example, for people."""
        return f"{value:.1f} dB" if self.unit == "dB" else f"{self.unit} {value:.2f}"


def _picture_model(layout: Layout) -> dict[str, Any]:
    return {"shape": layout["x"].shape if "x" in layout else None, "classes": _classes(layout)}


def _text_model(layout: Layout) -> dict[str, Any]:
    ids = layout["input_ids"]
    return {"vocabulary": ids.classes, "length": ids.shape[0], "classes": _classes(layout)}


def _graph_model(layout: Layout) -> dict[str, Any]:
    label = layout.get("y")
    per_node = bool(label and label.shape)
    return {"features": layout["nodes"].shape[1], "classes": _classes(layout), "per_node": per_node}


def _classes(layout: Layout) -> int | None:
    return layout["y"].classes if "y" in layout else None


def _bytes(examples: Tensor) -> list[bytes]:
    return [row.numpy().tobytes() for row in examples.detach().cpu().contiguous()]


MODALITIES = (
    Modality(
        one="picture",
        many="pictures",
        field="x",
        kind="pixels",
        prints=lambda batch: _bytes(batch["x"]),
        quality="psnr",
        unit="dB",
        figures=("psnr", "ssim", "blind_psnr", "gain"),
        scorer=lambda client: score,
        level=picture_level,
        exact=lambda one: bool(one["psnr"] >= EXACT),
        criterion=f"a picture leaks if it is identified among the candidates and beats the best blind guess by {GAIN:g} dB; "
        f"critical from {CLEAR:g} dB PSNR",
        loss=lambda layout: cross_entropy,
        given=_picture_model,
    ),
    Modality(
        one="sentence",
        many="sentences",
        field="input_ids",
        kind="token",
        prints=lambda batch: _bytes(batch["input_ids"]),
        quality="rouge_l",
        unit="ROUGE-L",
        figures=("rouge1", "rouge2", "rouge_l", "accuracy", "blind_rouge_l", "gain"),
        scorer=lambda client: score_text,
        level=sentence_level,
        exact=lambda one: bool(one["exact"]),
        criterion="a sentence leaks if it is identified among the candidates and its ROUGE-L beats that of the best blind guess "
        f"by {OVER:g}; critical if every token is right",
        loss=lambda layout: sequence_cross_entropy if "y" in layout else next_token_cross_entropy,
        given=_text_model,
    ),
    Modality(
        one="graph",
        many="graphs",
        field="nodes",
        kind="blocks",
        prints=lambda batch: [graph_print(one) for one in graphs(batch)],
        quality="gsm",
        unit="GSM",
        figures=("gsm0", "gsm1", "gsm2", "gsm", "edges", "blind_gsm", "gain"),
        scorer=lambda client: partial(score_graph, client=client),
        level=graph_level,
        exact=lambda one: bool(one["exact"]),
        criterion="a graph leaks if the same graph comes back, up to the order of nodes (critical), or another one with the same "
        "gradient, which nobody can tell from it (high), where no blind guess is as alike",
        loss=lambda layout: node_cross_entropy if "y" in layout and layout["y"].shape else graph_cross_entropy,
        given=_graph_model,
    ),
)
GIVEN = ("shape", "vocabulary", "length", "features", "per_node", "classes")
"""Arguments of models that data tell, whatever the modality."""


def modality(layout: Layout) -> Modality:
    """What examples of this layout are; pictures where nothing else fits, for these attacks say why they do not apply."""
    fits = (row for row in MODALITIES if row.field in layout and layout[row.field].kind == row.kind)
    return next(fits, MODALITIES[0])


def judged_as(one: Score) -> Modality:
    """The modality that made a score."""
    return next(row for row in MODALITIES if row.quality in one)


def level_of(one: Score) -> Severity:
    """How gravely an example with this score leaked."""
    return judged_as(one).level(one)
