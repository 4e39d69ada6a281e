"""What defenses cost the five hospitals in accuracy, and whether a hospital should take part at all.

    python benchmarks/hospital_utility.py [--data tiles|mednist|pneumonia] [--seeds 3] [--output runs/hospital-utility]

Trains `examples/hospital` with every defense of its thorough plan, and every hospital by itself, once a seed (split, first
weights, draws). Accuracy is the mean over the last 100 rounds, measured every 20; that of hospitals alone is the last one. A
defense passes if it keeps 95 % of the accuracy without one and beats the best hospital alone. Interrupted, the same command
goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from statistics import mean

EXAMPLE = Path(__file__).parents[1] / "examples" / "hospital"
sys.path.insert(0, str(EXAMPLE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("tiles", "mednist", "pneumonia"), default="tiles")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("runs/hospital-utility"))
    options = parser.parse_args()
    os.environ["HOSPITAL_DATA"] = options.data

    from run import plan

    from gradiometer.audit import make_plan
    from gradiometer.audit.train import run_training

    found: dict[str, list[float]] = {}
    for seed in range(options.seeds):
        os.environ["HOSPITAL_SEED"] = str(seed)
        told = plan(options.data, quick=False)
        told["train"] |= {"record": [], "attack_seconds": 0.0}
        result = run_training(make_plan(told, source="hospital"), options.output / f"{options.data}-{seed}")
        assert result.alone is not None
        found.setdefault("the best hospital alone", []).append(result.alone.accuracy.value)
        for one in result.runs:
            if one.accuracy is not None and not one.error:
                measured = [round.accuracy for round in one.rounds if round.accuracy is not None]
                found.setdefault(one.defense, []).append(mean(measured[-5:]))
        print(f"  seed {seed}: commonest class {result.majority:.1%}", flush=True)
    bare, alone = mean(found["none"]), mean(found.pop("the best hospital alone"))
    print(f"the best hospital alone: {alone:.1%} (n = {options.seeds} seeds)")
    for name, values in found.items():
        kept, beats = mean(values) / bare, mean(values) > alone
        verdict = "passes" if kept >= 0.95 and beats else "does not pass"
        shown = ", ".join(f"{value:.1%}" for value in values)
        print(
            f"{name}: {mean(values):.1%} ({shown}), keeps {kept:.1%}, {'beats' if beats else 'below'} alone: {verdict}"
        )


if __name__ == "__main__":
    main()
