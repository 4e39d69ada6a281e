"""Gradient matching on CIFAR-10, batch 1: DLG on the sigmoid LeNet, Inverting Gradients on ConvNet64 beside its peer.

    GRADIOMETER_DATA=... python benchmarks/matching.py dlg
    GRADIOMETER_DATA=... python benchmarks/matching.py inverting --peer-python PEER/bin/python

The peer environment: `pip install torch numpy scipy hydra-core scikit-learn pillow safetensors`, then
`pip install --no-deps torchvision breaching==0.1.2`. Without --peer-python only our side runs. Settings were chosen on
`cifar10_train8000`; the pictures of `cifar10_test3000` only evaluate. One thread; about 10 s a picture for `dlg` and
12 minutes for `inverting` with its peer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from cifar import LAYOUT, PLAIN, pictures
from gradiometer.attacks.image import DLG, InvertingGradients
from gradiometer.core import Attack, Batch, Client, Guess, Recipe, Threat, derive, play
from gradiometer.metrics.image import psnr
from gradiometer.models import convnet64, lenet
from gradiometer.numerics.intervals import median_interval
from peer import breaching


def attacked(attack: Attack, client: Client, private: Batch, index: int, threat: Threat) -> tuple[Guess, float]:
    """The guess about one picture, and the CPU seconds that it took."""
    update = play(client, private, rng=derive(0, index), threat=threat)
    start = time.process_time()
    return attack.run(update, derive(1, index)), time.process_time() - start


def figure(name: str, values: list[float], threshold: float | None) -> bool:
    """Prints a median with its interval and whether it reaches the threshold."""
    found = median_interval(values)
    reached = threshold is None or found.value >= threshold
    verdict = "" if threshold is None else f"  threshold {threshold:.2f} dB: {'PASS' if reached else 'MISS'}"
    print(
        f"{name}: median {found.value:.2f} dB [{found.lower:.2f}, {found.upper:.2f}], n = {found.n} ({found.method}){verdict}"
    )
    return reached


def dlg(images: int, sheet: str) -> bool:
    """Every picture has its own network; labels are not granted."""
    data, found, labels = pictures(sheet, PLAIN), [], 0
    for i in range(images):
        private = data.take([i])
        client = Client(model=lenet((3, 32, 32), 10, seed=i), layout=PLAIN, recipe=Recipe())
        guess, seconds = attacked(DLG(), client, private, i, Threat())
        found.append(float(psnr(guess["x"], private["x"])))
        labels += int(torch.equal(guess["y"], private["y"]))
        print(
            f"picture {i}: {found[-1]:.2f} dB, objective {guess.objective:.1e}, "
            f"{guess.notes['iterations']} evaluations, {seconds:.0f} s",
            flush=True,
        )
    print(f"labels recovered: {labels} of {images}")
    return figure("DLG, sigmoid LeNet", found, 30.0)


def inverting(
    images: Sequence[int], sheet: str, iterations: int, peer: str | None, keep: Path | None, ours_too: bool
) -> bool:
    """Both sides get the same pictures, weights and number of iterations; labels are granted."""
    data, ours, theirs = pictures(sheet), [], []
    for i in images:
        private = data.take([i])
        truth = LAYOUT["x"].denormalize(private["x"])
        client = Client(model=convnet64((3, 32, 32), 10, seed=i), layout=LAYOUT, recipe=Recipe())
        if peer or keep:
            kept = keep and keep / f"{sheet}-{i}-{iterations}.safetensors"
            held = breaching(peer, client, private, iterations, kept=kept)
            x, seconds = held["x"], float(held["seconds"])
            theirs.append(float(psnr(LAYOUT["x"].denormalize(x), truth)))
            print(f"picture {i}: breaching {theirs[-1]:.2f} dB in {seconds:.0f} s", flush=True)
        if ours_too:
            guess, seconds = attacked(
                InvertingGradients(iterations=iterations), client, private, i, Threat(labels=True)
            )
            ours.append(float(psnr(LAYOUT["x"].denormalize(guess["x"]), truth)))
            print(f"picture {i}: InvertingGradients {ours[-1]:.2f} dB in {seconds:.0f} s", flush=True)
    if theirs:
        figure("breaching, invertinggradients", theirs, None)
    if not ours:
        return True
    if theirs:
        figure("paired difference", [a - b for a, b in zip(ours, theirs)], None)
    threshold = median_interval(theirs).value if theirs else None
    return figure(f"InvertingGradients, ConvNet64, {iterations} iterations", ours, threshold)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["dlg", "inverting"])
    parser.add_argument("--images", type=int, help="default 20 for dlg, 5 for inverting")
    parser.add_argument(
        "--from", type=int, default=0, dest="first", help="first picture of `inverting`; each stands alone"
    )
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--peer-python", help="interpreter with `breaching` installed")
    parser.add_argument("--keep", type=Path, help="folder for the peer's pictures, which are then computed only once")
    parser.add_argument("--peer-only", action="store_true", help="compute the peer's pictures, and nothing of ours")
    parser.add_argument("--sheet", default="cifar10_test3000", help="cifar10_train8000 to tune")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "dlg":
        reached = dlg(args.images or 20, args.sheet)
    else:
        reached = inverting(
            range(args.first, args.first + (args.images or 5)),
            args.sheet,
            args.iterations,
            args.peer_python,
            args.keep,
            not args.peer_only,
        )
    return 0 if reached else 1


if __name__ == "__main__":
    raise SystemExit(main())
