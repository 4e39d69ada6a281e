"""What CKKS costs: bytes, CPU seconds and error of a mean over clients, whole and for a share of the entries.

    python benchmarks/encryption.py --parameters 100000 1000000 --clients 10      (pip install "gradiometer[he]")

Vectors are normal with standard deviation 0.01, about as a gradient's entries. Times are process time on one thread: of one client's
encryption, of reading and adding all clients' messages, of reading and decrypting the sum. The error is that of the decrypted
mean against the mean in float64, relative to its largest entry and to its length. With `--shares` only so many entries are
encrypted, and the rest is sent as float32, with one bit an entry to say which.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from gradiometer.defenses import SelectiveEncryption
from gradiometer.federation.homomorphic import Parameters, SecretKey, new_key

LIMIT = 1e-6
Result = TypeVar("Result")


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    started = time.process_time()
    result = call()
    return result, time.process_time() - started


def whole(key: SecretKey, entries: int, clients: int) -> str:
    """One round in which everything is encrypted."""
    draw = torch.Generator().manual_seed(0)
    server, messages, spent, want = key.public, [], [], torch.zeros(entries, dtype=torch.float64)
    for _ in range(clients):
        vector = 0.01 * torch.randn(entries, generator=draw)
        message, seconds = timed(lambda own=vector: key.encrypt(own))  # type: ignore[misc]
        want += vector.double() / clients
        messages.append(message)
        spent.append(seconds)
    total, adding = timed(lambda: server.add(messages, length=entries))
    (opened, count), decrypting = timed(lambda: key.decrypt(total, length=entries))
    gap = opened / count - want
    largest, length = float(gap.abs().max() / want.abs().max()), float(gap.norm() / want.norm())
    size = len(messages[0])
    return (
        f"{entries} entries, {clients} clients: {size} bytes a client ({size / (4 * entries):.3f}x float32), "
        f"encrypt {statistics.median(spent):.3f} s a client, add {adding:.3f} s, decrypt {decrypting:.3f} s, "
        f"error {largest:.1e} of the largest entry, {length:.1e} of the length ({'PASS' if max(largest, length) <= LIMIT else 'MISS'} <= {LIMIT:g})"
    )


def selective(key: SecretKey, entries: int, share: float) -> str:
    """The size of one message of which a share is encrypted: measured, and as the defense states it."""
    values = {"w": 0.01 * torch.randn(entries, generator=torch.Generator().manual_seed(0))}
    hidden = round(share * entries)
    sealed, seconds = timed(lambda: len(key.encrypt(values["w"][:hidden])) if hidden else 0)
    measured = sealed + 4 * (entries - hidden) + (-(-entries // 8) if 0 < hidden < entries else 0)
    stated = SelectiveEncryption(share=share).wire_bytes(values)
    return (
        f"{entries} entries, {share:.0%} encrypted: {measured} bytes ({measured / (4 * entries):.3f}x float32), stated {stated}, "
        f"encrypt {seconds:.3f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--shares", type=float, nargs="*", default=[0.0, 0.01, 0.1, 0.3, 1.0])
    parser.add_argument("--scale", type=int, default=Parameters().scale, help="bits of CKKS's factor")
    options = parser.parse_args()
    torch.set_num_threads(1)
    parameters = Parameters(scale=options.scale)
    key, seconds = timed(lambda: new_key(parameters))
    print(
        f"{parameters}: keys {seconds:.2f} s, public {len(key.encode())} bytes, secret {len(key.encode_secret())} bytes"
    )
    for entries in options.parameters:
        print(whole(key, entries, options.clients), flush=True)
        for share in options.shares:
            print(selective(key, entries, share), flush=True)


if __name__ == "__main__":
    main()
