"""What a client does with its update before it leaves: defend, record, attack it. The framework around it carries it."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradiometer.core import (
    Attack,
    Client,
    Data,
    Defense,
    GradiometerError,
    Memory,
    Threat,
    Unsupported,
    derive,
    save_update,
)
from gradiometer.defenses import Chain

from .exchange import Exchange, check_client
from .leak import Leak, leaks
from .local import defended
from .rounds import reason


@dataclass(frozen=True, kw_only=True, eq=False)
class Protection:
    """A defense of what leaves: `received + defense(trained - received)`.

    Args:
        defense: of updates. One that changes the model or the data must be applied in the app, where these are made.
        model: the architecture that is trained.
        seed: None draws the defense's randomness from the system, as it must be; a number repeats a test.
        summed: messages are added up with equal weights before the server sees any.

    Raises:
        Unsupported: a defense that cannot be applied on the way out.
    """

    defense: Defense
    model: nn.Module
    seed: int | None = None
    summed: bool = False

    def __post_init__(self) -> None:
        for one in _members(self.defense):
            if type(one).on_wire is not Defense.on_wire:
                raise Unsupported(
                    f"{type(one).__name__} encrypts, and here plain numbers are sent",
                    fix="encrypt with gradiometer.federation.homomorphic in the app, or train in process",
                )
            for hook, call in (
                ("on_model", "defense.on_model(model)"),
                ("on_download", "defense.on_download(model, rng=...)"),
                ("on_batch", "defense.on_batch(batch, rng=...)"),
            ):
                if getattr(type(one), hook) is not getattr(Defense, hook):
                    raise Unsupported(
                        f"{type(one).__name__} works on the {hook.removeprefix('on_')}, which is past changing here",
                        fix=f"call {call} in the app, and pass on the rest of the defense",
                    )
        if self.defense.aggregates() and not self.summed:
            raise Unsupported(
                "this defense has a part in the sum over equal clients, which a single client cannot see to",
                fix='take ClientDP(where="local"), or secure aggregation with equal weights: summed=True',
            )

    def apply(self, exchange: Exchange, memory: Memory) -> dict[str, Tensor]:
        """What the client returns instead. Buffers of normalization pass as they are.

        Args:
            memory: of the defense, between rounds; written to.

        Raises:
            BadInput: a defense that returns something else than it was given, or values that are not finite.
        """
        values = defended(exchange.delta(self.model), self.defense, memory, rng=self._rng(exchange))
        return exchange.returned(values)

    def _rng(self, exchange: Exchange) -> torch.Generator:
        if self.seed is None:
            return fresh()
        return derive(self.seed, exchange.round, exchange.member, "defense")


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorder:
    """Keeps updates for an audit, each as one file.

    Args:
        client: model, layout, loss and recipe of the local training.
        folder: made if it is not there.
        rounds: which ones, from 0; None: all.
    """

    client: Client
    folder: Path
    rounds: Collection[int] | None = None

    def __post_init__(self) -> None:
        check_client(self.client)

    def keep(self, exchange: Exchange, log: logging.Logger) -> None:
        """Saves what the server will see."""
        if self.rounds is None or exchange.round in self.rounds:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / file_name(exchange)
            save_update(exchange.update(self.client), path)
            log.info("recorded %s", path)


@dataclass(frozen=True, kw_only=True, eq=False)
class SelfAttack:
    """Attacks the client's own update, logs the leak, and appends it to `FOLDER/leaks.jsonl`.

    Args:
        client: model, layout, loss and recipe of the local training.
        attacks: tried one after the other.
        data: `data(member, round)` gives the client's own `Data`; `private` are the examples that it trained on.
        folder: where `leaks.jsonl` is kept; None: only the log.
        budget: seconds a round.
        rounds: which ones, from 0; None: all.
        threat: what the server is assumed to know.
        defense: that the client uses, so that attacks are adapted to it.
    """

    client: Client
    attacks: tuple[Attack, ...]
    data: Callable[[Any, int], Data]
    folder: Path | None
    budget: float
    rounds: Collection[int] | None
    threat: Threat
    defense: Defense | None
    seed: int

    def __post_init__(self) -> None:
        check_client(self.client)

    def look(self, exchange: Exchange, log: logging.Logger) -> None:
        """Attacks what leaves. It protects nothing: if it fails, the log says so."""
        if self.rounds is not None and exchange.round not in self.rounds:
            return
        try:
            for leak in self._leaks(exchange):
                self._tell(leak, exchange, log)
        except (GradiometerError, RuntimeError, OSError) as error:
            log.warning("round %d: the self-audit failed: %s", exchange.round, reason(error))

    def _leaks(self, exchange: Exchange) -> list[Leak]:
        return leaks(
            exchange.update(self.client),
            self.data(exchange.member, exchange.round),
            self.attacks,
            rng=derive(self.seed, exchange.round, exchange.member, "self-audit"),
            threat=self.threat,
            defense=self.defense,
            budget=self.budget,
        )

    def _tell(self, leak: Leak, exchange: Exchange, log: logging.Logger) -> None:
        told = {key: value for key, value in leak.told().items() if value not in (None, "")}
        log.info("leak of round %d: %s", leak.round, json.dumps(told))
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "leaks.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(leak.told() | {"member": exchange.member}) + "\n")


def fresh() -> torch.Generator:
    """Randomness from the system, new in every process."""
    return torch.Generator().manual_seed(secrets.randbits(63))


def file_name(exchange: Exchange) -> str:
    """One update, one file: `round-0003-member-001.safetensors`, or with the name of the site."""
    who = f"member-{exchange.member:03d}" if isinstance(exchange.member, int) else exchange.member
    return f"round-{exchange.round:04d}-{who}.safetensors"


def _members(defense: Defense) -> list[Defense]:
    if not isinstance(defense, Chain):
        return [defense]
    return [one for member in defense.members for one in _members(member)]
