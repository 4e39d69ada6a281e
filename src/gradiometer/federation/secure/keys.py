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
        return import_module(f"cryptography.{name}")
    except ImportError as error:
        raise Unsupported(
            'secure aggregation needs the package "cryptography"', fix='pip install "gradiometer[secagg]"'
        ) from error


def _primitive(name: str) -> Any:
    return _package(f"hazmat.primitives.{name}")


def _signer(private: bytes) -> Any:
    return _primitive("asymmetric.ed25519").Ed25519PrivateKey.from_private_bytes(private)


def _agreer(private: bytes) -> Any:
    return _primitive("asymmetric.x25519").X25519PrivateKey.from_private_bytes(private)


def new_identity() -> bytes:
    """A private key that a client signs with, for as long as it takes part in the federation."""
    return secrets.token_bytes(KEY)


def identity_public(private: bytes) -> bytes:
    """The public half (Ed25519), which all other clients must know from elsewhere than the server."""
    return bytes(_signer(private).public_key().public_bytes_raw())


def sign(private: bytes, message: bytes) -> bytes:
    return bytes(_signer(private).sign(message))


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the owner of `public` signed this message."""
    wrong = _package("exceptions").InvalidSignature
    try:
        _primitive("asymmetric.ed25519").Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (wrong, ValueError):
        return False
    return True


def public_half(private: bytes) -> bytes:
    """The public half of a key for agreements (X25519)."""
    return bytes(_agreer(private).public_key().public_bytes_raw())


def agree(private: bytes, public: bytes, purpose: bytes) -> bytes:
    """The key that both ends of an X25519 agreement get for one purpose: HKDF-SHA256 of the common secret.

    Raises:
        Refused: a public key of low order, with which everybody would know the secret.
    """
    try:
        common = _agreer(private).exchange(_primitive("asymmetric.x25519").X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise Refused("a public key with which no secret can be agreed") from error
    derivation = _primitive("kdf.hkdf").HKDF(
        algorithm=_primitive("hashes").SHA256(), length=KEY, salt=None, info=purpose
    )
    return bytes(derivation.derive(common))


def seal(key: bytes, content: bytes, context: bytes) -> bytes:
    """Encrypts and authenticates (ChaCha20-Poly1305). The key must be used once: the nonce is zero."""
    return bytes(_primitive("ciphers.aead").ChaCha20Poly1305(key).encrypt(bytes(12), content, context))


def unseal(key: bytes, envelope: bytes, context: bytes) -> bytes | None:
    """The content, or None where the envelope was altered or belongs to another context."""
    wrong = _package("exceptions").InvalidTag
    try:
        return bytes(_primitive("ciphers.aead").ChaCha20Poly1305(key).decrypt(bytes(12), envelope, context))
    except wrong:
        return None


def keystream(key: bytes) -> Any:
    """An endless ChaCha20 stream; `update_into(zeros, buffer)` writes its next bytes. The key must be used once."""
    ciphers = _primitive("ciphers")
    return ciphers.Cipher(ciphers.algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
