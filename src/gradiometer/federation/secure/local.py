"""secure_sum: one round of secure aggregation between clients and a server that live in this process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from gradiometer.core import spawn

from .client import SecureClient
from .member import members
from .record import Record
from .server import SecureServer, Total
from .settings import Floors, Settings

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Round:
    """A round and its price.

    Args:
        total: what the server learned.
        uplink, downlink: bytes of all records of all clients, without the transport's own framing.
        client_seconds, server_seconds: CPU time of all clients together, and of the server.
    """

    total: Total
    uplink: int
    downlink: int
    client_seconds: float
    server_seconds: float


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
    server = SecureServer(settings)
    traffic: Counter[str] = Counter()
    spent = {"client": 0.0, "server": 0.0}

    def timed(who: str, call: Callable[..., T], *given: Any) -> T:
        started = time.process_time()
        answer = call(*given)
        spent[who] += time.process_time() - started
        return answer

    def ask(stage: str, requests: Mapping[int, Record]) -> list[Record]:
        for gone in silent.get(stage, ()):
            clients.pop(gone, None)
        answers = []
        for number, request in requests.items():
            traffic["down"] += size(request)
            if number not in clients:
                continue
            own = (vectors[number], spawn(rng)) if stage == "mask" else ()
            answers.append(timed("client", getattr(clients[number], stage), request, *own))
            traffic["up"] += size(answers[-1])
        return answers

    def tell(step: Callable[..., Record], answers: list[Record]) -> dict[int, Record]:
        """The server's answer for all whom it names."""
        record = timed("server", step, answers)
        numbers = record["clients"]
        assert isinstance(numbers, list)
        return {int(number): record for number in numbers}

    roster = tell(server.roster, ask("advertise", dict.fromkeys(clients, settings.record())))
    deliveries = timed("server", server.deliver, ask("share", roster))
    survivors = tell(server.survivors, ask("mask", deliveries))
    consents = tell(server.consents, ask("consent", survivors))
    total = timed("server", server.total, ask("open", consents))
    return Round(
        total=total,
        uplink=traffic["up"],
        downlink=traffic["down"],
        client_seconds=spent["client"],
        server_seconds=spent["server"],
    )
