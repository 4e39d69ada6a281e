"""Exact recursion against defenses: what noise, rounding, sparsification and clipping leave of it, and what was predicted.

    GRADIOMETER_DATA=... python benchmarks/recursion_defenses.py noise --record noise.json
    GRADIOMETER_DATA=... python benchmarks/recursion_defenses.py defenses --draws 10
    GRADIOMETER_DATA=... python benchmarks/recursion_defenses.py steps --draws 10
    GRADIOMETER_DATA=... python benchmarks/recursion_defenses.py sums --draws 10 --init torch

ResNet18 (He's weights unless `--init torch`, others each draw), eval mode, batch 1, pictures from `cifar10_test3000`. A noise level
s means normal noise of deviation s times the root mean square of each tensor, on every entry of it. The informed
attacker knows the defense and its strength; `--naive` is the one who does not. The prediction is
`numerics.recursion.tolerance`, from the clean gradient: PSNR to first order, and the level that closes the spectrum's gap. `sums` are over several clients, each of which
defends itself; nobody tells the attacker how many examples each one has.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch

from cifar import LAYOUT, STD, pictures
from gradiometer.attacks.image import Recursive
from gradiometer.core import (
    Attack,
    Batch,
    Client,
    Defense,
    Guess,
    NotApplicable,
    Recipe,
    Threat,
    derive,
    play,
    play_sum,
)
from gradiometer.defenses import (
    QSGD,
    BatchNormToGroupNorm,
    Clip,
    FederatedDropout,
    GaussianNoise,
    LaplaceNoise,
    Prune,
    Quantize,
    SelectiveEncryption,
    Sign,
    Ternary,
    TopK,
    chain,
)
from gradiometer.models import resnet18
from gradiometer.numerics.intervals import median_interval
from gradiometer.numerics.recursion.tolerance import Tolerance, tolerance
from gradiometer.numerics.recursion.tracing import trace
from recursion import NOTHING, scores

LEVELS = (0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1)
DEFENSES: dict[str, Defense] = {
    "16 bits, one grid a tensor": Quantize(bits=16, scheme="symmetric"),
    "8 bits, one grid a tensor": Quantize(bits=8, scheme="symmetric"),
    "6 bits, one grid a tensor": Quantize(bits=6, scheme="symmetric"),
    "4 bits, one grid a tensor": Quantize(bits=4, scheme="symmetric"),
    "16 bits, one grid for all": Quantize(bits=16),
    "8 bits, one grid for all": Quantize(bits=8),
    "top 50 % of each tensor": TopK(keep=0.5, scope="tensor"),
    "top 10 % of each tensor": TopK(keep=0.1, scope="tensor"),
    "prune to 50 %": Prune(keep=0.5),
    "clip to 1": Clip(bound=1.0),
    "clip every tensor": Clip(bound=1.0, norm="per_layer"),
    "clip entries to 0.001": Clip(bound=1e-3, norm="linf"),
    "clip to 1, noise 1e-6": chain(Clip(bound=1.0), GaussianNoise(std=1e-6)),
    "clip to 1, noise 1e-5": chain(Clip(bound=1.0), GaussianNoise(std=1e-5)),
    "clip to 1, noise 1e-4": chain(Clip(bound=1.0), GaussianNoise(std=1e-4)),
    "Laplace noise 1e-2": LaplaceNoise(std=1e-2, relative=True),
    "QSGD 8 bits": QSGD(bits=8),
    "QSGD 4 bits": QSGD(bits=4),
    "ternary": Ternary(),
    "sign": Sign(),
    "a quarter of the units dropped": FederatedDropout(rate=0.25),
    "the largest 1 % encrypted": SelectiveEncryption(share=0.01),
    "the largest 10 % encrypted": SelectiveEncryption(share=0.1),
    "GroupNorm for BatchNorm": BatchNormToGroupNorm(),
}
"""DP-SGD and client-level DP of one example send what clipping with noise sends."""
STEPS = {f"{epochs} steps of {lr:g}": (epochs, lr) for epochs in (2, 5) for lr in (1e-2, 1e-3, 1e-4, 1e-5)}
SUMS: dict[str, tuple[tuple[int, ...], Defense]] = {
    "2 clients, 1 example each": ((1, 1), Defense()),
    "4 clients, 1 example each": ((1, 1, 1, 1), Defense()),
    "2 clients, 1 and 3 examples": ((1, 3), Defense()),
    "2 clients, 1 example each, clipped to 1": ((1, 1), Clip(bound=1.0)),
}


def examples(sheet: str, draws: int, count: int = 1) -> Iterator[tuple[int, Batch]]:
    """The private pictures of every draw."""
    data = pictures(sheet, LAYOUT)
    for i in range(draws):
        yield i, data.take(torch.randperm(data.size, generator=derive(3, count, i))[:count].tolist())


def attempt(
    attack: Attack, client: Client, private: Batch, i: int, defense: Defense, threat: Threat, sizes: tuple[int, ...]
) -> Guess:
    """The guess about one round, of as many clients as there are sizes; a refusal is one without pictures."""
    rng, parts = derive(0, i), [private.take(part) for part in torch.arange(private.size).split(list(sizes))]
    if len(parts) == 1:
        update = play(client, private, rng=rng, threat=threat, defense=defense)
    else:
        update = play_sum(client, parts, rng=rng, threat=threat, defense=defense)
    try:
        return attack.run(update, derive(1, i))
    except NotApplicable as refusal:
        return Guess(
            tensors={}, notes={"exact": False, "way": f"refused: {refusal}"[:160], "stopped": "", "spectrum": None}
        )


def row(
    name: str,
    defense: Defense,
    options: argparse.Namespace,
    recipe: Recipe,
    threat: Threat,
    sizes: tuple[int, ...] = (1,),
) -> dict[str, object]:
    """Prints a row and gives its figures. Args: sizes: examples of every client."""
    found: list[float] = []
    gaps: list[float] = []
    seconds: list[float] = []
    exact = labels = 0
    attack = Recursive() if options.naive or len(sizes) > 1 else defense.informed(Recursive()) or Recursive()
    for i, private in examples(options.sheet, options.draws, sum(sizes)):
        client = Client(model=resnet18((3, 32, 32), 10, seed=i, init=options.init), layout=LAYOUT, recipe=recipe)
        start = time.process_time()
        guess = attempt(attack, client, private, i, defense, threat, sizes)
        seconds.append(time.process_time() - start)
        found += scores(guess, private)
        gaps.append((guess.notes["spectrum"] or {"gap": math.nan})["gap"])
        exact += bool(guess.notes["exact"])
        labels += "y" in guess and sorted(guess["y"].tolist()) == sorted(private["y"].tolist())
        if options.verbose:
            worst = min(found[-private.size :])
            print(f"  {i}: {worst:.1f} dB, {guess.notes['way']}; {guess.notes['stopped']}", flush=True)
    middle = median_interval(found)
    print(
        f"{name}{' (naive)' if options.naive else ''}: median {middle.value:.1f} dB [{middle.lower:.1f}, {middle.upper:.1f}] "
        f"(n = {len(found)}), worst {min(found):.1f}, best {max(found):.1f}, above 60 dB {sum(v > 60 for v in found)}, labels {labels}, "
        f"called exact {exact}, gap {median(gaps):.3g}, median {median(seconds):.1f} s",
        flush=True,
    )
    return {"name": name, "found": found, "gaps": gaps}


def predictions(options: argparse.Namespace) -> list[Tolerance]:
    """For every draw, noise of relative level 1."""
    result = []
    for i, private in examples(options.sheet, min(options.draws, options.predicted)):
        model = resnet18((3, 32, 32), 10, seed=i, init=options.init)
        clean = play(Client(model=model, layout=LAYOUT), private, rng=derive(0, i)).values
        gradient = {name: value.double() for name, value in clean.items()}
        unit = {name: value.square().mean().expand_as(value) for name, value in gradient.items()}
        graphs = [trace(model, (3, 32, 32), dtype=dtype) for dtype in (torch.float64, torch.float32)]
        result.append(tolerance(graphs[0], graphs[1], gradient, private["x"], unit))
        print(f"  {i}: error {result[-1].error:.2f} a level, gap closes at {result[-1].closes:.2f}", flush=True)
    return result


def decibels(error: float) -> float:
    """PSNR of a root mean square error in normalized units."""
    return -20 * math.log10(error * math.sqrt(sum(s * s for s in STD) / 3))


def blind(options: argparse.Namespace) -> float:
    """Median PSNR of the mean training picture: what somebody says who saw nothing."""
    mean = pictures("cifar10_train8000", LAYOUT)["x"].mean(0, keepdim=True)
    return median(
        scores(Guess(tensors={"x": mean}), private)[0] for _, private in examples(options.sheet, options.draws)
    )


def noise(options: argparse.Namespace) -> None:
    """All noise levels, with the prediction."""
    if options.naive:
        for level in options.levels:
            row(f"noise {level:g}", GaussianNoise(std=level, relative=True), options, Recipe(), NOTHING)
        return
    told = predictions(options)
    error, closes = median(t.error for t in told), median(t.closes for t in told)
    rows = []
    for level in options.levels:
        defense = GaussianNoise(std=level, relative=True) if level else Defense()
        line = row(f"noise {level:g}", defense, options, Recipe(), NOTHING)
        rows.append({**line, "level": level})
        if level:
            print(f"    predicted {decibels(level * error):.1f} dB, gap {closes / level:.3g}", flush=True)
    print(f"gap closes, predicted: {closes:.2f} (n = {len(told)}); blind baseline {blind(options):.1f} dB", flush=True)
    record = {"rows": rows, "line": decibels(error), "closes": closes, "blind": blind(options)}
    if options.record:
        options.record.write_text(json.dumps(record))


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("noise", "defenses", "steps", "sums"))
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--predicted", type=int, default=10, help="draws behind the prediction")
    parser.add_argument("--levels", type=float, nargs="*", default=LEVELS)
    parser.add_argument("--naive", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--only", nargs="*", help="names of defenses, of steps or of sums")
    parser.add_argument("--init", choices=("he", "torch"), default="he")
    parser.add_argument("--sheet", default="cifar10_test3000")
    parser.add_argument(
        "--record", type=Path, help="where the figures of `noise` go, for benchmarks/recursion_noise_plot.py"
    )
    options = parser.parse_args()
    torch.optim.LBFGS([torch.zeros(1, requires_grad=True)])  # imports what torch loads on first use
    if options.what == "noise":
        noise(options)
    elif options.what == "defenses":
        for name, defense in DEFENSES.items():
            if not options.only or name in options.only:
                row(name, defense, options, Recipe(), NOTHING)
    elif options.what == "sums":
        for name, (sizes, defense) in SUMS.items():
            if not options.only or name in options.only:
                row(name, defense, options, Recipe(), NOTHING, sizes)
    else:
        threat = Threat(buffers=False, public=False)
        for name, (epochs, lr) in STEPS.items():
            if not options.only or name in options.only:
                row(name, Defense(), options, Recipe(sends="delta", epochs=epochs, lr=lr), threat)


if __name__ == "__main__":
    main()
