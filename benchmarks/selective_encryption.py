"""How much must be encrypted: an attacker who takes hidden entries for zeros, beside one who leaves them out.

    python benchmarks/selective_encryption.py --shares 0.05 0.1 0.3 0.5 0.7 0.9 --pictures 10

A sigmoid LeNet (or `--model mlp`) on handwritten digits of 16x16 pixels, the gradient of one example, labels granted, both attackers
the same L-BFGS matching (`DLG` with known labels) from the same start. Median PSNR with its interval, and
the share above 20 dB.
"""

from __future__ import annotations

import argparse

import torch

from gradiometer import data
from gradiometer.attacks.image import IDLG
from gradiometer.core import Attack, Client, Data, GradiometerError, Recipe, Threat, derive, play
from gradiometer.defenses import SelectiveEncryption
from gradiometer.models import lenet, mlp
from gradiometer.numerics.intervals import median_interval

SHAPE = (1, 16, 16)


def psnr(attack: Attack, defense: SelectiveEncryption, digits: Data, name: str, number: int) -> float:
    """Of one digit, in dB; 0 where the attack gives up."""
    if name == "mlp":
        model = mlp(SHAPE, 10, widths=(64,), activation="sigmoid", seed=number)
    else:
        model = lenet(SHAPE, 10, activation="sigmoid", seed=number)
    client = Client(model=model, layout=digits.layout, recipe=Recipe())
    threat = Threat(labels=True)
    update = play(client, digits.private.take([number]), rng=derive(number), threat=threat, defense=defense)
    try:
        guess = attack.run(update, derive(number, "attack"))["x"]
    except GradiometerError:
        return 0.0
    field = digits.layout["x"]
    gap = field.denormalize(guess).clamp(0, 1) - field.denormalize(digits.private["x"][number : number + 1])
    return float(-10 * gap.square().mean().clamp_min(1e-12).log10())


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", type=float, nargs="*", default=[0.0, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9])
    parser.add_argument("--by", nargs="*", default=["magnitude", "random"])
    parser.add_argument("--model", choices=["lenet", "mlp"], default="lenet")
    parser.add_argument("--pictures", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=300)
    options = parser.parse_args()
    digits, naive = data.digits(16), IDLG(iterations=options.iterations)
    for by in options.by:
        for share in options.shares:
            defense = SelectiveEncryption(share=share, by=by)
            for kind, attack in (("naive", naive), ("informed", defense.informed(naive) or naive)):
                found = [psnr(attack, defense, digits, options.model, i) for i in range(options.pictures)]
                middle = median_interval(found)
                print(
                    f"{options.model}, {share:.0%} by {by}, {kind}: median {middle.value:.1f} dB "
                    f"[{middle.lower:.1f}, {middle.upper:.1f}], {sum(v > 20 for v in found)} of {len(found)} above 20 dB",
                    flush=True,
                )


if __name__ == "__main__":
    main()
