"""Parts of lines of `results.jsonl`: how a guess was judged, and what is shown of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


@with_config(STRICT)
class Score(TypedDict):
    """`metrics.ExampleScore` of one example."""

    mse: float
    psnr: float
    ssim: float
    rank: Count
    candidates: Count
    identified: bool
    blind_psnr: float
    blind_name: str
    blind_identified: bool
    nearest_psnr: float | None
    noise_psnr: float | None
    oracle_psnr: float | None
    gain: float
    matched: bool
    guess: Count | None


@with_config(STRICT)
class SentenceScore(TypedDict):
    """`metrics.TextScore` of one sentence."""

    rouge1: Share
    rouge2: Share
    rouge_l: Share
    accuracy: Share
    exact: bool
    rank: Count
    candidates: Count
    identified: bool
    blind_rouge_l: Share
    blind_name: str
    noise_rouge_l: Share | None
    gain: float
    matched: bool
    guess: Count | None


@with_config(STRICT)
class GraphScored(TypedDict):
    """`metrics.GraphScore` of one graph."""

    gsm0: Share
    gsm1: Share
    gsm2: Share
    gsm: Share
    edges: Share
    exact: bool
    equivalent: bool | None
    rank: Count
    candidates: Count
    identified: bool
    blind_gsm: Share
    blind_name: str
    noise_gsm: Share | None
    gain: float
    matched: bool
    guess: Count | None


@with_config(STRICT)
class Piece(TypedDict):
    """`schema.Token`."""

    text: str
    right: bool


@with_config(STRICT)
class Quoted(TypedDict):
    """One sentence and what came back of it, masked already where the data are not public."""

    truth: list[Piece]
    guess: list[Piece]


@with_config(STRICT)
class Sketched(TypedDict):
    """`schema_shown.Sketch`."""

    names: list[str]
    edges: list[list[Count]]


@with_config(STRICT)
class Drawn(TypedDict):
    """One graph and what came back of it, without names and edges where the data are not public."""

    truth: Sketched | None
    guess: Sketched
    places: list[Count | None]
    right: list[bool]
    edges: list[Count]


@with_config(STRICT)
class Presence(TypedDict):
    """`metrics.PresenceScore` of one batch."""

    there: bool
    said: bool
    blind: bool
    score: float


@with_config(STRICT)
class Labels(TypedDict):
    """`metrics.LabelScore` of one batch, or `metrics.WordScore`."""

    overlap: Share
    blind: Share
    exact: bool


Scores = Annotated[list[Score] | list[SentenceScore] | list[GraphScored], Field(min_length=1)]
