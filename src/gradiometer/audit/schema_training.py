"""The result of a federated training: one versioned record, `training.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .record import Record
from .schema import Estimate

TRAINING_VERSION: Literal[1] = 1


class TrainedRound(Record):
    """After one round. Accuracies are None where they were not measured.

    `worst` is the lowest accuracy on a member's own held-out examples, `seconds` wall time without measuring. `clients` are
    in the mean, 0 in a lost round. `aggregation_seconds` is CPU time of secure aggregation, members and server together;
    `clipped` the greatest share of one message's entries that it cut.
    """

    number: int
    accuracy: float | None
    worst: float | None
    worst_member: str | None
    uplink_bytes: int
    seconds: float
    defense_seconds: float
    refused: dict[str, str] = Field(default_factory=dict)
    clients: int = 0
    aggregation_seconds: float = 0.0
    clipped: float = 0.0


class TrainedLeak(Record):
    """One attack on one recorded update; see `federation.leak.Leak`. None: the attack gives no such thing.

    `member` is None where the update is the sum over all.
    """

    attack: str
    round: int
    member: int | None
    examples: int
    psnr: float | None
    gain: float | None
    identified: int | None
    labels: float | None
    blind_labels: float | None
    seconds: float
    reason: str


class Trained(Record):
    """One training: all members behind the same defense.

    Args:
        first: accuracy before the first round. accuracy: after the last one, with its interval.
        epsilon: of all rounds together at delta = 1e-5, where the defense proves one; of every `message`, or of the `sum`
            over members alone, as `epsilon_of` says.
        to_target: rounds until the plan's target was reached; None: not reached, or no target.
        error: why training stopped early, empty where it did not.
        aggregation_seconds, clipped: of all rounds, and of the worst; see `TrainedRound`.
        updates: recorded, relative to the run folder. leaks: what the plan's attacks read off them.
    """

    defense: str
    first: float | None
    accuracy: Estimate | None
    worst: float | None
    worst_member: str | None
    to_target: int | None
    uplink_bytes: int
    seconds: float
    defense_seconds: float
    epsilon: float | None
    epsilon_of: Literal["message", "sum"] = "message"
    aggregation_seconds: float = 0.0
    clipped: float = 0.0
    error: str = ""
    rounds: list[TrainedRound]
    updates: list[str]
    leaks: list[TrainedLeak] = Field(default_factory=list)


class Alone(Record):
    """The member that reaches most by itself, undefended, in as many rounds. The best of all: a little too good by luck."""

    member: str
    accuracy: Estimate
    of: int


class TrainingResult(Record):
    """All trainings of a plan.

    Args:
        strategy: with its settings. split: how examples were dealt, in words. examples: each member trains on.
        aggregation: what the server is shown in place of every message, empty where it sees all; dropout: chance of every
            member to answer no more in a round.
        majority: accuracy of always naming the commonest class of the test examples.
        alone: what a federation must beat; None where it was not measured.
    """

    version: Literal[1] = TRAINING_VERSION
    title: str
    seed: int
    model: str
    parameters: int
    strategy: str
    aggregation: str = ""
    dropout: float = 0.0
    split: str
    members: dict[str, int]
    planned: int
    target: float | None
    majority: float | None
    alone: Alone | None = None
    runs: list[Trained]
    environment: dict[str, str]
    command: str = ""
