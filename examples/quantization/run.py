"""Does quantization stop reconstruction? Every width and scheme, against attackers who know it and who do not, and its price.

    python examples/quantization/run.py [--quick] [--jobs 2] [--output runs/quantization]

Audits a small network on built-in digits, before and after training, with gradients and with federated averaging, behind
uniform quantizers of all widths, ternary and sign messages, and combinations with clipping and noise; then what the
server of a secure aggregation sees of the narrow ones. It writes two reports, and prints the ranking that they end in. Interrupted,
the same command goes on. `benchmarks/quantization_experiment.py` has the same for MNIST with intervals over more pictures.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from itertools import product
from pathlib import Path
from typing import Any

from gradiometer.audit import make_plan, run_audit
from gradiometer.audit.naming import catalogue
from gradiometer.report.html import render_html

BITS = (16, 8, 6, 4, 3, 2)
SCHEMES = ("global", "symmetric", "channel")
FEW = [{"name": "Quantize", "bits": bits} for bits in (8, 2)]
CODES: list[dict[str, Any]] = [
    {"name": "Quantize", "bits": 2, "scheme": "symmetric", "error_feedback": True},
    {"name": "Ternary"},
    {"name": "Sign"},
    {"name": "Sign", "error_feedback": True},
]
CLIPPED: list[dict[str, Any]] = [{"name": "Clip", "bound": 1.0}, {"name": "GaussianNoise", "std": 0.1}]
GENERATIVE = ("GGL", "GIAS", "GIFD")
"""They join where the catalogue has them."""
LEARNED = ("RidgeInversion", "Denoised")
"""They read single messages."""
AGES = {"untrained": 0, "early": 30, "late": 1000}
RECIPES: dict[str, dict[str, Any]] = {"FedSGD": {}, "FedAvg": {"sends": "delta", "epochs": 4, "lr": 0.05}}


def defenses(quick: bool) -> list[dict[str, Any]]:
    """All quantizers, and what they are combined with."""
    if quick:
        return [*FEW, {"name": "Sign"}]
    grid = [
        {"name": "Quantize", "bits": bits, "scheme": scheme, "rounding": rounding}
        for bits, scheme, rounding in product(BITS, SCHEMES, ("nearest", "stochastic"))
    ]
    return [*grid, *CODES, {"chain": [*CLIPPED, {"name": "Quantize", "bits": 4}]}]


def attacks(quick: bool) -> list[dict[str, Any]]:
    """Closed forms, optimization, learning, and labels."""
    learned: list[dict[str, Any]] = [{"name": "RidgeInversion", "examples": 200 if quick else 700}, {"name": "RowSum"}]
    if quick:
        return [{"name": "LinearBias"}, *learned]
    known = catalogue("attack")
    more = [{"name": name} for name in GENERATIVE if name in known]
    matching = {"name": "InvertingGradients", "labels": {"name": "RowSum"}, "iterations": 300}
    return [{"name": "LinearBias"}, {"name": "Recursive"}, matching, *learned, {"name": "Denoised"}, *more]


def plan(quick: bool, *, summed: bool) -> dict[str, Any]:
    """The audit of one client's message, or of the sum of five."""
    ages = dict(list(AGES.items())[:1]) if quick or summed else AGES
    recipes = {"FedSGD": RECIPES["FedSGD"]} if quick or summed else RECIPES
    model = {"name": "mlp", "widths": [64]}
    clients = [
        {"name": f"{age}, {name}", "data": {"name": "digits"}, "model": model, "recipe": recipe, "trained_steps": steps}
        for (age, steps), (name, recipe) in product(ages.items(), recipes.items())
    ]
    readers = attacks(quick)
    return {
        "title": "Quantization behind secure aggregation" if summed else "Quantization",
        "threat": {"clients": 5} if summed else {},
        "client": clients,
        "attack": [one for one in readers if not summed or one["name"] not in LEARNED],
        "defense": FEW if summed else defenses(quick),
        "audit": {"examples": 5 if quick else 30},
        "utility": {"rounds": 10 if quick else 100},
    }


def main() -> None:
    """Audits, writes the pages, prints the ranking."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a look: one client, three defenses, five pictures")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs/quantization"))
    options = parser.parse_args()
    command = shlex.join(["python", *sys.argv])
    for name, summed in (("one", False), ("sum", True)):
        made = make_plan(plan(options.quick, summed=summed), source="quantization")
        found = run_audit(made, options.output / name, jobs=options.jobs, command=command)
        page = options.output / name / "report.html"
        page.write_text(render_html(found), encoding="utf-8")
        print(found.title, found.headline, page, sep="\n")
        for advice in found.recommendations:
            print(f"\n{advice.client}: {advice.text}")
            print(*(f"  {number}. {line}" for number, line in enumerate(advice.ranked, 1)), sep="\n")


if __name__ == "__main__":
    main()
