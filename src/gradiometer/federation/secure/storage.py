"""What a client knows between two stages as one flat record, for runtimes that start a new process for every message."""

from __future__ import annotations

from typing import Any

from .client import STAGES, SecureClient
from .member import Member
from .record import Record, Refused
from .settings import Settings
from .view import Roster, View

SETTINGS, ROSTER = "settings ", "roster "


def save_client(client: SecureClient) -> Record:
    """The state of a client. It holds secrets: keep it where the client's data are kept."""
    record: Record = {"kind": "state", "client": client.member.client, "stage": client.stage}
    if client.settings is None:
        return record
    secrets = [client.channel_private, client.mask_private, client.self_seed, client.nonce]
    record |= {"secrets": secrets} | {SETTINGS + name: value for name, value in client.settings.record().items()}
    if client.roster is not None:
        record |= {ROSTER + name: value for name, value in client.roster.record().items()}
        record |= {"holders": list(client.shares), "shares": list(client.shares.values())}
    if client.view is not None:
        record |= {"present": list(client.view.present), "nonces": list(client.view.nonces)}
        record |= {"survivors": list(client.survivors)}
    return record


def load_client(record: Any, member: Member) -> SecureClient:
    """A client that goes on where the saved one stood. Load a state once: one that is loaded twice could answer twice.

    Raises:
        Refused: the record is damaged, or another client's.
    """
    client = SecureClient(member=member)
    try:
        if record["client"] != member.client or record["stage"] not in (*STAGES, "refused"):
            raise Refused("this is not the state of this client")
        client.stage = record["stage"]
        if "secrets" in record:
            client.settings = Settings.read(_part(record, SETTINGS))
            client.channel_private, client.mask_private, client.self_seed, client.nonce = record["secrets"]
            if ROSTER + "kind" in record:
                client.roster = Roster.read(_part(record, ROSTER), client.settings)
                client.shares = dict(zip(record["holders"], record["shares"], strict=True))
            if client.roster is not None and "present" in record:
                present, nonces = tuple(record["present"]), tuple(record["nonces"])
                client.view = View(settings=client.settings, roster=client.roster, present=present, nonces=nonces)
                client.survivors = tuple(record["survivors"])
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(f"a damaged state of a client: {error}") from error
    return client


def _part(record: Record, prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in record.items() if name.startswith(prefix)}
