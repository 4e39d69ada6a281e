"""What secure aggregation costs: bytes and CPU seconds a client and for the server, and how exact the sum is.

    python benchmarks/secure_aggregation.py --clients 10 100 --parameters 1000000
    python benchmarks/secure_aggregation.py --flower            (pip install flwr: its SecAgg+ beside ours)

Vectors are uniform in [-1, 1]. Clients that drop out have shared their keys and never send their vector, which is the most
expensive time to leave: the server recomputes every mask between one of them and one who stayed. Bytes are those of the
records' values, without a transport's framing. CPU time is process time on one thread.

Flower's SecAgg+ is driven through the functions that its client mod and its workflow call, for three clients of the cohort. Its
server's time is that of one mask and of one secret times the numbers that its workflow needs.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch

from gradiometer.core import derive
from gradiometer.federation.secure import Settings, secure_sum

TIMED = 3


def ours(clients: int, parameters: int, share: float, degree: int | None, bits: int, clip: float) -> str:
    """One round of our own protocol, as a line of figures."""
    settings = Settings.of(round=0, clients=clients, length=parameters, degree=degree, bits=bits, clip=clip)
    draw = torch.Generator().manual_seed(0)
    vectors = {i: torch.rand(parameters, generator=draw) * 2 - 1 for i in range(clients)}
    gone = range(round(share * clients))
    done = secure_sum(vectors, settings, rng=derive(0), silent={"mask": gone})
    stayed = done.total.survivors
    want = torch.zeros(parameters, dtype=torch.float64)
    for i in stayed:
        want += vectors[i]
    error = float((done.total.values - want).abs().max()) / settings.fixed_point.step
    exact = "PASS" if error < len(stayed) else "MISS"
    up, raw = done.uplink / len(stayed), 4 * parameters
    return (
        f"ours, {clients} clients, {len(gone)} gone, {settings.degree} neighbors, {bits} bits: "
        f"up {up / 1e6:.3f} MB a client ({up / raw:.2f}x float32), down {done.downlink / clients / 1e3:.1f} kB, "
        f"client {done.client_seconds / len(stayed):.3f} s, server {done.server_seconds:.2f} s, "
        f"largest error {error:.2f} steps of {settings.fixed_point.step:.2g} (below {len(stayed)}: {exact})"
    )


def seconds(call: Callable[[], Any]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def flower(clients: int, parameters: int, share: float) -> str:
    """Flower's SecAgg+ with masks between everybody, at its own defaults for ranges."""
    from flwr.common import ConfigRecord, ndarrays_to_parameters
    from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
    from flwr.common.secure_aggregation.ndarrays_arithmetic import parameters_subtraction
    from flwr.common.secure_aggregation.secaggplus_constants import Key
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
    from flwr.common.secure_aggregation.secaggplus_utils import share_keys_plaintext_concat as concatenate

    # The package exports a function of the module's name.
    mod = import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
    threshold, modulus = -(-2 * clients // 3), 2**32
    proposal = {
        Key.SAMPLE_NUMBER: clients,
        Key.SHARE_NUMBER: clients,
        Key.THRESHOLD: threshold,
        Key.CLIPPING_RANGE: 8.0,
        Key.TARGET_RANGE: 2**22,
        Key.MOD_RANGE: modulus,
        Key.MAX_WEIGHT: 1000,
    }
    states = {i: mod.SecAggPlusState(nid=i) for i in range(clients)}
    timed = range(clients - TIMED, clients)
    spent, up = 0.0, 0
    for i, state in states.items():
        state.nid = i
        took = seconds(partial(mod._setup, state, ConfigRecord(dict(proposal))))
        spent += took if i in timed else 0
    keys = ConfigRecord({str(i): [state.pk1, state.pk2] for i, state in states.items()})
    for i in timed:
        started = time.process_time()
        answer = mod._share_keys(states[i], keys)
        spent += time.process_time() - started
        up += sum(map(len, answer[Key.CIPHERTEXT_LIST]))
    # What the others sealed for the timed clients is of the right size; its shares are not used before unmasking.
    seed_shares, key_shares = (create_shares(secret, threshold, clients) for secret in (os.urandom(32), states[0].sk1))

    def sealed(source: int, target: int) -> bytes:
        return bytes(
            mod.encrypt(states[target].ss2_dict[source], concatenate(source, target, seed_shares[0], key_shares[0]))
        )

    draw = np.random.default_rng(0)
    for i in timed:
        vector = ndarrays_to_parameters([draw.uniform(-1, 1, parameters).astype(np.float32)])
        others = [j for j in states if j != i]
        request = ConfigRecord({Key.CIPHERTEXT_LIST: [sealed(j, i) for j in others], Key.SOURCE_LIST: others})
        started = time.process_time()
        masked = mod._collect_masked_vectors(states[i], request, 1000, vector)
        spent += time.process_time() - started
        up += sum(map(len, masked[Key.MASKED_PARAMETERS]))
    gone = round(share * clients)
    removed = (clients - gone) + gone * (clients - 1)
    total = [np.zeros(parameters, np.int64)]

    def unmask() -> None:
        nonlocal total
        for _ in range(TIMED):
            total = parameters_subtraction(total, pseudo_rand_gen(os.urandom(32), modulus, [(parameters,)]))

    server = removed * seconds(unmask) / TIMED
    server += (clients - gone) * seconds(lambda: combine_shares(seed_shares))
    server += gone * seconds(lambda: combine_shares(key_shares))
    return (
        f"Flower SecAgg+, {clients} clients, {gone} gone, {clients - 1} neighbors, 22 bits: "
        f"up {up / TIMED / 1e6:.3f} MB a client ({up / TIMED / 4 / parameters:.2f}x float32), "
        f"client {spent / TIMED:.3f} s, server {server:.2f} s (of {removed} masks and {clients} secrets, {TIMED} and 1 timed)"
    )


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--parameters", type=int, default=1_000_000)
    parser.add_argument("--gone", type=float, nargs="+", default=[0.0, 0.3])
    parser.add_argument("--degree", type=int, help="neighbors of a client; all others where it is left out")
    parser.add_argument("--bits", type=int, default=16)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--flower", action="store_true")
    options = parser.parse_args()
    for clients in options.clients:
        for share in options.gone:
            if options.flower:
                print(flower(clients, options.parameters, share), flush=True)
            else:
                figures = ours(clients, options.parameters, share, options.degree, options.bits, options.clip)
                print(figures, flush=True)


if __name__ == "__main__":
    main()
