"""Identities on disk: every client holds its own private key, and the public keys of all, from elsewhere than the server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from gradiometer.core import BadInput

from .keys import KEY, identity_public
from .member import Member, members
from .settings import Floors

DIRECTORY = "directory.json"


def save_members(folder: str | Path, clients: Iterable[int]) -> Path:
    """Draws an identity for each of these clients: `identity-003.key`, readable by its owner alone, and `directory.json`.

    Each client is to be given its own key and the directory; whoever keeps this folder can be any of them.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    made = members(clients)
    for client, member in made.items():
        with os.fdopen(os.open(_key(place, client), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(member.identity)
    public = {str(client): identity_public(member.identity).hex() for client, member in made.items()}
    (place / DIRECTORY).write_text(json.dumps(public, indent=1))
    return place


def load_member(folder: str | Path, client: int, *, floors: Floors = Floors()) -> Member:  # noqa: B008 - a frozen value
    """This client, by its key and the directory.

    Raises:
        BadInput: a file is missing or damaged, or the key is not that of this client in the directory.
    """
    directory, path = load_directory(folder), _key(Path(folder), client)
    try:
        identity = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot read this client's key: {error.strerror}") from error
    if len(identity) != KEY or directory.get(client) != identity_public(identity):
        raise BadInput(f"{path}: not the key that {DIRECTORY} lists for client {client}")
    return Member(client=client, identity=identity, directory=directory, floors=floors)


def load_directory(folder: str | Path) -> dict[int, bytes]:
    """Public identities of all clients by number.

    Raises:
        BadInput: the file is missing or damaged.
    """
    path = Path(folder) / DIRECTORY
    try:
        found = {int(client): bytes.fromhex(key) for client, key in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise BadInput(f"{path}: not a directory of public keys: {' '.join(str(error).split())[:100]}") from error
    if any(len(key) != KEY or client < 0 for client, key in found.items()):
        raise BadInput(f"{path}: a public key has {KEY} bytes, and a client a number from 0")
    return found


def _key(folder: Path, client: int) -> Path:
    return folder / f"identity-{client:03d}.key"
