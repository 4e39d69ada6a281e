"""Keys: signatures, agreements and envelopes, all from the package `cryptography`. Keys are 32 raw bytes."""

from __future__ import annotations

import secrets
from typing import Any

from gradiometer.core import Unsupported

from .record import Refused

KEY, SIGNATURE, TAG = 32, 64, 16
"""Bytes of a key, of a signature, and what an envelope adds to its content."""


def _package(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"cryptography.hazmat.primitives.{name}")
    except ImportError as error:
        raise Unsupported(
            'secure aggregation needs the package "cryptography"', fix='pip install "gradiometer[secagg]"'
        ) from error


def _x25519() -> Any:
    return _package("asymmetric.x25519")


def new_identity() -> bytes:
    """A private key that a client signs with, for as long as it takes part in the federation."""
    return secrets.token_bytes(KEY)


def identity_public(private: bytes) -> bytes:
    """The public half (Ed25519), which all other clients must know from elsewhere than the server."""
    signer = _package("asymmetric.ed25519").Ed25519PrivateKey.from_private_bytes(private)
    return bytes(signer.public_key().public_bytes_raw())


def sign(private: bytes, message: bytes) -> bytes:
    return bytes(_package("asymmetric.ed25519").Ed25519PrivateKey.from_private_bytes(private).sign(message))


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the owner of `public` signed this message."""
    from cryptography.exceptions import InvalidSignature

    try:
        _package("asymmetric.ed25519").Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def public_half(private: bytes) -> bytes:
    """The public half of a key for agreements (X25519)."""
    return bytes(_x25519().X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw())


def agree(private: bytes, public: bytes, purpose: bytes) -> bytes:
    """The key that both ends of an X25519 agreement get for one purpose: HKDF-SHA256 of the common secret.

    Raises:
        Refused: a public key of low order, with which everybody would know the secret.
    """
    try:
        common = (
            _x25519()
            .X25519PrivateKey.from_private_bytes(private)
            .exchange(_x25519().X25519PublicKey.from_public_bytes(public))
        )
    except ValueError as error:
        raise Refused("a public key with which no secret can be agreed") from error
    sha = _package("hashes").SHA256()
    return bytes(_package("kdf.hkdf").HKDF(algorithm=sha, length=KEY, salt=None, info=purpose).derive(common))


def seal(key: bytes, content: bytes, context: bytes) -> bytes:
    """Encrypts and authenticates (ChaCha20-Poly1305). The key must be used once: the nonce is zero."""
    return bytes(_package("ciphers.aead").ChaCha20Poly1305(key).encrypt(bytes(12), content, context))


def unseal(key: bytes, envelope: bytes, context: bytes) -> bytes | None:
    """The content, or None where the envelope was altered or belongs to another context."""
    from cryptography.exceptions import InvalidTag

    try:
        return bytes(_package("ciphers.aead").ChaCha20Poly1305(key).decrypt(bytes(12), envelope, context))
    except InvalidTag:
        return None


def keystream(key: bytes) -> Any:
    """An endless ChaCha20 stream; `update_into(zeros, buffer)` writes its next bytes. The key must be used once."""
    ciphers = _package("ciphers")
    return ciphers.Cipher(ciphers.algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
