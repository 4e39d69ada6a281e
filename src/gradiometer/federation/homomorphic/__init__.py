"""CKKS through TenSEAL: vectors that a server can add without a key."""

from .keys import PublicKey, SecretKey, new_key
from .message import Message
from .parameters import Parameters

__all__ = ["Message", "Parameters", "PublicKey", "SecretKey", "new_key"]
