"""What defenses cost the five hospitals in accuracy, and whether a hospital should take part at all.

    python benchmarks/hospital_utility.py [--data tiles|mednist|pneumonia] [--seeds 3] [--output runs/hospital-utility]
    python benchmarks/hospital_utility.py --flower      # needs the extra `flower`
    python benchmarks/hospital_utility.py --develop 0.0005 0.001 0.002

Trains `examples/hospital` with every defense of its thorough plan, and every hospital by itself, once a seed (split, first
weights, draws). Accuracy is the mean of the last five that were measured, one in twenty rounds; that of hospitals alone is the
last one. A defense passes if it keeps 95 % of the accuracy without one and beats the best hospital alone. Interrupted, the same
command goes on.

`--flower` adds the same federation with nothing of ours but the split and which pictures a hospital takes in a round: plain
steps of torch, put together by Flower's own `FedAdam`. Wanted: within 2 points. `--develop` compares rates on the public
pictures alone, with seeds 10 and up.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from by_flower import aggregated
from gradiometer.audit import make_plan
from gradiometer.audit.schema_training import TrainingResult
from gradiometer.audit.train import run_training
from gradiometer.core import clone_model
from gradiometer.federation.local import draw
from gradiometer.federation.measuring import correct

EXAMPLE = Path(__file__).parents[1] / "examples" / "hospital"
sys.path.insert(0, str(EXAMPLE))

MEASURED, LAST = 20, 5
DEVELOPED = 10
"""The first seed of development."""


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("tiles", "mednist", "pneumonia"), default="tiles")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("runs/hospital-utility"))
    parser.add_argument("--flower", action="store_true", help="also by Flower's strategy")
    parser.add_argument("--develop", type=float, nargs="+", metavar="RATE")
    options = parser.parse_args()
    os.environ["HOSPITAL_DATA"] = options.data
    if options.develop:
        os.environ["HOSPITAL_DEVELOP"] = "1"
        develop(options.data, options.seeds, options.develop, options.output)
    else:
        compare(options.data, options.seeds, options.output, flower=options.flower)


def compare(data: str, seeds: int, output: Path, *, flower: bool) -> None:
    """Prints what every defense keeps."""
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        result = trained(data, seed, output / f"{data}-{seed}")
        assert result.alone is not None
        found.setdefault("the best hospital alone", []).append(result.alone.accuracy.value)
        for one in result.runs:
            if not one.error:
                found.setdefault(one.defense, []).append(settled(one))
        if flower:
            found.setdefault("Flower's FedAdam", []).append(mean(list(by_flower(data, seed))[-LAST:]))
        print(f"  seed {seed}: commonest class {result.majority:.1%}", flush=True)
    bare, alone = mean(found["none"]), mean(found.pop("the best hospital alone"))
    print(f"the best hospital alone: {alone:.1%} (n = {seeds} seeds)")
    if others := found.pop("Flower's FedAdam", None):
        gap = 100 * (bare - mean(others))
        print(
            f"Flower's FedAdam: {mean(others):.1%}, ours {gap:+.1f} points: {'PASS' if abs(gap) <= 2 else 'MISS'} (2)"
        )
    for name, values in found.items():
        kept, beats = mean(values) / bare, mean(values) > alone
        verdict = "passes" if kept >= 0.95 and beats else "does not pass"
        shown = ", ".join(f"{value:.1%}" for value in values)
        print(
            f"{name}: {mean(values):.1%} ({shown}), keeps {kept:.1%}, {'beats' if beats else 'below'} alone: {verdict}"
        )


def develop(data: str, seeds: int, rates: list[float], output: Path) -> None:
    """Prints what each rate reaches on public pictures."""
    for rate in rates:
        results = [
            trained(data, seed, output / f"develop-{data}-{rate:g}-{seed}", rate=rate)
            for seed in range(DEVELOPED, DEVELOPED + seeds)
        ]
        alone = mean(result.alone.accuracy.value for result in results if result.alone)
        print(
            f"rate {rate:g}: {mean(settled(result.runs[0]) for result in results):.1%}, alone {alone:.1%} (n = {seeds})"
        )


def trained(data: str, seed: int, output: Path, rate: float | None = None) -> TrainingResult:
    """The example's training without records; with a rate of its own, undefended alone."""
    told = planned(data, seed)
    told["train"] |= {"record": [], "attack_seconds": 0.0, "measure": MEASURED}
    if rate is not None:
        told["train"]["strategy"]["lr"], told["defense"] = rate, []
    return run_training(make_plan(told, source="hospital"), output)


def planned(data: str, seed: int) -> dict[str, Any]:
    """The example's thorough plan."""
    os.environ["HOSPITAL_SEED"] = str(seed)
    import hospitals
    from run import plan

    hospitals.everything.cache_clear()  # what it returns depends on the environment
    return plan(data, quick=False)


def by_flower(data: str, seed: int) -> Iterator[float]:
    """Accuracies of the undefended federation where plain loops train and Flower's strategy averages."""
    from flwr.serverapp.strategy import FedAdam

    told = planned(data, seed)["train"]
    from hospitals import NAMES, everything, hospital

    shares = [hospital(name) for name in NAMES]
    model, test = clone_model(shares[0][0].model), everything().test
    assert test is not None
    strategy = FedAdam(eta=told["strategy"]["lr"])
    for number in range(told["rounds"]):
        moved: list[tuple[nn.Module, int]] = []
        for i, (client, own) in enumerate(shares):
            batch = draw(own.private, told["examples"], seed=seed, round=number, member=i)
            local = clone_model(model)
            optimizer = torch.optim.SGD(local.parameters(), lr=client.recipe.lr)
            F.cross_entropy(local(batch["x"]), batch["y"]).backward()
            optimizer.step()
            moved.append((local, batch.size))
        model = aggregated(strategy, number + 1, model, moved)
        if (number + 1) % MEASURED == 0:
            yield correct(model, test) / test.size


def settled(run: Any) -> float:
    """The mean of the last accuracies."""
    return mean([round.accuracy for round in run.rounds if round.accuracy is not None][-LAST:])


if __name__ == "__main__":
    main()
