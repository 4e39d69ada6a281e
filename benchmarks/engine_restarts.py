"""Two restarts side by side on two cores against one; what a process costs; and why restarts are not batched in one call.

    python benchmarks/engine_restarts.py pairs --victims convnet64 lenet
    python benchmarks/engine_restarts.py fork
    python benchmarks/engine_restarts.py batched

`pairs`: Inverting Gradients with one restart, and with two in two processes (`jobs=2`), in turns; the factor is 2 T1 / T2 in
wall time, median of the pairs, wanted 1.8. Others may use the machine: what they took (busy cores that were not ours, from
/proc/stat) stands beside each pair, the factor over the pairs with less than `--quiet` of a core of it is printed as well,
and so is the factor in CPU seconds, what two cores of our own would give. `fork`: seconds from forking a process to its answer, without work, by
victim. `batched`: CPU seconds a restart and evaluation, one thread, of the engine in a loop and of torch.func.vmap over the same
restarts by double backward.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from gradiometer.attacks.image import InvertingGradients
from gradiometer.attacks.matching import Matching
from gradiometer.attacks.matching.side_by_side import Here, side_by_side
from gradiometer.core import Batch, Client, Recipe, Threat, Update, cross_entropy, derive, image_layout, play, simulate
from gradiometer.models import convnet64, lenet, mlp, resnet18
from gradiometer.numerics.distances import Cosine
from gradiometer.numerics.engine import Engine
from gradiometer.numerics.intervals import median_interval
from starting import begun

S = (3, 32, 32)
VICTIMS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "lenet": (lambda: lenet(S, 10), 800),
    "mlp": (lambda: mlp(S, 10, widths=(1024, 1024, 1024)), 300),
    "convnet64": (lambda: convnet64(S, 10), 20),
    "resnet18": (lambda: resnet18(S, 10, init="torch"), 20),
}
"""With iterations of some seconds in all."""
RESTARTS = 8


def observed(name: str) -> Update:
    """The update of one random picture: times do not depend on it."""
    client = Client(model=VICTIMS[name][0](), layout=image_layout(S, 10), recipe=Recipe(examples=1, mode="eval"))
    batch = Batch(x=torch.rand(1, *S, generator=derive(0)), y=torch.tensor([3]))
    return play(client, batch, rng=derive(1), threat=Threat(labels=True))


def cpu() -> float:
    """CPU seconds of this process and of its ended children."""
    return sum(
        u.ru_utime + u.ru_stime
        for u in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def machine() -> float:
    """Seconds that all cores were busy since the machine started."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, soft, steal, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def timed(attack: Matching, update: Update) -> tuple[float, float, float]:
    """Wall and CPU seconds of a run, and the cores that others kept busy meanwhile."""
    before = time.monotonic(), cpu(), machine()
    attack.run(update, derive(2))
    wall, ours, all_of_them = (now - then for now, then in zip((time.monotonic(), cpu(), machine()), before))
    return wall, ours, max(0.0, (all_of_them - ours) / wall)


def pairs(options: argparse.Namespace) -> bool:
    """One row a victim."""
    good = []
    for name in options.victims:
        update, iterations = observed(name), VICTIMS[name][1]
        one = InvertingGradients(iterations=iterations, start="randn")
        two = replace(one, restarts=2, jobs=2)
        timed(two, update)
        turns = [(timed(one, update), timed(two, update)) for _ in range(options.repeats)]
        walls = median_interval([2 * a[0] / b[0] for a, b in turns])
        own = median_interval([2 * 2 * a[1] / b[1] for a, b in turns])
        quiet = [2 * a[0] / b[0] for a, b in turns if max(a[2], b[2]) < options.quiet]
        others = sorted(max(a[2], b[2]) for a, b in turns)
        good.append(walls.value >= 1.8)
        print(
            f"{name}, {iterations} iterations: {walls.value:.2f} [{walls.lower:.2f}, {walls.upper:.2f}] times the throughput of one "
            f"(n = {len(turns)} pairs); in CPU seconds {own.value:.2f} [{own.lower:.2f}, {own.upper:.2f}]; one takes "
            f"{sorted(a[0] for a, _ in turns)[len(turns) // 2]:.2f} s; others kept {others[len(others) // 2]:.2f} cores busy "
            f"({others[0]:.2f} to {others[-1]:.2f}); wanted 1.8: {'PASS' if good[-1] else 'MISS'}",
            flush=True,
        )
        if len(quiet) >= 6:
            found = median_interval(quiet)
            print(
                f"  pairs with less than {options.quiet:g} cores of others: {found.value:.2f} [{found.lower:.2f}, "
                f"{found.upper:.2f}] (n = {found.n}): {'PASS' if found.value >= 1.8 else 'MISS'}",
                flush=True,
            )
    return all(good)


def fork(options: argparse.Namespace) -> bool:
    """Starts that end at once, in two processes: what is left is the price of processes."""
    for name in options.victims:
        attack = InvertingGradients(iterations=1, restarts=2)
        trials = [begun(attack, observed(name), derive(1), derive(2, i), evaluations=1)[1] for i in range(2)]
        Here(trials, compare=True)(True)
        trials[0].objective(trials[0].unknowns, None, False)
        spent, evaluation = [], []
        for _ in range(options.repeats):
            began = time.monotonic()
            trials[0].objective(trials[0].unknowns, None, False)
            evaluation.append(time.monotonic() - began)
            began = time.monotonic()
            side_by_side(trials, lambda group, meeting: None, 2, compare=False)
            spent.append(time.monotonic() - began)
        costs = median_interval([a - b for a, b in zip(spent, evaluation)])
        print(
            f"{name}: two processes cost {1e3 * costs.value:.0f} ms [{1e3 * costs.lower:.0f}, {1e3 * costs.upper:.0f}] (n = {costs.n}), "
            f"as much as {costs.value / median_interval(evaluation).value:.1f} evaluations",
            flush=True,
        )
    return True


def batched(options: argparse.Namespace) -> bool:
    """One row a victim."""
    for name in options.victims:
        print(in_one_call(name, options.repeats), flush=True)
    return True


def in_one_call(name: str, repeats: int) -> str:
    """Restarts in one call of double backward, against the engine's loop over them."""
    model, recipe = VICTIMS[name][0]().eval(), Recipe(examples=1, mode="eval")
    x, y = torch.rand(1, *S, generator=derive(0)), torch.tensor([3])
    sent = simulate(model, cross_entropy, recipe, Batch(x=x, y=y)).values
    engine = Engine(model=model, loss=cross_entropy, recipe=recipe, distance=Cosine(), sent=sent)
    weights = {key: p.detach() for key, p in model.named_parameters()}
    starts = torch.randn(RESTARTS, 1, *S, generator=derive(1))

    def objective(x: Tensor) -> Tensor:
        moved = grad(lambda w: nn.functional.cross_entropy(functional_call(model, w, (x,)), y))(weights)
        inner, own, other = (
            torch.stack([(a[key] * b[key]).sum() for key in sent]).sum()
            for a, b in ((moved, sent), (moved, moved), (sent, sent))
        )
        return 1 - inner / (own * other).sqrt()

    def together() -> Tensor:
        return vmap(grad(objective))(starts)

    def loop() -> Tensor:
        return torch.stack([engine([start], lambda u: Batch(x=u[0], y=y)).gradient[0] for start in starts])

    off = float((together() - loop()).norm() / loop().norm())
    turns = [(seconds(together) / RESTARTS, seconds(loop) / RESTARTS) for _ in range(repeats)]
    ratio = median_interval([a / b for a, b in turns])
    return (
        f"{name}: {RESTARTS} restarts in one call take {ratio.value:.2f} [{ratio.lower:.2f}, {ratio.upper:.2f}] times the CPU of "
        f"the engine's loop ({1e3 * sorted(b for _, b in turns)[len(turns) // 2]:.2f} ms an evaluation; n = {ratio.n}; path "
        f"{engine.path}; derivatives differ by {off:.0e})"
    )


def seconds(function: Callable[[], object]) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pairs", "fork", "batched"))
    parser.add_argument("--victims", nargs="*", choices=tuple(VICTIMS), default=["lenet", "convnet64"])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--quiet", type=float, default=0.1)
    options = parser.parse_args()
    raise SystemExit(0 if {"pairs": pairs, "fork": fork, "batched": batched}[options.what](options) else 1)


if __name__ == "__main__":
    main()
