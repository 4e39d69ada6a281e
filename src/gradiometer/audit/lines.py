"""The lines of `results.jsonl`: what each kind of trial records. A file that says anything else is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from .lines_judged import STRICT, Count, Drawn, Labels, Presence, Quoted, Scores, Share


@with_config(STRICT)
class Header(TypedDict):
    """The first line: what the run belongs to."""

    schema: int
    version: str
    plan: str
    clients: dict[str, str]
    code: str


@with_config(STRICT)
class Training(TypedDict):
    """A short federated training."""

    correct: Count
    tested: Annotated[int, Field(ge=1)]
    majority: Share
    accuracy: list[Share]
    seconds: float
    uplink_bytes: Count


@with_config(STRICT)
class Claims(TypedDict):
    """What an attack claims of a captured update."""

    pictures: NotRequired[Count]
    sentences: NotRequired[Count]
    graphs: NotRequired[Count]
    words: NotRequired[Count]
    labels: NotRequired[list[int]]
    mismatch: float | None
    noise_mismatch: float | None


class _Trial(TypedDict):
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    client: str
    defense: str
    attack: str
    informed: bool
    batch: Count
    reason: str
    seconds: float


@with_config(STRICT)
class Ended(_Trial):
    """A trial without figures, and why."""

    kind: Literal["attack", "decoy", "control", "defense"]
    status: Literal["not_applicable", "missing_knowledge", "failed"]
    cause: NotRequired[str]


@with_config(STRICT)
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


@with_config(STRICT)
class Decoyed(_Trial):
    """An attack that read another batch's update."""

    kind: Literal["decoy"]
    status: Literal["ok"]
    examples: NotRequired[Scores]
    labels: NotRequired[Labels]
    words: NotRequired[Labels]
    presence: NotRequired[Presence]


@with_config(STRICT)
class Looked(TypedDict):
    """What the generator of an attack can show, and of whom."""

    card: str
    public: float | None
    blind: float | None
    private: float | None
    surprise: float | None
    copies: Count


@with_config(STRICT)
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


@with_config(STRICT)
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
