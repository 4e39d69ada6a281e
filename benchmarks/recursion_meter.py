"""The meter's word against what the attack reaches, over random networks and batch sizes on CIFAR-10.

    GRADIOMETER_DATA=... python benchmarks/recursion_meter.py --half development
    GRADIOMETER_DATA=... python benchmarks/recursion_meter.py --half evaluation
    GRADIOMETER_DATA=... python benchmarks/recursion_meter.py --half evaluation --families more

The meter counts equations and reads spectra, and solves nothing. Its `exact`, `partial` and `not` are compared with what
`Recursive` reached: pictures that it called exact, something (pictures or tensors that agree less), or nothing.
Networks of the evaluation half, drawn from odd seeds, were not used while the meter was developed; neither were the
pictures of `cifar10_test3000`, which they are given. `--families more` draws networks with max pooling, bottlenecks and
small transformers instead of plain convolutions, ResNet18, LeNet and perceptrons.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter

import torch
from torch import nn

import random_families
from cifar import LAYOUT, pictures
from gradiometer.attacks.image import Recursive
from gradiometer.core import Client, NotApplicable, Recipe, Threat, derive, image_layout, play
from gradiometer.models import lenet, mlp, resnet18
from gradiometer.numerics.intervals import wilson
from gradiometer.numerics.recursion.meter import meter
from gradiometer.numerics.recursion.tracing import trace

NOTHING = Threat(recipe=False, batch_size=False, buffers=False, public=False)
SHEETS = {"development": "cifar10_train8000", "evaluation": "cifar10_test3000"}
ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


def convolutions(draw: random.Random, side: int) -> nn.Sequential:
    """A plain network of one to four convolutions, with or without biases, normalization, strides and a global mean."""
    between, bias, normal = draw.choice([*ACTIVATIONS, "relu", "relu"]), draw.random() < 0.8, draw.random() < 0.4
    parts: list[nn.Module] = []
    width = 3
    for _ in range(draw.randint(1, 4)):
        out, kernel = draw.choice([4, 8, 12, 16, 24, 32, 48, 64]), draw.choice([3, 3, 5])
        stride = 2 if side > 8 and draw.random() < 0.5 else 1
        parts.append(nn.Conv2d(width, out, kernel, stride=stride, padding=kernel // 2, bias=bias or not normal))
        width, side = out, -(-side // stride)
        if normal:
            parts.append(nn.BatchNorm2d(width))
        parts.append(ACTIVATIONS[between]())
        if draw.random() < 0.1:
            parts.append(nn.AvgPool2d(2))
            side //= 2
    if draw.random() < 0.3:
        return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(width * side * side, 10))


def network(seed: int) -> tuple[str, nn.Module, int, int]:
    """Kind, network, side of its pictures and batch size of a seed."""
    draw = random.Random(seed)
    kind = draw.choice(["convolutions"] * 5 + ["resnet18"] * 3 + ["lenet", "mlp"])
    side, examples = draw.choice([16, 24, 32]), draw.choice([1, 1, 1, 2, 3, 4])
    torch.manual_seed(seed)
    if kind == "convolutions":
        return kind, convolutions(draw, side).eval(), side, examples
    if kind == "resnet18":
        width = draw.choice([0.125, 0.25, 0.5, 0.5, 1.0])
        return (
            f"{kind}, width {width}",
            resnet18((3, side, side), 10, width=width, seed=seed, init="torch").eval(),
            side,
            examples,
        )
    if kind == "lenet":
        channels = draw.choice([4, 8, 12, 16, 20, 24, 32])
        made = lenet(
            (3, side, side), 10, activation=draw.choice(["relu", "sigmoid", "tanh"]), channels=channels, seed=seed
        )
        return f"{kind}, {channels} channels", made.eval(), side, examples
    return kind, mlp((3, side, side), 10, seed=seed).eval(), side, examples


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=tuple(SHEETS), default="evaluation")
    parser.add_argument("--families", choices=("first", "more"), default="first")
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    data, odd = pictures(SHEETS[options.half], LAYOUT), options.half == "evaluation"
    table: Counter[tuple[str, str]] = Counter()
    longest = 0.0
    for seed in range(2 * options.first + odd, 2 * (options.first + options.networks), 2):
        kind, model, side, examples = (network if options.families == "first" else random_families.network)(seed)
        layout = image_layout((3, side, side), 10, mean=LAYOUT["x"].mean, std=LAYOUT["x"].std)
        chosen = data.take(torch.randperm(data.size, generator=derive(5, seed))[:examples].tolist())
        private = chosen.replace(x=nn.functional.interpolate(chosen["x"], size=side, mode="area"))
        client = Client(model=model, layout=layout, recipe=Recipe(examples=examples))
        update = play(client, private, rng=derive(0, seed), threat=NOTHING)
        start = time.process_time()
        reading = meter(trace(model, (3, side, side)), {k: v.double() for k, v in update.values.items()})
        seconds = time.process_time() - start
        longest = max(longest, seconds)
        try:
            guess = Recursive().run(update, derive(1, seed))
            reached, why = (
                ("exact" if guess.notes["exact"] else "partial"),
                f"{guess.notes['way']} {guess.notes['stopped']}",
            )
        except NotApplicable as refusal:
            reached, why = "not", refusal.message
        table[reading.verdict, reached] += 1
        mark = " " if reading.verdict == reached else "!"
        print(
            f"{mark} {seed} {kind}, {side} px, batch {examples}: predicted {reading.verdict} ({reading.reason}), ",
            end="",
        )
        print(f"reached {reached} ({why}); {seconds:.2f} s", flush=True)
    agreed, total = sum(n for (said, reached), n in table.items() if said == reached), sum(table.values())
    share = wilson(agreed, total)
    print("predicted, reached:", {f"{said}, {reached}": n for (said, reached), n in sorted(table.items())})
    print(
        f"{options.half}: {agreed} of {total} agree, {share.value:.3f} [{share.lower:.3f}, {share.upper:.3f}]; the meter's longest "
        f"{longest:.2f} CPU s; wanted 0.95: {'PASS' if share.value >= 0.95 else 'MISS'}"
    )
    raise SystemExit(0 if share.value >= 0.95 else 1)


if __name__ == "__main__":
    main()
