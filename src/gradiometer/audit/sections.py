"""The tables of a plan file: one client, the audit's settings, and the short training behind the price."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def seconds(value: Any) -> Any:
    """`"2min"`, `"90s"`, `"1.5h"` or plain seconds, as seconds.

    >>> seconds("2min")
    120.0
    """
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|sec|min|m|h)?\s*", value)
    if not match:
        raise ValueError('a duration is written "90s", "2min" or "1h"')
    return float(match[1]) * {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}[match[2] or "s"]


def usable_device(name: str) -> str:
    """The name of a device that is here."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError('a device is written as torch names it: "cpu", "cuda", "cuda:0", "mps"') from None
    if device.type == "cpu":
        return name
    there = torch.accelerator.is_available() and torch.accelerator.current_accelerator()
    count = torch.accelerator.device_count() if there else 0
    if not there or there.type != device.type or (device.index or 0) >= count:
        found = f"{there.type}, {count} of them" if there else "cpu"
        raise ValueError(f"no such device here; there is {found}")
    return name


class Section(BaseModel):
    """A table of a plan: no unknown settings, no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())


class ClientSpec(Section):
    """One audited client.

    Either `target = "package.module:function"`, which returns a `Client` and its `Data`; or a captured update with the
    model it belongs to; or a built-in model on built-in data with a recipe.

    Args:
        examples: private examples that are attacked; None: as many as `[audit] examples`.
        attacks, defenses: which of the plan's meet this client, by the labels or names that reports call them; None: all.
    """

    name: str = Field(min_length=1)
    target: str | None = None
    update: str | None = None
    model: str | dict[str, Any] | None = None
    data: str | dict[str, Any] | None = None
    recipe: dict[str, Any] = Field(default={})
    loss: str = "cross_entropy"
    trained_steps: int = Field(default=0, ge=0)
    examples: int | None = Field(default=None, ge=1)
    attacks: list[str] | None = None
    defenses: list[str] | None = None


class AuditSettings(Section):
    """What is tried and how it is judged.

    Args:
        examples: private examples that are attacked, in batches of the client's `recipe.examples`.
        candidates: among how many private examples a guess must retrieve its own (identification).
        tolerance: a defense holds if the leak rate is shown to be below this.
        undefended: also attack the client without any defense.
        informed: also attack each defense with somebody who knows it.
        controls: try every attack on an easy victim first.
        budget: wall time after which no further trial is started, or None.
        device: where attacks compute, as torch names it: `cpu`, `cuda`, `cuda:1`, `mps`.
        jobs: single-threaded processes; 0 takes one per core.
        fail_on: from which severity on a finding makes the exit code 1.
        gallery: `blur` (pictures blurred unless the data card is public), `full`, or `none`.
    """

    examples: int = Field(default=30, ge=1)
    candidates: int = Field(default=100, ge=2)
    tolerance: float = Field(default=0.1, gt=0, lt=1)
    undefended: bool = True
    informed: bool = True
    controls: bool = True
    budget: Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(seconds)] = None
    device: Annotated[str, AfterValidator(usable_device)] = "cpu"
    jobs: int = Field(default=0, ge=0)
    fail_on: Literal["critical", "high", "medium", "low", "never"] = "high"
    gallery: Literal["blur", "full", "none"] = "blur"


class UtilitySettings(Section):
    """The short federated training that prices each defense; `rounds = 0` leaves it out."""

    rounds: int = Field(default=20, ge=0)
    clients: int = Field(default=4, ge=1)
    batch_size: int = Field(default=16, ge=1)
    lr: float = Field(default=0.1, gt=0)
    alpha: float = Field(default=1.0, gt=0)


class TrainSettings(Section):
    """The federated training of `gradiometer train`; an audit does not look at it.

    Args:
        strategy: FedSGD, FedAvg, FedProx or FedAdam, with its settings; None: what fits what the clients send.
        split: `natural`: every `[[client]]` of the plan is a member with its own data; `dirichlet` and `even` deal the
            private examples of one client to `clients` members.
        client: which one's, by name; None: the only one's.
        alpha: of the Dirichlet split.
        examples: that a member draws for a round; None: all that it has.
        holdout: share of each member's examples that it keeps to test the global model on.
        target: accuracy whose first round is reported.
        measure: accuracy is measured every so many rounds, and after the last.
        checkpoint: a state is saved every so many rounds, and after the last.
        record: rounds (from 0; -1 is the last) whose updates are saved for `gradiometer scan`.
        recorded: of how many members, the first ones.
        attack_seconds: for the plan's attacks on one recorded update; 0 attacks none.
        aggregation: SecureAggregation or HomomorphicAggregation with its settings: the server sees, and what is recorded and attacked is, the sum
            over all members; None: it sees every message.
        dropout: chance of every member to answer no more in a round.
        alone: every member is also trained by itself, undefended, which takes as long as one training more: a federation,
            and a defense, must beat the best of them.
    """

    rounds: int = Field(default=50, ge=1)
    strategy: dict[str, Any] | None = None
    split: Literal["dirichlet", "even", "natural"] = "dirichlet"
    clients: int = Field(default=4, ge=1)
    client: str | None = None
    alpha: float = Field(default=0.5, gt=0)
    examples: int | None = Field(default=None, ge=1)
    holdout: float = Field(default=0.2, ge=0, lt=1)
    target: float | None = Field(default=None, gt=0, le=1)
    measure: int = Field(default=1, ge=1)
    checkpoint: int = Field(default=1, ge=1)
    record: list[int] = Field(default=[0, 1, 5, 10, -1])
    recorded: int = Field(default=1, ge=0)
    attack_seconds: Annotated[Annotated[float, Field(ge=0)], BeforeValidator(seconds)] = 10.0
    aggregation: dict[str, Any] | None = None
    dropout: float = Field(default=0.0, ge=0, lt=1)
    alone: bool = True
