"""Labels on CIFAR-10 from untrained LeNet and ResNet20, and the error rate of "is a rare class present?" under noise.

    GRADIOMETER_DATA=... python benchmarks/labels.py recovery [--repeats 20] [--sizes 1,8,32,64,128]
    GRADIOMETER_DATA=... python benchmarks/labels.py presence [--draws 2000]

Private pictures are those of `cifar10_test3000`, public ones 800 of `cifar10_train8000`. Every other batch repeats a few
classes only. Each takes about ten minutes on one thread.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from cifar import LAYOUT, PLAIN, pictures
from gradiometer.attacks.inference import ILRG, LLG, RLG, IDLGLabels, LLGPlus, RareClass, RowSum
from gradiometer.core import Attack, Batch, Client, Field, NotApplicable, Recipe, Update, derive, play
from gradiometer.models import lenet, resnet20
from gradiometer.numerics.heads import find_head
from gradiometer.numerics.intervals import cluster_bootstrap, wilson
from gradiometer.numerics.presence import count_deviation, presence_error

SHAPE = (3, 32, 32)
# DLG's LeNet takes pixels in [0,1]; normalized ones drive its wide weights far apart, and its answers with them.
VICTIMS: dict[str, tuple[Callable[..., nn.Module], Recipe, dict[str, Field]]] = {
    "LeNet, pixels in [0,1]": (lenet, Recipe(), PLAIN),
    "LeNet, normalized pixels": (lenet, Recipe(), LAYOUT),
    "ResNet20, eval": (resnet20, Recipe(), LAYOUT),
    "ResNet20, train": (resnet20, Recipe(mode="train"), LAYOUT),
}
METHODS: dict[str, Attack] = {
    "RowSum": RowSum(),
    "RowSum, no data": RowSum(source="dummy"),
    "ILRG": ILRG(),
    "ILRG, as published": ILRG(refinements=0),
    "LLG+": LLGPlus(),
    "LLG*": LLGPlus(source="dummy"),
    "LLG": LLG(),
    "RLG": RLG(),
    "iDLG": IDLGLabels(),
}
LEAST, UP_TO = 0.99, 64
SIZE, RARE = 32, 9  # of the batches, and the class looked for, in `presence`


def draw(data: Batch, size: int, turn: int) -> Batch:
    """Pictures drawn with replacement: of all classes, or in every other batch of two to five classes."""
    rng = derive(3, size, turn)
    rows = torch.arange(data.size)
    if turn % 2:
        some = torch.randperm(10, generator=rng)[: int(torch.randint(2, 6, (), generator=rng))]
        rows = rows[torch.isin(data["y"], some)]
    return data.take(rows[torch.randint(len(rows), (size,), generator=rng)])


def overlap(found: Tensor, truth: Tensor) -> float:
    """The share of the labels found, as a multiset."""
    counts = [torch.bincount(y, minlength=10) for y in (found, truth)]
    return float(torch.minimum(*counts).sum()) / len(truth)


def recovery(sizes: list[int], repeats: int, wanted: str) -> bool:
    reached = True
    for victim, (make, recipe, layout) in VICTIMS.items():
        if wanted not in victim:
            continue
        data = pictures("cifar10_test3000", layout)
        public = pictures("cifar10_train8000", layout).take(slice(0, None, 10))
        for size in sizes:
            found: dict[str, list[float | None]] = defaultdict(list)
            for turn in range(repeats):
                private = draw(data, size, turn)
                client = Client(model=make(SHAPE, 10, seed=turn % 5), layout=layout, recipe=recipe)
                update = play(client, private, rng=derive(4, turn), public=public)
                for name, attack in METHODS.items():
                    try:
                        found[name].append(overlap(attack.run(update, derive(5, turn))["y"], private["y"]))
                    except NotApplicable:
                        found[name].append(None)
            print(f"{victim}, batch {size}, n = {repeats} batches, 95 % cluster bootstrap")
            for name, values in found.items():
                told = [value for value in values if value is not None]
                if len(told) < repeats:
                    print(f"  {name:20} refuses {repeats - len(told)} of {repeats}")
                    continue
                at = cluster_bootstrap(told, range(repeats), derive(6))
                line = f"  {name:20} {at.value:7.2%} [{at.lower:.2%}, {at.upper:.2%}]"
                if name == "RowSum" and size <= UP_TO:
                    reached &= at.value >= LEAST
                    line += f"  threshold {LEAST:.0%}: {'PASS' if at.value >= LEAST else 'MISS'}"
                print(line, flush=True)
    return reached


def presence(draws: int, wanted: str) -> bool:
    """Measured error rates against `Phi(-1 / (2 B s))` (bias alone) and the attack's own figure (whole row).

    Every draw is a fresh batch with fresh noise, every tenth of them read with public pictures of its own: what the
    figures average over.
    """
    reached = True
    for victim, (make, recipe, layout) in VICTIMS.items():
        if wanted not in victim:
            continue
        model = make(SHAPE, 10, seed=0)
        client = Client(model=model, layout=layout, recipe=recipe)
        publics = [pictures("cifar10_train8000", layout).take(slice(k, None, 10)) for k in range(10)]
        rounds = observed(client, draws)
        rows: list[tuple[Literal["row", "bias"], float, float]] = [
            *(("bias", times, 0.5) for times in (0.25, 0.5, 1.0, 2.0)),
            *(("bias", 0.5, prior) for prior in (0.1, 0.8)),
            *(("row", times, 0.5) for times in (1.0, 4.0)),
        ]
        for evidence, times, prior in rows:
            attack = RareClass(label=RARE, noise=times / SIZE, evidence=evidence, prior=prior)
            rates, stated = errors(attack, model, rounds, publics)
            # The prior weighs the two kinds of error, which are measured in equal numbers.
            measured = (1 - prior) * rates[0] + prior * rates[1]
            formula = presence_error(count_deviation(SIZE, times / SIZE), prior) if evidence == "bias" else stated
            near = abs(measured - formula) <= 0.03
            reached &= near
            interval = wilson(round(measured * draws), draws)
            print(
                f"{victim}, B = {SIZE}, s = {times}/B, prior {prior}, {evidence}: measured {measured:.1%} "
                f"[{interval.lower:.1%}, {interval.upper:.1%}], {'closed form' if evidence == 'bias' else 'stated'} "
                f"{formula:.1%}, n = {draws} (false alarms {rates[0]:.1%}, misses {rates[1]:.1%})  "
                f"within 3 points: {'PASS' if near else 'MISS'}",
                flush=True,
            )
    return reached


def observed(client: Client, draws: int) -> list[Update]:
    """Rounds of fresh batches without the rare class, and with one example of it in every other; heads only."""
    data = pictures("cifar10_test3000", dict(client.layout))
    with_it, without = ((data["y"] == RARE).nonzero()[:, 0], (data["y"] != RARE).nonzero()[:, 0])
    rounds = []
    for turn in range(draws):
        rng = derive(7, turn)
        rows = without[torch.randint(len(without), (SIZE,), generator=rng)]
        if turn % 2:
            rows[0] = with_it[int(torch.randint(len(with_it), (), generator=rng))]
        update = play(client, data.take(rows), rng=derive(8, turn))
        head = find_head(client.model, update.values, 10)
        kept = {name: update.values[name] for name in (head.weight, head.bias) if name}
        rounds.append(update.replace(values=kept, model=client.model))
    return rounds


def errors(
    attack: RareClass, model: nn.Module, rounds: list[Update], publics: list[Batch]
) -> tuple[tuple[float, float], float]:
    """False alarms and misses, and the rate that the attack states, averaged over the public pictures."""
    assert attack.noise is not None
    known = [attack.calibrate(rounds[0].replace(public=public), derive(10)) for public in publics]
    wrong, stated = [0, 0], [0.0] * len(publics)
    for turn, update in enumerate(rounds):
        rng, case, which = derive(9, turn), turn % 2, turn // 2 % len(publics)
        noisy = {n: v + attack.noise * torch.randn(v.shape, generator=rng) for n, v in update.values.items()}
        guess = attack.read(update.replace(values=noisy), known[which])
        wrong[case] += bool(guess["present"][0]) != bool(case)
        stated[which] = guess.notes["error"]
    return (wrong[0] / (len(rounds) / 2), wrong[1] / (len(rounds) / 2)), sum(stated) / len(stated)


def main() -> int:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["recovery", "presence"])
    parser.add_argument("--sizes", default="1,8,32,64,128")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--victim", default="", help="part of a victim's name; all without it")
    settings = parser.parse_args()
    if settings.what == "recovery":
        return (
            0 if recovery([int(size) for size in settings.sizes.split(",")], settings.repeats, settings.victim) else 1
        )
    return 0 if presence(settings.draws, settings.victim) else 1


if __name__ == "__main__":
    raise SystemExit(main())
