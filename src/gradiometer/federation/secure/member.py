"""Member: who a client is in the federation, over all rounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .keys import identity_public, new_identity
from .settings import Floors


@dataclass(frozen=True, kw_only=True)
class Member:
    """A client, its identity and whom it knows.

    Everything that holds against a server that breaks the rules stands on `directory`: whoever writes it can put
    himself in the place of the other clients. It must not come from the server.

    Args:
        client: its number, known to all.
        identity: its private key (`new_identity()`); directory: public identities of all clients by number.
        floors: what it insists on.
        after: the last round that it took part in, kept from run to run: no round is played twice.
    """

    client: int
    identity: bytes = field(repr=False)
    directory: Mapping[int, bytes] = field(repr=False)
    floors: Floors = Floors()
    after: int = -1

    def played(self, round: int) -> Member:
        """The same member after this round."""
        return replace(self, after=max(self.after, round))


def members(clients: Iterable[int], floors: Floors | None = None) -> dict[int, Member]:
    """Members with fresh identities who know each other: for simulations and tests, where one process is everybody."""
    identities = {client: new_identity() for client in clients}
    directory = {client: identity_public(identity) for client, identity in identities.items()}
    return {
        client: Member(client=client, identity=identity, directory=directory, floors=floors or Floors())
        for client, identity in identities.items()
    }
