"""The prior-aware attack on DP-SGD against the reconstruction bound Phi(Phi^-1(kappa) + sqrt(T) / z).

    GRADIOMETER_DATA=... python benchmarks/reconstruction_bound.py [--victim linear] [--trials 2000] [--candidates 10] [--steps 1]

Every trial is a round of its own: K pictures of `cifar10_test3000` of K different classes, one of them the private
batch by chance, through an untrained model with `DPSGD(bound=C, noise_multiplier=z)`. The attacker has all K, the model
and the noisy gradient (kappa = 1 / K). With `--steps`, T rounds of the same example.

The bound is for the worst set of candidates, whose gradients lie as far apart as clipping lets them. Those of a linear
classifier on pixels in [0,1] nearly do: by their classes they point away from each other (mean cosine -0.09; -1/9 is the
least that ten can have). A LeNet's share a direction (+0.10 on `cifar10_train8000`), so its attacker must stay further below.
"""

from __future__ import annotations

import argparse

import torch

from cifar import LAYOUT, PLAIN, pictures
from gradiometer.attacks.inference import PriorAware
from gradiometer.core import Batch, Client, derive, play
from gradiometer.defenses import DPSGD
from gradiometer.models import lenet, mlp
from gradiometer.numerics.accounting import composed_epsilon
from gradiometer.numerics.intervals import wilson
from gradiometer.numerics.reconstruction import reconstruction_bound

BOUND = 0.01  # far below the gradients' lengths: the whole sensitivity is used
GAP = 0.10
SHAPE = (3, 32, 32)
VICTIMS = {
    "linear": (PLAIN, lambda seed: mlp(SHAPE, 10, widths=(), seed=seed)),
    "lenet": (LAYOUT, lambda seed: lenet(SHAPE, 10, seed=seed)),
}
SETS = 10  # trials that share candidates and model, with truth and noise of their own


def candidates(data: Batch, count: int, draw: int) -> Batch:
    """One picture of each of `count` classes."""
    rng = derive(11, draw)
    classes = torch.randperm(10, generator=rng)[:count].tolist()
    pools = [(data["y"] == c).nonzero()[:, 0] for c in classes]
    return data.take([int(pool[torch.randint(len(pool), (), generator=rng)]) for pool in pools])


def hits(data: Batch, noise: float, settings: argparse.Namespace) -> int:
    """How often the attack named the private example."""
    defense, attack = DPSGD(bound=BOUND, noise_multiplier=noise, microbatch=1), PriorAware(bound=BOUND)
    layout, make = VICTIMS[settings.victim]
    found = 0
    for group in range(settings.start // SETS, (settings.start + settings.trials) // SETS):
        known = candidates(data, settings.candidates, group)
        client = Client(model=make(group % 20), layout=layout)
        fits = None
        for i in range(SETS):
            trial = group * SETS + i
            truth = int(torch.randint(known.size, (), generator=derive(12, noise, trial)))
            scores = torch.zeros(known.size)
            for step in range(settings.steps):
                rng = derive(13, noise, trial, step)
                update = play(client, known.take([truth]), rng=rng, defense=defense, public=known)
                fits = attack.calibrate(update, derive(14)) if fits is None else fits
                scores = scores + attack.scores(update, fits)
            found += int(scores.argmax()) == truth
    return found


def main() -> int:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--victim", choices=VICTIMS, default="linear")
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--start", type=int, default=0, help="number of the first trial, to run in pieces")
    parser.add_argument("--candidates", type=int, default=10, help="K, at most 10")
    parser.add_argument("--steps", type=int, default=1, help="T")
    parser.add_argument("--noise", type=float, nargs="*", default=[0.5, 1.0, 2.0, 4.0], help="z")
    parser.add_argument("--sheet", default="cifar10_test3000")
    settings = parser.parse_args()
    data, passed = pictures(settings.sheet, VICTIMS[settings.victim][0]), True
    for noise in settings.noise:
        rate = wilson(hits(data, noise, settings), settings.trials)
        bound = reconstruction_bound(1 / settings.candidates, noise, settings.steps)
        # The bound is a probability and the rate a measurement of one: its interval must not lie above.
        below, near = rate.lower <= bound, bound - rate.value <= GAP
        passed &= below and near
        epsilon = composed_epsilon(noise, steps=settings.steps)
        print(
            f"{settings.victim}, z = {noise:g}, T = {settings.steps}, K = {settings.candidates}, epsilon {epsilon:.3g} (delta 1e-5): attack "
            f"{rate.value:.1%} [{rate.lower:.1%}, {rate.upper:.1%}], n = {settings.trials}, bound {bound:.1%}, gap "
            f"{100 * (bound - rate.value):.1f} points  within the bound: {'PASS' if below else 'MISS'}, within 10 points: "
            f"{'PASS' if near else 'MISS'}",
            flush=True,
        )
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
