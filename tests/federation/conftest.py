"""One round of secure aggregation, stage by stage, so that tests can stand between clients and server."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytest
import torch

from gradiometer.federation.secure import Floors, SecureClient, SecureServer, Settings, members

FLOORS = Floors(clients=3, degree=2)


class Table:
    """Clients 10, 11, ... and their server. `requests[stage][client]` is what the client is sent; `sent` what it answers."""

    def __init__(self, count: int = 6, *, length: int = 40, floors: Floors = FLOORS, **settings: Any) -> None:
        self.settings = Settings.of(round=7, clients=count, length=length, **settings)
        self.members = members(range(10, 10 + count), floors)
        self.clients = {client: SecureClient(member=member) for client, member in self.members.items()}
        self.server = SecureServer(self.settings)
        draw = torch.Generator().manual_seed(1)
        self.vectors = {client: torch.rand(length, generator=draw) * 2 - 1 for client in self.clients}
        self.requests: dict[str, dict[int, Any]] = {"advertise": dict.fromkeys(self.clients, self.settings.record())}
        self.sent: dict[str, dict[int, Any]] = {}

    def ask(self, stage: str, client: int, request: Any = None) -> Any:
        """One client's answer."""
        request = self.requests[stage][client] if request is None else request
        call = getattr(self.clients[client], stage)
        if stage == "mask":
            return call(request, self.vectors[client], torch.Generator().manual_seed(client))
        return call(request)

    def play(self, until: str = "total", silent: dict[str, Collection[int]] | None = None) -> Any:
        """Plays every stage before `until`, and prepares the requests of that one."""
        gone: set[int] = set()
        steps: dict[str, tuple[str, Callable[[Any], Any]]] = {
            "advertise": ("share", self.server.roster),
            "share": ("mask", self.server.deliver),
            "mask": ("consent", self.server.survivors),
            "consent": ("open", self.server.consents),
            "open": ("total", self.server.total),
        }
        for stage, (following, step) in steps.items():
            if stage == until:
                return None
            gone |= {*(silent or {}).get(stage, ())}
            asked = [client for client in self.requests[stage] if client not in gone]
            self.sent[stage] = {client: self.ask(stage, client) for client in asked}
            answer = step(self.sent[stage].values())
            if following == "total":
                return answer
            self.requests[following] = answer if stage == "share" else dict.fromkeys(answer["clients"], answer)
        return None

    def want(self, survivors: Collection[int]) -> torch.Tensor:
        return torch.stack([self.vectors[client].double() for client in survivors]).sum(0)


@pytest.fixture
def table() -> type[Table]:
    return Table
