"""Kill -9 of `gradiometer audit` at random moments: what it left must go on to the very result of an undisturbed run.

    python benchmarks/kill_resume.py [--kills 20] [--jobs 2]

Counted by the log's start lines: a trial whose line was on the disk before a kill is never started again.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gradiometer.audit.store import read_lines

PLAN = """
title = "kill and resume"

[[client]]
name = "digits"
model = { name = "mlp", widths = [16], activation = "sigmoid" }
data = "digits"
recipe = { examples = 1 }

[[attack]]
name = "RowSum"

[[attack]]
name = "LinearBias"

[[attack]]
name = "InvertingGradients"
iterations = 40
labels = "RowSum"

[[defense]]
name = "Quantize"
bits = 4

[[defense]]
name = "GaussianNoise"
std = 0.1

[audit]
examples = 12

[utility]
rounds = 5
"""
TIMINGS = ("seconds", "attack_seconds")
DONE = (0, 1, 3)  # exit codes of a finished audit: no finding, a finding, inconclusive


def command(folder: Path, jobs: int) -> list[str]:
    plan = str(folder.parent / "plan.toml")
    return [sys.executable, "-m", "gradiometer", "audit", plan, "--output", str(folder), "--jobs", str(jobs), "-q"]


def figures(folder: Path) -> dict[str, str]:
    """Every finished trial by id, timings aside."""
    path = folder / "results.jsonl"
    records = {}
    for line in read_lines(path)[0][1:] if path.exists() else ():
        kept = {key: value for key, value in line.items() if key not in TIMINGS}
        if kept.get("training"):
            kept["training"] = {key: value for key, value in kept["training"].items() if key != "seconds"}
        records[line["id"]] = json.dumps(kept, sort_keys=True)
    return records


def starts(folder: Path) -> list[str]:
    log = folder / "log.txt"
    return [line.split()[2] for line in log.read_text().splitlines() if " start " in line] if log.exists() else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "plan.toml").write_text(PLAN)
        began = time.monotonic()
        whole = subprocess.run(command(root / "whole", options.jobs), capture_output=True, text=True, check=False)
        duration = time.monotonic() - began
        if whole.returncode not in DONE:
            print(whole.stderr)
            return 1
        total = len(figures(root / "whole"))
        print(f"undisturbed: {total} trials in {duration:.0f} s", flush=True)
        killed, again, finished = 0, 0, 0
        while killed < options.kills:
            run = root / f"run{finished}"
            process = subprocess.Popen(command(run, options.jobs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            before, counted = set(figures(run)), len(starts(run))
            # A random number of finished trials, then a random moment: start-up is long, and kills must not all fall there.
            wanted, pause = draw.randint(0, 2 * total // options.kills), draw.uniform(0, 3)
            while process.poll() is None and len(figures(run)) < len(before) + wanted:
                time.sleep(0.01)
            deadline = time.monotonic() + pause
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                killed += 1
                process.wait()
            else:
                finished += 1  # this folder is complete: the next kills hit a fresh one
            again += len(before & set(starts(run)[counted:]))
            kept = set(figures(run))
            print(
                f"kill {killed}: {len(kept)} trials kept, {len(kept - before)} of them new, {again} finished ones repeated",
                flush=True,
            )
            if not before <= kept:
                print("MISS: finished trials were lost")
                return 1
        for i in range(finished + 1):
            run = root / f"run{i}"
            before, counted = set(figures(run)), len(starts(run))
            subprocess.run(command(run, options.jobs), capture_output=True, check=False)
            again += len(before & set(starts(run)[counted:]))
        same = [figures(root / f"run{i}") == figures(root / "whole") for i in range(finished + 1)]
        rows = [
            json.loads((folder / "result.json").read_text())["rows"] for folder in root.iterdir() if folder.is_dir()
        ]
        for row in (row for result in rows for row in result):
            row["cost"]["seconds"] = None
        ok = all(same) and again == 0 and all(result == rows[0] for result in rows)
        print(
            f"n = {killed} kills over {finished + 1} folders: {sum(same)} of {len(same)} folders equal the undisturbed run in all "
            f"{len(figures(root / 'whole'))} trials (threshold: all); {again} finished trials computed twice (threshold: 0): "
            f"{'PASS' if ok else 'MISS'}"
        )
        return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
