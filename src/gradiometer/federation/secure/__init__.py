"""Secure aggregation as pure state machines that exchange flat records: a transport is all that is missing."""

from .client import SecureClient
from .identities import load_directory, load_member, save_members
from .keys import identity_public, new_identity
from .local import Round, secure_sum
from .member import Member, members
from .record import Record, Refused
from .server import SecureServer, Total
from .settings import Floors, Settings
from .storage import load_client, save_client
from .weighing import weigh, weighted_mean

__all__ = [
    "Floors",
    "Member",
    "Record",
    "Refused",
    "Round",
    "SecureClient",
    "SecureServer",
    "Settings",
    "Total",
    "identity_public",
    "load_client",
    "load_directory",
    "load_member",
    "members",
    "new_identity",
    "save_client",
    "save_members",
    "secure_sum",
    "weigh",
    "weighted_mean",
]
