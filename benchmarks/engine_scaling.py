"""Time and memory of one iteration of the engine against batch, side of the pictures, and parameters.

    python benchmarks/engine_scaling.py all --record scaling.json
    python benchmarks/engine_scaling_plot.py scaling.json docs/assets/engine_scaling.png

One point is one process of one thread: CPU seconds of an iteration (cosine distance, gradient of one private batch; the least of
three after a first one, which also compares the paths), and the peak resident memory beyond that of a process which has only
loaded the libraries. `batch` and `side` take a ConvNet of width 32 in eval mode (0.74 million parameters at 32 px), `parameters` a
perceptron with three hidden layers of one width. Fitted, by least squares of logarithms, is fixed + scale * size^exponent, with 95 %
intervals of Student's t from the residuals.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import optimize, stats

from gradiometer.core import Batch, Recipe, cross_entropy, derive, simulate
from gradiometer.models import convnet64, mlp
from gradiometer.numerics.distances import Cosine
from gradiometer.numerics.engine import Engine

AXES = {
    "batch": (1, 2, 4, 8, 16, 32, 64, 128),
    "side": (32, 48, 64, 96, 128, 160, 192, 224),
    "parameters": (3, 10, 32, 95, 270, 700, 1700, 4000, 6300),
}
"""The last are widths of the perceptron: 9e3 to 1e8 parameters."""
WIDTH = 32


def memory() -> float:
    """Peak of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def point(axis: str, value: int) -> dict[str, float]:
    """Measures one point in this process."""
    torch.set_num_threads(1)
    before = memory()
    batch, side = (value if axis == "batch" else 1), (value if axis == "side" else 32)
    shape = (3, side, side)
    model = mlp(shape, 10, widths=(value,) * 3) if axis == "parameters" else convnet64(shape, 10, width=WIDTH)
    recipe = Recipe(examples=batch, mode="eval")
    x, y = torch.randn(batch, *shape, generator=derive(0, axis, value)), torch.arange(batch) % 10
    sent = simulate(model, cross_entropy, recipe, Batch(x=x, y=y)).values
    engine = Engine(model=model, loss=cross_entropy, recipe=recipe, distance=Cosine(), sent=sent)
    start = [torch.zeros_like(x)]
    spent = []
    for _ in range(4):
        began = time.process_time()
        engine(start, lambda u: Batch(x=u[0], y=y))
        spent.append(time.process_time() - began)
    parameters = sum(p.numel() for p in model.parameters())
    at = parameters if axis == "parameters" else value
    return {"at": at, "seconds": min(spent[1:]), "mebibytes": memory() - before, "fast": engine.path == "r-operator"}


@dataclass(frozen=True, kw_only=True)
class Law:
    """fixed + scale * size^exponent, with the interval of the exponent."""

    fixed: float
    scale: float
    exponent: float
    lower: float
    upper: float

    def __call__(self, size: float) -> float:
        return self.fixed + self.scale * size**self.exponent

    def __str__(self) -> str:
        return f"{self.exponent:.2f} [{self.lower:.2f}, {self.upper:.2f}]"


def fitted(points: list[dict[str, float]], figure: str) -> Law:
    """The law of the points; without a fixed cost where that is below a hundredth of the smallest figure."""
    size, seen = np.log([p["at"] for p in points]), np.log([p[figure] for p in points])
    line = stats.linregress(size, seen)
    fixed, scale, slope, error, left = -math.inf, line.intercept, line.slope, line.stderr, len(points) - 2

    def law(size: np.ndarray, fixed: float, scale: float, slope: float) -> np.ndarray:
        return np.logaddexp(fixed, scale + slope * size)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optimize.OptimizeWarning)  # no fixed cost, no covariance
        found, spread = optimize.curve_fit(law, size, seen, p0=(seen[0] - 1, seen[-1] - size[-1], 1.0), maxfev=20_000)
    if found[0] > seen[0] - math.log(100):
        (fixed, scale, slope), error, left = found, math.sqrt(spread[2, 2]), len(points) - 3
    half = float(stats.t.ppf(0.975, left) * error)
    return Law(
        fixed=math.exp(fixed), scale=math.exp(scale), exponent=float(slope), lower=slope - half, upper=slope + half
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=(*AXES, "all", "point"))
    parser.add_argument("--axis", choices=tuple(AXES), help="of `point`")
    parser.add_argument("--value", type=int, help="of `point`")
    parser.add_argument("--record", type=Path, help="a JSON file of points: what it holds is not measured again")
    options = parser.parse_args()
    if options.what == "point":
        print(json.dumps(point(options.axis, options.value)))
        return
    record = json.loads(options.record.read_text()) if options.record and options.record.exists() else {}
    for axis in AXES if options.what == "all" else (options.what,):
        found = record.setdefault(axis, [])
        for value in AXES[axis][len(found) :]:
            command = [sys.executable, __file__, "point", "--axis", axis, "--value", str(value)]
            found.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
            if options.record:
                options.record.write_text(json.dumps(record, indent=1))
        for one in found:
            path = "r-operator" if one["fast"] else "double backward"
            print(f"{axis} {one['at']:.3g}: {1e3 * one['seconds']:.1f} ms, {one['mebibytes']:.0f} MiB, {path}")
        for figure in ("seconds", "mebibytes"):
            law = fitted(found, figure)
            print(f"{figure} grow as {law.fixed:.3g} + {law.scale:.3g} {axis}^e, e = {law}", flush=True)


if __name__ == "__main__":
    main()
