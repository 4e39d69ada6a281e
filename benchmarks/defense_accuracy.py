"""What a defense costs in accuracy: federated training of a LeNet on handwritten digits, with each client defended.

    python benchmarks/defense_accuracy.py --seeds 5

Four clients of 32 examples a round, `w <- w - lr mean(g)` (of one example a round this does not train, whatever the defense). Noise levels are relative to the root mean square of
each tensor of the client's gradient, as in `recursion_defenses.py`.
"""

from __future__ import annotations

import argparse

import torch

from gradiometer import data
from gradiometer.core import BadInput, Client, Defense, Recipe
from gradiometer.defenses import Clip, GaussianNoise, Quantize, Sign, Ternary, TopK, chain
from gradiometer.federation import federate
from gradiometer.models import lenet
from gradiometer.numerics.intervals import median_interval

DEFENSES: dict[str, Defense] = {
    "none": Defense(),
    **{f"noise {s:g}": GaussianNoise(std=s, relative=True) for s in (0.01, 0.1, 0.3, 1.0, 3.0, 10.0)},
    **{f"{bits} bits, one grid a tensor": Quantize(bits=bits, scheme="symmetric") for bits in (8, 4, 3)},
    "8 bits, one grid for all": Quantize(bits=8),
    "top 10 % of each tensor": TopK(keep=0.1, scope="tensor"),
    "clip to 1, noise 1e-4": chain(Clip(bound=1.0), GaussianNoise(std=1e-4)),
    "ternary": Ternary(),
    "sign": Sign(),
}
CHANCE = 10.0
"""Accuracy of a training that diverged, in percent."""


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--only", nargs="*", choices=DEFENSES, help="besides none")
    parser.add_argument("--examples", type=int, nargs="*", default=[32])
    options = parser.parse_args()
    digits = data.digits(16)
    for examples in options.examples:
        plain: list[float] = []
        chosen = DEFENSES if options.only is None else ["none", *options.only]
        for name in chosen:
            defense = DEFENSES[name]
            reached = []
            for seed in range(options.seeds):
                model = lenet((1, 16, 16), 10, activation="relu", seed=seed)
                client = Client(model=model, layout=digits.layout, recipe=Recipe(examples=examples))
                test, train = digits.test, digits.public
                assert test is not None
                assert train is not None
                try:
                    done = federate(
                        client, train, test, defense=defense, rounds=options.rounds, lr=options.lr, seed=seed
                    )
                except BadInput as error:
                    if "not finite" not in error.message:
                        raise
                    reached.append(CHANCE)
                    continue
                reached.append(100 * done.accuracy[-1])
            plain = plain or reached
            all_of, cost = median_interval(reached), median_interval([p - r for p, r in zip(plain, reached)])
            print(
                f"{examples} examples, {name}: accuracy {all_of.value:.1f} % [{all_of.lower:.1f}, {all_of.upper:.1f}], "
                f"cost {cost.value:.1f} points [{cost.lower:.1f}, {cost.upper:.1f}] (n = {options.seeds} seeds)",
                flush=True,
            )


if __name__ == "__main__":
    main()
