"""Five hospitals train together: what their updates show, what defenses change about that, and what those cost.

    python examples/hospital/run.py [--data tiles|mednist|pneumonia] [--quick] [--seed 0] [--jobs 2] [--output hospital]

Trains the network federatedly, once without defense and once behind each, records and attacks updates on the way; then
attacks every hospital's first update with naive and informed attackers; and writes one page, `federation.html`, into the
output folder. Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EVERYBODY: list[dict[str, Any]] = [
    {"name": "Clip", "bound": 0.5},
    {"chain": [{"name": "Clip", "bound": 0.5}, {"name": "GaussianNoise", "std": 0.01}]},
]
THOROUGH: list[dict[str, Any]] = [
    *EVERYBODY,
    {"name": "Quantize", "bits": 8},
    {"name": "Quantize", "bits": 4},
    {"name": "SelectiveEncryption", "share": 0.1},
    {"name": "FederatedDropout", "rate": 0.25},
    {"name": "DPSGD", "bound": 0.5, "noise_multiplier": 1.0},
    {"name": "ClientDP", "bound": 0.5, "noise_multiplier": 1.0, "where": "local"},
]
"""A line for each defense of one client's message."""
RATE = 0.001
"""Of the server's Adam. On the public tiles and other seeds, half of it and twice as much reach about the same
(`benchmarks/hospital_utility.py --develop 0.0005 0.001 0.002`: 92 to 94 %)."""
SUMMED = {"name": "all five in one sum", "target": "hospitals:together", "defenses": []}
"""Secure aggregation: all that its server sees is the sum, here of one undefended gradient each."""


def plan(data: str, quick: bool) -> dict[str, Any]:
    """The plan of training and audit: every hospital a client and a member."""
    from hospitals import NAMES, RARE, seed

    known = {"labels": "read", "rounds": 40, "trees": 20} if quick else {"labels": "read", "rounds": 100, "trees": 50}
    return {
        "title": f"Five hospitals: {data}",
        "seed": seed(),
        "client": [{"name": name, "target": f"hospitals:{name}"} for name in NAMES],
        "attack": [
            {"name": "LinearBias"},
            {"name": "Recursive"},
            {"name": "InvertingGradients", "labels": {"name": "RowSum"}, "iterations": 20 if quick else 300},
            {"name": "RowSum"},
            {"name": "RareClass", "label": RARE[data]},
            {"name": "PropertyInference", "mark": "scanner", **known},
        ],
        "defense": EVERYBODY if quick else THOROUGH,
        "audit": {"examples": 2 if quick else 8},
        "utility": {"rounds": 0},
        "train": {
            "split": "natural",
            "rounds": 200 if quick else 400,
            "strategy": {"name": "FedAdam", "lr": RATE},
            "examples": 16,
            "measure": 20,
            "record": [0] if quick else [0, 1, 5, 10, -1],
            "recorded": 1,
            "attack_seconds": 0.0 if quick else 10.0,
        },
    }


def main() -> None:
    """Trains, audits, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("tiles", "mednist", "pneumonia"), default="tiles")
    parser.add_argument("--quick", action="store_true", help="a look: two defenses, two pictures of each hospital")
    parser.add_argument("--seed", type=int, default=0, help="of weights, splits and draws")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs/hospital"))
    options = parser.parse_args()
    # Worker processes find the hospitals and their data where this one does.
    os.environ["HOSPITAL_DATA"], os.environ["HOSPITAL_SEED"] = options.data, str(options.seed)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))

    from gradiometer.audit import make_plan, run_audit
    from gradiometer.audit.train import run_training
    from gradiometer.report.federation import render_federation

    made = make_plan(plan(options.data, options.quick), source="hospital")
    command = shlex.join(["python", *sys.argv])
    training = run_training(made, options.output / "training", command=command)
    seen = plan(options.data, options.quick)
    summed = {**SUMMED, "examples": len(seen["client"]) * seen["audit"]["examples"]}
    seen["client"].append(summed)
    audit = run_audit(make_plan(seen, source="hospital"), options.output / "audit", jobs=options.jobs, command=command)
    page = options.output / "federation.html"
    page.write_text(render_federation(audit, training, summed=summed["name"]), encoding="utf-8")
    print(audit.headline)
    print(page)


if __name__ == "__main__":
    main()
