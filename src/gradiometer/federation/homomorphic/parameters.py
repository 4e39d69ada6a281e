"""Parameters of CKKS: the ring, the moduli and the scale that everybody agrees on before there is a key."""

from __future__ import annotations

from dataclasses import dataclass

from gradiometer.core import BadConfig

MOST_MODULUS_BITS = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
"""Bits of all moduli together, by ring dimension: 128 bits of security against classical computers with a ternary key."""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """A message is round(scale * vector) in the ring Z_q[X] / (X^ring + 1), plus noise; `ring / 2` entries a ciphertext.

    Sums need no multiplication, and so one modulus q. The second one is SEAL's own, which it wants for keys and never
    puts in a ciphertext. A ciphertext is two polynomials of `ring` words of 8 bytes: 32 bytes an entry, whatever the ring.
    The defaults have 109 bits of moduli in a ring of 4,096: 128-bit security at the standard's limit.

    Args:
        ring: dimension, a power of two, 1,024 to 32,768.
        moduli: bits of q and of the key's modulus, 20 to 60 each.
        scale: bits of the factor. The error of a decrypted entry is about 2^(12 - scale), and a sum must stay below
            2^(bits of q - 1 - scale) in magnitude, or it wraps around.

    Raises:
        BadConfig: listing every fault; less than 128 bits of security is one.

    References:
        Cheon, Kim, Kim, Song, "Homomorphic Encryption for Arithmetic of Approximate Numbers", 2017, IACR ePrint 2016/421.
        Albrecht et al., "Homomorphic Encryption Security Standard", 2018, table 1.
    """

    ring: int = 4096
    moduli: tuple[int, int] = (60, 49)
    scale: int = 50

    def __post_init__(self) -> None:
        most = MOST_MODULUS_BITS.get(self.ring)
        problems = []
        if most is None:
            problems.append(f"ring must be one of {', '.join(map(str, MOST_MODULUS_BITS))}, got {self.ring}")
        elif sum(self.moduli) > most:
            problems.append(
                f"moduli of {sum(self.moduli)} bits in a ring of {self.ring} give less than 128 bits of security: at most {most}"
            )
        if len(self.moduli) != 2 or not all(20 <= bits <= 60 for bits in self.moduli):
            problems.append(f"moduli must be two, of 20 to 60 bits each, got {self.moduli}")
        if not 10 <= self.scale <= self.moduli[0] - 2:
            problems.append(f"scale must lie between 10 and {self.moduli[0] - 2} bits, got {self.scale}")
        if problems:
            raise BadConfig("these parameters of CKKS cannot be used", problems=problems)

    @property
    def slots(self) -> int:
        """Entries of a ciphertext."""
        return self.ring // 2

    @property
    def limit(self) -> float:
        """Sums of larger magnitude wrap around."""
        return 2.0 ** (self.moduli[0] - 1 - self.scale)

    @property
    def most_bytes(self) -> int:
        """No serialized ciphertext of these parameters is longer: two polynomials of 8-byte words, and 1,024 bytes around them."""
        return 2 * 8 * self.ring + 1024
