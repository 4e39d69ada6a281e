"""ResNet18 in eval mode, batches of 16 and 32: recursion beside gradient matching that has a multiple of its time.

    GRADIOMETER_DATA=... python benchmarks/recursion_batches.py --batches 16 32 --draws 5 --rivals 2 --factor 20

Recursion is granted neither labels nor the batch size; the rivals are granted both. Networks are untrained, with torch's
default weights; gradients are torch's in float32. Rivals run on the first draws only, for `factor` times the wall-clock
seconds that recursion took on the same draw, at their own settings otherwise: their schedules follow the time. One thread;
on a busy machine both kinds of seconds count more than the work.
"""

from __future__ import annotations

import argparse
import time

import torch

from cifar import LAYOUT, pictures
from gradiometer.attacks.image import InvertingGradients, Recursive, SeeThrough
from gradiometer.core import Attack, Batch, Client, Guess, NotApplicable, Recipe, Threat, derive, play
from gradiometer.models import resnet18
from gradiometer.numerics.intervals import median_interval
from recursion import NOTHING, scores

RIVALS = {"InvertingGradients": InvertingGradients, "SeeThrough": SeeThrough}
UNLIMITED = 10**6
"""Evaluations that the rivals' seconds end before."""


def attacked(attack: Attack, client: Client, private: Batch, index: int, threat: Threat) -> tuple[Guess, float, float]:
    """The guess, the CPU seconds and the wall-clock seconds that it took."""
    update = play(client, private, rng=derive(0, index), threat=threat)
    cpu, wall = time.process_time(), time.monotonic()
    try:
        guess = attack.run(update, derive(1, index))
    except NotApplicable as refusal:
        guess = Guess(tensors={}, notes={"exact": False, "way": str(refusal)})
    return guess, time.process_time() - cpu, time.monotonic() - wall


def line(name: str, values: list[float], seconds: list[float], more: str = "") -> None:
    """Prints a median over all pictures with its interval."""
    middle = median_interval(values)
    print(
        f"{name}: median {middle.value:.1f} dB [{middle.lower:.1f}, {middle.upper:.1f}] (n = {len(values)} pictures of "
        f"{len(seconds)} draws), worst {min(values):.1f}, above 60 dB {sum(v > 60 for v in values) / len(values):.2f}, "
        f"median {sorted(seconds)[len(seconds) // 2]:.0f} CPU s{more}",
        flush=True,
    )


def compared(examples: int, draws: range, rivals: list[str], compete: int, factor: float, sheet: str) -> None:
    data = pictures(sheet, LAYOUT)
    found: dict[str, list[float]] = {}
    spent: dict[str, list[float]] = {}
    labels = exact = 0
    for i in draws:
        private = data.take(torch.randperm(data.size, generator=derive(3, examples, i))[:examples].tolist())
        model = resnet18((3, 32, 32), 10, seed=i, init="torch")
        client = Client(model=model, layout=LAYOUT, recipe=Recipe(examples=examples))
        guess, seconds, wall = attacked(Recursive(), client, private, i, NOTHING)
        results = {"Recursive": (guess, seconds)}
        labels += "y" in guess and sorted(guess["y"].tolist()) == sorted(private["y"].tolist())
        exact += bool(guess.notes["exact"])
        for rival in rivals if i - draws.start < compete else ():
            attack = RIVALS[rival](iterations=UNLIMITED, seconds=factor * wall)
            answer, seconds, _ = attacked(attack, client, private, i, Threat(labels=True))
            results[rival] = answer, seconds
        for name, (answer, seconds) in results.items():
            values = scores(answer, private)
            found[name] = [*found.get(name, []), *values]
            spent[name] = [*spent.get(name, []), seconds]
            note = answer.notes.get("way", f"{answer.notes.get('iterations')} evaluations")
            print(f"  {i} {name}: {min(values):.1f} to {max(values):.1f} dB, {seconds:.0f} s, {note}", flush=True)
    for name, values in found.items():
        more = f", labels and batch size {labels}, called exact {exact} of {len(draws)}" if name == "Recursive" else ""
        line(f"batch {examples}, {name}", values, spent[name], more)


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="*", default=[16, 32])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="number of the first draw")
    parser.add_argument("--rivals", type=int, default=2, help="on how many of the draws the rivals run")
    parser.add_argument("--against", nargs="*", default=list(RIVALS), choices=list(RIVALS))
    parser.add_argument("--factor", type=float, default=20.0)
    parser.add_argument("--sheet", default="cifar10_test3000")
    options = parser.parse_args()
    for examples in options.batches:
        draws = range(options.first, options.first + options.draws)
        compared(examples, draws, options.against, options.rivals, options.factor, options.sheet)


if __name__ == "__main__":
    main()
