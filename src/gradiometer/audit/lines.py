"""The lines of `results.jsonl`: what each kind of trial records. A file that says anything else is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


@with_config(_STRICT)
class Header(TypedDict):
    """The first line: what the run belongs to."""

    schema: int
    version: str
    plan: str
    clients: dict[str, str]
    code: str


@with_config(_STRICT)
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


@with_config(_STRICT)
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


@with_config(_STRICT)
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


@with_config(_STRICT)
class Piece(TypedDict):
    """`schema.Token`."""

    text: str
    right: bool


@with_config(_STRICT)
class Quoted(TypedDict):
    """One sentence and what came back of it, masked already where the data are not public."""

    truth: list[Piece]
    guess: list[Piece]


@with_config(_STRICT)
class Sketched(TypedDict):
    """`schema_shown.Sketch`."""

    names: list[str]
    edges: list[list[Count]]


@with_config(_STRICT)
class Drawn(TypedDict):
    """One graph and what came back of it, without names and edges where the data are not public."""

    truth: Sketched | None
    guess: Sketched
    places: list[Count | None]
    right: list[bool]
    edges: list[Count]


@with_config(_STRICT)
class Presence(TypedDict):
    """`metrics.PresenceScore` of one batch."""

    there: bool
    said: bool
    blind: bool
    score: float


@with_config(_STRICT)
class Labels(TypedDict):
    """`metrics.LabelScore` of one batch, or `metrics.WordScore`."""

    overlap: Share
    blind: Share
    exact: bool


@with_config(_STRICT)
class Training(TypedDict):
    """A short federated training."""

    correct: Count
    tested: Annotated[int, Field(ge=1)]
    majority: Share
    accuracy: list[Share]
    seconds: float
    uplink_bytes: Count


@with_config(_STRICT)
class Claims(TypedDict):
    """What an attack claims of a captured update."""

    pictures: NotRequired[Count]
    sentences: NotRequired[Count]
    graphs: NotRequired[Count]
    words: NotRequired[Count]
    labels: NotRequired[list[int]]
    mismatch: float | None
    noise_mismatch: float | None


Scores = Annotated[list[Score] | list[SentenceScore] | list[GraphScored], Field(min_length=1)]


class _Trial(TypedDict):
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    client: str
    defense: str
    attack: str
    informed: bool
    batch: Count
    reason: str
    seconds: float


@with_config(_STRICT)
class Ended(_Trial):
    """A trial without figures, and why."""

    kind: Literal["attack", "decoy", "control", "defense"]
    status: Literal["not_applicable", "missing_knowledge", "failed"]
    cause: NotRequired[str]


@with_config(_STRICT)
class Attacked(_Trial):
    """An attack on one batch, its figures and those of its guess from pure noise."""

    kind: Literal["attack"]
    status: Literal["ok"]
    attack_seconds: float
    objective: float | None
    curve: list[float | None]
    noise_refused: str
    probe: list[float | None] | None
    guess: str
    unaltered: bool
    ignores: bool
    notes: dict[str, Any]
    examples: NotRequired[Scores]
    noise: NotRequired[Scores]
    labels: NotRequired[Labels]
    noise_labels: NotRequired[Labels]
    presence: NotRequired[Presence]
    words: NotRequired[Labels]
    claims: NotRequired[Claims]
    pictures: NotRequired[Annotated[str, Field(pattern=r"^[0-9a-f]{16}\.safetensors$")]]
    pictures_hash: NotRequired[str]
    blurred: NotRequired[bool]
    quotes: NotRequired[list[Quoted]]
    drawings: NotRequired[list[Drawn]]
    masked: NotRequired[bool]


@with_config(_STRICT)
class Decoyed(_Trial):
    """An attack that read another batch's update."""

    kind: Literal["decoy"]
    status: Literal["ok"]
    examples: NotRequired[Scores]
    labels: NotRequired[Labels]
    words: NotRequired[Labels]
    presence: NotRequired[Presence]


@with_config(_STRICT)
class Looked(TypedDict):
    """What the generator of an attack can show, and of whom."""

    card: str
    public: float | None
    blind: float | None
    private: float | None
    surprise: float | None
    copies: Count


@with_config(_STRICT)
class Controlled(_Trial):
    """An attack on an easy victim."""

    kind: Literal["control"]
    status: Literal["ok"]
    victim: str
    passed: bool
    figure: float | None
    threshold: float | None
    unit: str
    why: str
    generator: NotRequired[Looked]


@with_config(_STRICT)
class Priced(_Trial):
    """What a defense does and costs."""

    kind: Literal["defense"]
    status: Literal["ok"]
    looked: Count
    changed: Count
    copies: Count
    random: bool
    bytes: Count
    raw_bytes: Count
    epsilon: float | None
    training: Training | None


HEADER: TypeAdapter[Any] = TypeAdapter(Header)
LINE: TypeAdapter[Any] = TypeAdapter(Attacked | Decoyed | Controlled | Priced | Ended)
