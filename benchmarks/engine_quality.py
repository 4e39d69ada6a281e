"""Quality for time: CPU seconds of ours until the picture is as good as the peer's, one example, labels as granted to the peer.

    GRADIOMETER_DATA=... python benchmarks/engine_quality.py convnet64 --peer-python PEER/bin/python --keep FOLDER
    GRADIOMETER_DATA=... python benchmarks/engine_quality.py resnet18 --images 5 --peer-python PEER/bin/python --keep FOLDER
    GRADIOMETER_DATA=... python benchmarks/engine_quality.py lenet --peer-python PEER/bin/python --keep FOLDER
    python benchmarks/engine_quality.py unrolled

`convnet64`, `resnet18`: the peer's `invertinggradients` with 1,000 iterations, labels granted to both; its answer's PSNR is what ours has to
reach. `lenet`: the peer's `deepleakage` on the sigmoid LeNet of DLG, labels granted to neither, until 30 dB or --cap CPU seconds; where it
does not get there the ratio is a lower limit. Ours is `AutoMatching` as it is exported; while it runs its iterates are compared with the truth,
which it does not see. Both get the same picture, weights and gradient, one thread and a process each, in turns; --keep holds the peer's answers,
which are then computed only once. `unrolled`: memory and seconds of one evaluation through many local steps, with and without checkpoints.
Settings were chosen on `cifar10_train8000`, but for one: that a nearly matching analytic start is kept was added after a first run on test
picture 0 of `convnet64`, which is therefore no evidence for that row.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cifar import LAYOUT, PLAIN, pictures
from gradiometer.attacks import AutoMatching
from gradiometer.attacks.image import recursing  # noqa: F401 - loaded before the clock runs, as what the peer needs is
from gradiometer.attacks.matching.trial import Trial
from gradiometer.core import Batch, Client, Field, Recipe, Threat, cross_entropy, derive, play, simulate
from gradiometer.metrics.image import pixels, psnr
from gradiometer.models import convnet64, lenet, resnet18
from gradiometer.numerics.distances import Cosine
from gradiometer.numerics.engine import Engine, capture  # noqa: F401
from gradiometer.numerics.intervals import median_interval
from gradiometer.numerics.recursion import consistency
from peer import breaching

S = (3, 32, 32)


@dataclass(frozen=True)
class Row:
    """A victim, the peer's configuration, and the factor in CPU time that is wanted."""

    model: Callable[[int], nn.Module]
    layout: dict[str, Field]
    config: str
    factor: float
    labels: bool = True


ROWS = {
    "convnet64": Row(lambda seed: convnet64(S, 10, seed=seed), LAYOUT, "invertinggradients", 10),
    "resnet18": Row(lambda seed: resnet18(S, 10, seed=seed, init="torch"), LAYOUT, "invertinggradients", 5),
    "lenet": Row(lambda seed: lenet(S, 10, seed=seed), PLAIN, "deepleakage", 20, labels=False),
}
GAIN = 3.0
"""Decibels above the peer's median that are wanted in the end."""
THIRTY = 30.0


@dataclass
class Watch:
    """When iterates first came up to a target: CPU seconds since the begin."""

    truth: Tensor
    field: Field
    target: float
    began: float = dataclasses.field(default_factory=time.process_time)
    until: float = float("inf")

    def look(self, x: Tensor) -> None:
        if self.until == float("inf") and self.score(x) >= self.target:
            self.until = time.process_time() - self.began

    def score(self, x: Tensor) -> float:
        return float(psnr(pixels(x.reshape(self.truth.shape), self.field), self.truth))


@contextmanager
def looking(watch: Watch) -> Iterator[None]:
    """Inside, the watch sees the iterates of every descent in pixels: of `Matching`, and where `Recursive` ends its walk."""
    note, descend = Trial._note, consistency.descend

    def noted(trial: Trial, point: object, unknowns: list[Tensor]) -> None:
        watch.look(unknowns[0])
        note(trial, point, unknowns)  # type: ignore[arg-type]

    def descended(objective: Callable[..., Tensor], start: Tensor, **options: object) -> object:
        def seen(points: Tensor, numbers: Tensor) -> Tensor:
            watch.look(points.detach())
            return objective(points, numbers)

        return descend(seen, start, **options)  # type: ignore[arg-type]

    Trial._note, consistency.descend = noted, descended  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Trial._note, consistency.descend = note, descend  # type: ignore[method-assign]


def compared(name: str, options: argparse.Namespace) -> bool:
    row, data = ROWS[name], pictures(options.sheet, ROWS[name].layout)
    ratios, ours, theirs, reached, spent, whole, bounds = [], [], [], [], [], [], 0
    for i in range(options.first, options.first + options.images):
        private = data.take([i])
        client = Client(model=row.model(i), layout=row.layout, recipe=Recipe())
        if row.config == "deepleakage":
            iterations, extra = 10**6, ["--decibel", str(THIRTY), "--cap", str(options.cap)]
            kept = f"{name}-{options.sheet}-{i}-{options.cap:g}s"
        else:
            iterations, extra = 1000, []
            kept = f"{options.sheet}-{i}-1000" if name == "convnet64" else f"{name}-{options.sheet}-{i}-1000"
        path = options.keep and options.keep / f"{kept}.safetensors"
        told = ["--model", name, "--config", row.config, *extra]
        peer = breaching(options.peer_python, client, private, iterations, *told, kept=path)
        truth = pixels(private["x"], row.layout["x"])
        other = float(psnr(pixels(peer["x"], row.layout["x"]), truth))
        until = float(peer["seconds"] if row.config == "invertinggradients" else peer["until"])
        bounds += (bound := until == float("inf"))
        until = float(peer["seconds"]) if bound else until
        update = play(client, private, rng=derive(0, i), threat=Threat(labels=row.labels))
        target = THIRTY if row.config == "deepleakage" else other
        watch = Watch(truth=truth, field=row.layout["x"], target=target)
        with looking(watch):
            guess = AutoMatching(iterations=options.iterations, analytic=not options.search).run(update, derive(1, i))
        total, mine = time.process_time() - watch.began, watch.score(guess["x"])
        if watch.until == float("inf") and mine >= target:
            watch.until = total
        ratios.append(until / watch.until)
        ours.append(mine)
        theirs.append(other)
        reached.append(min(watch.until, 1e6))
        spent.append(until)
        whole.append(total)
        print(
            f"  picture {i}: peer {other:.1f} dB, {'over ' if bound else ''}{until:.0f} s; ours there after {watch.until:.1f} s, "
            f"ended at {mine:.1f} dB after {total:.1f} s ({guess.notes['chosen']}; start {guess.notes.get('start', 'gray')})",
            flush=True,
        )
    factor, best, rival = (median_interval(values) for values in (ratios, ours, theirs))
    gain = best.value - rival.value
    good = factor.value >= row.factor and gain >= GAIN
    limits = f", of which {bounds} are lower limits" if bounds else ""
    times = [median_interval(values) for values in (reached, whole, spent)]
    shown = ", ".join(f"{t.value:.1f} [{t.lower:.1f}, {t.upper:.1f}]" for t in times)
    print(
        f"{name}, {row.config}: factor {factor.value:.1f} [{factor.lower:.1f}, {factor.upper:.1f}] (n = {factor.n}{limits}; {factor.method}), "
        f"CPU s of ours to the target, of ours to the end, and of the peer {shown}; ended at median {best.value:.1f} dB [{best.lower:.1f}, {best.upper:.1f}] "
        f"against {rival.value:.1f} [{rival.lower:.1f}, {rival.upper:.1f}]; wanted factor {row.factor:g} and {GAIN:g} dB more: "
        f"{'PASS' if good else 'MISS'}"
    )
    return good


def unrolled(options: argparse.Namespace) -> bool:
    """Each way in a process of its own, as the largest memory of a process never falls."""
    for steps in (4, 16, 64):
        found = [once(steps, checkpoint) for checkpoint in (False, True)]
        (plain, slow), (lean, again) = found
        print(
            f"resnet18 (width 1/4), {steps} local steps of 4 pictures: {plain:.0f} MiB and {slow:.2f} CPU s an evaluation unrolled, "
            f"{lean:.0f} MiB and {again:.2f} s with checkpoints (memory over that before: {plain / lean:.1f} times less)",
            flush=True,
        )
    return True


def once(steps: int, checkpoint: bool) -> tuple[float, float]:
    """MiB above those before the evaluation, and CPU seconds."""
    call = f"import engine_quality as q; q.evaluate({steps}, {checkpoint})"
    folder = Path(__file__).parent
    shown = subprocess.run([sys.executable, "-c", call], cwd=folder, check=True, capture_output=True, text=True).stdout
    memory, seconds = shown.split()
    return float(memory), float(seconds)


def evaluate(steps: int, checkpoint: bool) -> None:
    torch.set_num_threads(1)
    model = resnet18(S, 10, width=0.25, init="torch")
    recipe = Recipe(sends="delta", epochs=steps, batch_size=4, lr=0.01, examples=4)
    batch = Batch(x=torch.randn(4, *S, generator=derive(0)), y=torch.arange(4))
    sent = simulate(model, cross_entropy, recipe, batch).values
    engine = Engine(
        model=model,
        loss=cross_entropy,
        recipe=recipe,
        distance=Cosine(),
        sent=sent,
        general=True,
        checkpoint=checkpoint,
    )
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    engine([torch.zeros_like(batch["x"])], lambda unknowns: Batch(x=unknowns[0], y=batch["y"]))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - before) / 1024, time.process_time() - began)


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=(*ROWS, "unrolled"))
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--from", dest="first", type=int, default=0, help="first picture")
    parser.add_argument("--iterations", type=int, default=4000, help="of ours, at most")
    parser.add_argument("--search", action="store_true", help="ours starts from gray, without any analytic start")
    parser.add_argument("--cap", type=float, default=150.0, help="CPU seconds of the peer's `deepleakage`")
    parser.add_argument("--peer-python", help="interpreter with `breaching` installed")
    parser.add_argument("--keep", type=Path, help="folder for the peer's answers")
    parser.add_argument("--sheet", default="cifar10_test3000", help="cifar10_train8000 to develop")
    options = parser.parse_args()
    raise SystemExit(0 if (unrolled(options) if options.what == "unrolled" else compared(options.what, options)) else 1)


if __name__ == "__main__":
    main()
