"""Exact recursion on network families beyond ResNet18: max pooling, wide, bottleneck, dense, and depthwise blocks; without labels or batch size.

    GRADIOMETER_DATA=... python benchmarks/recursion_families.py vgg11 convnet64
    GRADIOMETER_DATA=... python benchmarks/recursion_families.py wide_resnet resnet50 densenet mobilenet --draws 5

Pictures, networks, and seconds as in `recursion.py`, whose rows these are: torch's default weights, eval mode, float32.
"""

from __future__ import annotations

import argparse

import torch

from gradiometer.models import MODELS
from recursion import row, seeded

WANTED = {
    "vgg11": 60.0,
    "vgg16": 60.0,
    "convnet64": 60.0,
    "wide_resnet": 0.0,
    "resnet50": 0.0,
    "densenet": 0.0,
    "mobilenet": 0.0,
}


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="+", choices=WANTED)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--batches", type=int, nargs="*", default=[1])
    parser.add_argument("--sheet", default="cifar10_test3000")
    options = parser.parse_args()
    torch.optim.LBFGS([torch.zeros(1, requires_grad=True)])  # imports what torch loads on first use
    good = []
    for family in options.families:
        for examples in options.batches:
            good.append(
                row(
                    f"{family}, batch {examples}",
                    seeded(MODELS[family][0]),
                    examples,
                    options.draws,
                    options.sheet,
                    (WANTED[family], 0.0, float("inf")),
                )
            )
    raise SystemExit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
