"""The result of an audit: one versioned record. Every report is a rendering of it and of nothing else."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .record import Record
from .schema_shown import Drawing, Picture, Quote

SCHEMA_VERSION: Literal[1] = 1

Verdict = Literal["LEAKS", "HOLDS", "INCONCLUSIVE"]
Severity = Literal["critical", "high", "medium", "low", "none"]
Status = Literal["ok", "not_applicable", "missing_knowledge", "failed", "skipped", "inconclusive"]


class Estimate(Record):
    """A figure with its 95 % interval, how many examples stand behind it, and how the interval was made."""

    value: float
    lower: float
    upper: float
    n: int
    method: str = ""


class DataInfo(Record):
    name: str
    source: str = ""
    license: str = ""
    public: bool = False


class MeterLayer(Record):
    """Equations and unknowns of one layer's input; rank and gap of its gradient where it has shift structure, else 0."""

    where: str
    shape: list[int]
    unknowns: int
    missing: int
    rank: int = 0
    gap: float = 0.0


class Meter(Record):
    """What the best exact attack is predicted to reach on an undefended update of this client; `examples` 0: not read.

    `noise`: up to which standard deviation of an entry, in units of the gradient's root mean square, exactness is predicted
    to survive, and at which it has ended.
    """

    verdict: Literal["exact", "partial", "not"]
    reason: str = ""
    examples: int = 0
    layers: list[MeterLayer] = Field(default_factory=list)
    attack: str = "Recursive"
    noise: tuple[float, float] | None = None


class ClientInfo(Record):
    """What was audited: the victim's side."""

    name: str
    model: str
    parameters: int
    recipe: dict[str, Any]
    layout: dict[str, Any]
    data: DataInfo
    classes: list[str] = Field(default_factory=list)
    meter: Meter | None = None


class ThreatInfo(Record):
    """Who was assumed to look on."""

    name: str
    letter: str
    granted: list[str]
    withheld: list[str]
    clients: int = 1
    rounds: int = 1


class Cost(Record):
    """What a defense costs. None: not measured."""

    bytes: int | None = None
    bytes_ratio: float | None = None
    seconds: float | None = None
    accuracy: Estimate | None = None
    accuracy_undefended: Estimate | None = None
    epsilon: float | None = None


class Cell(Record):
    """One attack against one defense of one client, over all examples."""

    client: str
    defense: str
    attack: str
    informed: bool
    generative: bool = False
    status: Status
    reason: str = ""
    rate: Estimate | None = None
    words: Estimate | None = None
    blind_words: Estimate | None = None
    psnr: Estimate | None = None
    ssim: Estimate | None = None
    identification: Estimate | None = None
    labels: Estimate | None = None
    auc: Estimate | None = None
    blind_psnr: Estimate | None = None
    blind_labels: Estimate | None = None
    noise_psnr: Estimate | None = None
    oracle_psnr: Estimate | None = None
    rouge1: Estimate | None = None
    rouge2: Estimate | None = None
    rouge_l: Estimate | None = None
    accuracy: Estimate | None = None
    blind_rouge_l: Estimate | None = None
    noise_rouge_l: Estimate | None = None
    gsm0: Estimate | None = None
    gsm1: Estimate | None = None
    gsm2: Estimate | None = None
    gsm: Estimate | None = None
    edges: Estimate | None = None
    blind_gsm: Estimate | None = None
    noise_gsm: Estimate | None = None
    gain: Estimate | None = None
    blind_rate: float | None = None
    exact: int | None = None
    equivalent: int | None = None
    causes: dict[str, int] = Field(default_factory=dict)
    cpu_seconds: float | None = None
    curve: list[float] = Field(default_factory=list)


class Row(Record):
    """The verdict on one defense of one client: the worst attack of every example counts.

    `rate` carries a two-sided interval; `bounds` the exact one-sided ones that the verdict rests on. `examples` is what
    one calls several of them: pictures, sentences, graphs.
    """

    client: str
    defense: str
    settings: dict[str, Any] = Field(default_factory=dict)
    examples: str = "pictures"
    verdict: Verdict
    level: Severity
    reasons: list[str] = Field(default_factory=list)
    rate: Estimate | None = None
    bounds: Estimate | None = None
    blind_rate: float | None = None
    tolerance: float = 0.1
    more_examples: int | None = None
    worst_attack: str = ""
    worst_informed: bool = False
    cost: Cost = Field(default_factory=Cost)


class Control(Record):
    """The same attack without defense on an easy victim. If it fails, the attack's silence proves nothing."""

    attack: str
    passed: bool
    figure: float | None = None
    threshold: float | None = None
    unit: str = ""
    reason: str = ""


class Check(Record):
    """One test of the evaluation itself."""

    name: str
    ok: bool
    where: str = ""
    detail: str = ""


class Finding(Record):
    """Something to act on."""

    id: str
    severity: Severity
    title: str
    detail: str
    client: str
    defense: str = ""
    attack: str = ""
    rate: Estimate | None = None
    fix: str = ""


class Recommendation(Record):
    """The cheapest defense that held, for one client; `defense` is empty where none did.

    `ranked` has all defenses that were tried, the first to deploy first, with what was shown of each.
    """

    client: str
    defense: str
    text: str
    ranked: list[str] = Field(default_factory=list)


class Result(Record):
    """Everything that an audit found."""

    schema_version: Literal[1] = 1
    tool: str = "gradiometer"
    version: str
    title: str
    created: str
    seconds: float
    command: str
    seed: int
    plan: dict[str, Any]
    plan_hash: str
    environment: dict[str, str]
    complete: bool = True
    verdict: Verdict
    level: Severity
    headline: str
    threat: ThreatInfo
    clients: list[ClientInfo]
    rows: list[Row]
    cells: list[Cell]
    findings: list[Finding]
    recommendations: list[Recommendation]
    gallery: list[Picture] = Field(default_factory=list)
    quotes: list[Quote] = Field(default_factory=list)
    drawings: list[Drawing] = Field(default_factory=list)
    controls: list[Control] = Field(default_factory=list)
    checks: list[Check] = Field(default_factory=list)
    not_tried: list[str] = Field(default_factory=list)

    @property
    def worst(self) -> Estimate:
        """The leak rate of the worst row with its exact one-sided bounds; [0, 1] where nothing was measured.

        `assert audit(...).worst.upper < 0.05` holds a pipeline to its defense.
        """
        unknown = Estimate(value=0.0, lower=0.0, upper=1.0, n=0, method="nothing was measured")
        return max((row.bounds or unknown for row in self.rows), key=lambda bounds: bounds.upper, default=unknown)
