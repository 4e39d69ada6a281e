"""Recursion through BatchNorm in train mode on CIFAR-10: hidden maps, labels, batch size, and the pictures.

    GRADIOMETER_DATA=... python benchmarks/recursion_train_mode.py maps --batches 2 4 8
    GRADIOMETER_DATA=... python benchmarks/recursion_train_mode.py pictures --batches 2 4

ResNet18 with torch's default weights, untrained, client in train mode, float32; nothing is granted but the model. `maps`
reads the inputs of the last block's two convolutions off their own gradients and compares them with the truth, example by
example. `pictures` runs the whole attack. Every draw has its own pictures from `cifar10_test3000` and its own network.
Settings were chosen on `cifar10_train8000`. Seconds are of CPU, one thread.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar import LAYOUT, pictures
from gradiometer.attacks.image import Recursive
from gradiometer.core import Batch, Client, Guess, NotApplicable, Recipe, Threat, Update, derive, play
from gradiometer.models import resnet18
from gradiometer.numerics.assignment import assign
from gradiometer.numerics.intervals import median_interval
from gradiometer.numerics.recursion.rows import input_maps
from gradiometer.numerics.recursion.shift import spectrum
from gradiometer.numerics.recursion.tracing import trace
from gradiometer.numerics.recursion.train_norm import in_train_mode
from gradiometer.numerics.recursion.train_top import read_train_top
from recursion import scores

NOTHING = Threat(recipe=False, batch_size=False, buffers=False, public=False)
LAYERS = ("layer4.1.conv1", "layer4.1.conv2")
COSINE, DECIBELS = 0.9999, 40.0


def drawn(data: Batch, examples: int, i: int) -> tuple[Batch, nn.Module, Update]:
    """The private batch, the network, and what the client sends."""
    private = data.take(torch.randperm(data.size, generator=derive(3, examples, i))[:examples].tolist())
    model = resnet18((3, 32, 32), 10, seed=i, init="torch")
    client = Client(model=model, layout=LAYOUT, recipe=Recipe(examples=examples, mode="train"))
    return private, model, play(client, private, rng=derive(0, i), threat=NOTHING)


def truth(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Inputs of the layers, flattened, an example a row."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> None:
        model.get_submodule(name).register_forward_pre_hook(lambda m, a: kept.update({name: a[0].detach()}))

    for name in LAYERS:
        keep(name)
    with torch.no_grad():
        model.train()(x)
    return {name: value.double().flatten(1) for name, value in kept.items()}


def cosines(found: Tensor, true: Tensor) -> list[float]:
    """Of every true row with the found row matched to it."""
    table = F.normalize(true) @ F.normalize(found.flatten(1)).T
    return [float(table[i, j]) for i, j in assign(-table)]


def maps(data: Batch, examples: int, draws: int) -> bool:
    """One row: the last block's hidden maps, batch size and labels."""
    found: list[float] = []
    seconds: list[float] = []
    sizes = labels = 0
    for i in range(draws):
        private, model, update = drawn(data, examples, i)
        gradient = {name: value.double() for name, value in update.as_gradient().items()}
        start = time.process_time()
        seen = [spectrum(gradient[f"{name}.weight"].transpose(0, 1), 16) for name in LAYERS]
        read = [
            input_maps(gradient[f"{name}.weight"], (4, 4), s.examples, rng=derive(1, i))
            for name, s in zip(LAYERS, seen)
        ]
        graph = in_train_mode(trace(model, (3, 32, 32)), model)
        top = read_train_top(graph, gradient, rng=derive(2, i))
        seconds.append(time.process_time() - start)
        true = truth(model, private["x"])
        for name, value in zip(LAYERS, read):
            good = not isinstance(value, str) and len(value) == examples
            found += cosines(value, true[name]) if good and isinstance(value, Tensor) else [0.0] * examples
        sizes += all(s.examples == examples for s in seen)
        labels += not isinstance(top, str) and sorted(top.labels.tolist()) == sorted(private["y"].tolist())
    passed = min(found) >= COSINE and sizes == draws
    print(
        f"maps, batch {examples}, {draws} draws: 1 - cosine median {1 - sorted(found)[len(found) // 2]:.0e}, "
        f"largest {1 - min(found):.0e} (n = {len(found)} maps), batch size {sizes} of {draws}, labels {labels} of {draws}, "
        f"median {median_interval(seconds).value:.1f} CPU s; wanted cosine {COSINE}: {'PASS' if passed else 'MISS'}",
        flush=True,
    )
    return passed


def whole(data: Batch, examples: int, draws: int) -> bool:
    """One row: the pictures."""
    found: list[float] = []
    seconds: list[float] = []
    labels = reached = exact = 0
    for i in range(draws):
        private, _, update = drawn(data, examples, i)
        start = time.process_time()
        try:
            guess = Recursive().run(update, derive(1, i))
        except NotApplicable as refusal:
            guess = Guess(tensors={}, notes={"exact": False, "way": str(refusal), "stopped": ""})
        seconds.append(time.process_time() - start)
        values = scores(guess, private)
        found += values
        labels += "y" in guess and sorted(guess["y"].tolist()) == sorted(private["y"].tolist())
        reached += "x" in guess
        exact += bool(guess.notes["exact"])
        print(
            f"  {i}: {min(values):.1f} dB, {seconds[-1]:.0f} s, {guess.notes['way']}; {guess.notes['stopped']}",
            flush=True,
        )
    middle = median_interval(found)
    passed = middle.value >= DECIBELS
    print(
        f"pictures, batch {examples}, {draws} draws: median {middle.value:.1f} dB [{middle.lower:.1f}, {middle.upper:.1f}] "
        f"(n = {len(found)}; 0 dB where none came back), worst {min(found):.1f}, above 40 dB "
        f"{sum(v > DECIBELS for v in found) / len(found):.2f}, reached {reached}, labels {labels}, called exact {exact}, "
        f"median {median_interval(seconds).value:.0f} CPU s; wanted {DECIBELS:.0f} dB: {'PASS' if passed else 'MISS'}",
        flush=True,
    )
    return passed


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("maps", "pictures"))
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--batches", type=int, nargs="*", default=[2, 4])
    parser.add_argument("--sheet", default="cifar10_test3000")
    options = parser.parse_args()
    data = pictures(options.sheet, LAYOUT)
    row = maps if options.what == "maps" else whole
    good = [row(data, examples, options.draws) for examples in options.batches]
    raise SystemExit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
