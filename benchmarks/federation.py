"""What federated training in one process costs beyond the clients' local training; and whether killing it changes anything.

    python benchmarks/federation.py overhead --clients 50 --repeats 15
    python benchmarks/federation.py kill --repeats 3

overhead: one repeat is one round of all clients, and the same local trainings as a plain loop: `torch.optim.SGD` on a copy of the
model, nothing sent, nothing averaged. Rounds and loops alternate; CPU time of one thread. The overhead of a pair is
round / loop - 1; told are the median over the pairs and its 95 % interval (order statistics).

kill: `gradiometer train` on the digits with error feedback and FedAdam is killed (SIGKILL) again and again, each time a
random while after a round was told, and started again until it ends; every tensor of its last checkpoint is compared,
bit for bit, with that of a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import copy
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from gradiometer.core import Batch, Client, Recipe, image_layout
from gradiometer.federation import FedAvg, Federation, advance, begin, deal
from gradiometer.models import convnet64, lenet
from gradiometer.numerics.intervals import median_interval

ALLOWED = 0.10
MODELS: dict[str, Callable[..., nn.Module]] = {"lenet": lenet, "convnet64": convnet64}


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "kill"])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--examples", type=int, default=40, help="of a client")
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--model", choices=list(MODELS), default="lenet")
    options = parser.parse_args()
    {"overhead": overhead, "kill": kill}[options.what](options)


def overhead(options: argparse.Namespace) -> None:
    rng = torch.Generator().manual_seed(0)
    count = options.clients * options.examples
    data = Batch(x=torch.rand(count, 3, 32, 32, generator=rng), y=torch.randint(10, (count,), generator=rng))
    recipe = Recipe(sends="delta", mode="train", epochs=1, batch_size=options.batch_size, lr=0.01)
    model = MODELS[options.model]((3, 32, 32), 10)
    client = Client(model=model, layout=image_layout((3, 32, 32), 10), recipe=recipe)
    members = deal(data, options.clients, alpha=None)
    federation = Federation(client=client, members=members, strategy=FedAvg())
    state = begin(federation)
    for _ in range(2):  # allocator and caches warm up
        state = advance(federation, state, measured=False)
        plain(model, [member.train for member in members], recipe)
    pairs = []
    for i in range(options.repeats):
        first = _seconds(lambda: advance(federation, state, measured=False)) if i % 2 else None
        loop = _seconds(lambda: plain(model, [member.train for member in members], recipe))
        round = first if first is not None else _seconds(lambda: advance(federation, state, measured=False))
        pairs.append(round / loop - 1)
        print(f"round {round:.3f} s, plain loop {loop:.3f} s, overhead {100 * pairs[-1]:+.1f} %", flush=True)
    told = median_interval(pairs)
    verdict = "PASS" if told.value <= ALLOWED else "MISS"
    print(
        f"{options.model}, {options.clients} clients of {options.examples} examples, batches of {options.batch_size}: overhead "
        f"{100 * told.value:.1f} % [{100 * told.lower:.1f}, {100 * told.upper:.1f}], n = {len(pairs)} pairs, "
        f"allowed {100 * ALLOWED:.0f} %: {verdict}"
    )


PLAN = """
title = "Killed"
[[client]]
name = "digits"
model = { name = "lenet", activation = "relu" }
data = { name = "digits", size = 16 }
recipe = { sends = "delta", batch_size = 16, lr = 0.05, shuffle = true }
[[attack]]
name = "RowSum"
[[defense]]
name = "TopK"
keep = 0.1
error_feedback = true
[audit]
undefended = false
[train]
rounds = 10
strategy = { name = "FedAdam", lr = 0.01 }
"""


def kill(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as place:
        plan = Path(place, "plan.toml")
        plan.write_text(PLAN)
        command = [sys.executable, "-m", "gradiometer", "train", str(plan), "-o"]
        whole, killed = Path(place, "whole"), Path(place, "killed")
        subprocess.run([*command, str(whole)], check=True, capture_output=True)
        chance, kills = random.Random(0), 0
        while True:
            process = subprocess.Popen([*command, str(killed)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
            assert process.stderr is not None
            told = [process.stderr.readline() for _ in range(chance.randint(2, 4))]  # the folder, then rounds
            if kills < options.repeats and all(told):
                time.sleep(chance.random() * 0.2)
                process.send_signal(signal.SIGKILL)
                kills += 1
                process.wait()
                continue
            process.stderr.read()
            assert process.wait() == 0
            break
        pairs = [load_file(next(run.glob("*/checkpoint.safetensors"))) for run in (whole, killed)]
    equal = pairs[0].keys() == pairs[1].keys() and all(torch.equal(pairs[0][k], pairs[1][k]) for k in pairs[0])
    print(f"{kills} kills, {len(pairs[0])} tensors: {'equal bit for bit: PASS' if equal else 'they differ: MISS'}")


def plain(model: nn.Module, parts: list[Batch], recipe: Recipe) -> None:
    """Every client's local training as anybody would write it."""
    for part in parts:
        own = copy.deepcopy(model).train(recipe.mode == "train")
        optimizer = torch.optim.SGD(own.parameters(), lr=recipe.lr)
        size = recipe.batch_size or part.size
        for first in range(0, part.size, size):
            optimizer.zero_grad()
            F.cross_entropy(own(part["x"][first : first + size]), part["y"][first : first + size]).backward()
            optimizer.step()


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
