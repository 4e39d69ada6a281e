"""secure_sum: one round of secure aggregation between clients and a server that live in this process."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradiometer.core import spawn

from .client import SecureClient
from .member import members
from .record import Record
from .server import SecureServer, Total
from .settings import Floors, Settings


@dataclass(frozen=True, kw_only=True, eq=False)
class Round:
    """A round and its price.

    Args:
        total: what the server learned.
        uplink, downlink: bytes of all records of all clients, without the transport's own framing.
    """

    total: Total
    uplink: int
    downlink: int


def size(record: Record) -> int:
    """Bytes of a record's values: 8 a number, and what strings of bytes are long."""

    def of(value: Any) -> int:
        if isinstance(value, list):
            return sum(map(of, value))
        return len(value) if isinstance(value, str | bytes) else 8

    return sum(of(value) for value in record.values())


def secure_sum(
    vectors: Mapping[int, Tensor],
    settings: Settings,
    *,
    rng: torch.Generator,
    floors: Floors | None = None,
    silent: Mapping[str, Collection[int]] | None = None,
) -> Round:
    """Adds the clients' vectors with every key, share, mask and signature of the protocol.

    Args:
        vectors: [settings.length] of every client, by its number.
        rng: of the rounding; secrets come from the system.
        silent: stages (`advertise`, `share`, `mask`, `consent`, `open`) from which on these clients answer no more.

    Raises:
        Refused: too few clients are left, or the settings are below the floors.
    """
    silent = silent or {}
    clients = {client: SecureClient(member=member) for client, member in members(sorted(vectors), floors).items()}
    server, traffic = SecureServer(settings), {"up": 0, "down": 0}

    def ask(stage: str, requests: Mapping[int, Record]) -> list[Record]:
        for gone in silent.get(stage, ()):
            clients.pop(gone, None)
        answers = []
        for number, request in requests.items():
            traffic["down"] += size(request)
            if number not in clients:
                continue
            call = getattr(clients[number], stage)
            answer = call(request, vectors[number], spawn(rng)) if stage == "mask" else call(request)
            traffic["up"] += size(answer)
            answers.append(answer)
        return answers

    roster = server.roster(ask("advertise", dict.fromkeys(clients, settings.record())))
    deliveries = server.deliver(ask("share", dict.fromkeys(_numbers(roster), roster)))
    survivors = server.survivors(ask("mask", deliveries))
    consents = server.consents(ask("consent", dict.fromkeys(_numbers(survivors), survivors)))
    total = server.total(ask("open", dict.fromkeys(_numbers(consents), consents)))
    return Round(total=total, uplink=traffic["up"], downlink=traffic["down"])


def _numbers(record: Record) -> list[int]:
    numbers = record["clients"]
    assert isinstance(numbers, list)
    return [int(number) for number in numbers]
