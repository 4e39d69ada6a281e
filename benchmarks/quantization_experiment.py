"""Quantization against naive, informed and learned attackers, and what a federation pays for it: table and plots.

    GRADIOMETER_DATA=... python benchmarks/quantization_experiment.py --keep cells.jsonl [--rows all] [--plot chart.png]

Leak: MNIST test pictures, batch 1, a perceptron 784-64-10 with the same weights for all pictures: untrained, or after 30 or
1000 steps on training pictures; FedSGD, or FedAvg of four local steps at 0.05. Naive attackers take what was sent for the
gradient; informed ones know the defense, and `RidgeInversion` and `Denoised` (a U-Net behind `LinearBias`) learn from 800 training pictures behind it. Labels are not
granted. Behind secure aggregation the observer has the sum of five clients with a picture each.
Utility: FedAvg over ten clients (Dirichlet 0.5) of 4,000 training pictures, a local epoch (batches of 32, rate 0.1), ten
rounds, accuracy on 2,000 test pictures that are not attacked; three seeds of split, weights and draws.
`--plot` needs the extra `plots`. A cell is a line of --keep, and is not computed again. Attackers join by name: --attacks LinearBias GGL; generative ones search in the
generator of --generator, which `generative.py` trains, or in one of the public pictures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from gradiometer.attacks.image import InvertingGradients, LinearBias
from gradiometer.attacks.inference import RowSum
from gradiometer.attacks.learned import Denoised, RidgeInversion
from gradiometer.attacks.matching import Matching
from gradiometer.audit.spelling import build
from gradiometer.core import (
    Attack,
    Batch,
    Client,
    Data,
    Defense,
    NotApplicable,
    Recipe,
    Update,
    concatenate,
    derive,
    play,
    play_sum,
)
from gradiometer.defenses import Clip, GaussianNoise, Quantize, Sign, Ternary, chain
from gradiometer.federation import FedAvg, Federation, Member, SecureAggregation, advance, begin, deal
from gradiometer.federation.measuring import correct
from gradiometer.metrics.image import psnr
from gradiometer.metrics.labels import label_overlap
from gradiometer.models import mlp, trained
from gradiometer.numerics.assignment import assign
from gradiometer.numerics.intervals import clopper_pearson, median_interval
from gradiometer.numerics.priors import TotalVariation
from quantization import LAYOUT, mnist

BITS = (16, 8, 6, 4, 3, 2)
SCHEMES = {"global": "one range", "symmetric": "a tensor", "channel": "a channel"}
GRID: dict[str, Defense] = {
    f"{bits} bits, {words}, {rounding}": Quantize(bits=bits, scheme=scheme, rounding=rounding)  # type: ignore[arg-type]
    for bits in BITS
    for scheme, words in SCHEMES.items()
    for rounding in ("nearest", "stochastic")
}
OTHERS: dict[str, Defense] = {
    "2 bits, a tensor, nearest, error feedback": Quantize(bits=2, scheme="symmetric", error_feedback=True),
    "ternary": Ternary(),
    "sign": Sign(),
    "sign, error feedback": Sign(error_feedback=True),
    "clip 1, noise 0.01, 4 bits": chain(Clip(bound=1.0), GaussianNoise(std=0.01), Quantize(bits=4)),
    "clip 1, noise 0.1, 4 bits": chain(Clip(bound=1.0), GaussianNoise(std=0.1), Quantize(bits=4)),
}
SECURE = {
    "secure aggregation of 4 bits": SecureAggregation(clip=1.0, bits=4),
    "secure aggregation of 8 bits": SecureAggregation(clip=1.0, bits=8),
}
"""Entries are rounded to the fixed point that the modulus is made for: quantization comes with it."""
ROWS = ("32 bits", *GRID, *OTHERS, *SECURE)
CORE = ("32 bits", *(n for n in GRID if n.startswith(("8", "4", "2"))), *OTHERS, *SECURE)
"""Rows that matter."""
NAMED = {
    "32 bits": 0,
    "8 bits, one range, nearest": -4,
    "4 bits, a tensor, nearest": 0,
    "2 bits, a tensor, nearest": 8,
    "2 bits, one range, nearest": -2,
    "2 bits, a channel, stochastic": -2,
    "sign": 2,
    "clip 1, noise 0.1, 4 bits": -6,
    "secure aggregation of 4 bits": -11,
}
"""Rows whose points are named in the plot, and how many points of type the name stands above."""
AGES, SUMMED, SEEDS, ROUNDS, CLIENTS = {"untrained": 0, "early": 30, "late": 1000}, 5, 3, 10, 10
FEDAVG = Recipe(sends="delta", epochs=4, lr=0.05)
ATTACKS: dict[str, Attack] = {
    "LinearBias": LinearBias(),
    "InvertingGradients": InvertingGradients(iterations=300, priors=(TotalVariation(weight=0.003),), labels=RowSum()),
    "RidgeInversion": RidgeInversion(examples=800),
    "Denoised": Denoised(examples=800),
    "labels": RowSum(),
}
Cell = dict[str, Any]


@cache
def pictures() -> Data:
    """Attacked test pictures, training ones as public data, and further test pictures to measure accuracy on."""
    test = mnist("test")
    return Data(
        private=test.take(range(200)),
        public=mnist("train").take(range(10_000)),
        test=test.take(range(8000, 10_000)),
        layout=LAYOUT,
    )


@cache
def client(age: str, sends: str) -> Client:
    model: nn.Module = mlp((1, 28, 28), 10, widths=(64,))
    if AGES[age]:
        model = trained(model, pictures(), steps=AGES[age])
    return Client(model=model, layout=LAYOUT, recipe=FEDAVG if sends == "FedAvg" else Recipe())


def defense_of(row: str) -> Defense:
    return GRID.get(row) or OTHERS.get(row) or Defense()


def observed(row: str, age: str, sends: str, i: int) -> tuple[Batch, Update]:
    """The truth, and what the observer sees of it."""
    who, rng, public = client(age, sends), derive(i, "round", row), pictures().public
    if row in SECURE:
        rows = range(SUMMED * i, SUMMED * (i + 1))
        parts = [pictures().private.take([k]) for k in rows]
        return concatenate(parts), play_sum(who, parts, rng=rng, aggregation=SECURE[row], public=public)
    truth = pictures().private.take([i])
    return truth, play(who, truth, rng=rng, defense=defense_of(row), public=public)


def told_of(row: str, attack: Attack) -> Attack | None:
    """The attack of somebody who knows what was done; None if that is the naive one."""
    if row in SECURE:
        return attack.observing(SECURE[row].sum_channel(SUMMED))
    return defense_of(row).informed(attack)


def leak(row: str, name: str, attack: Attack, informed: bool, age: str, sends: str, images: int) -> Cell | None:
    """PSNR of every picture in dB, or the overlap of labels; None where knowing the defense changes nothing."""
    reader = told_of(row, attack) if informed else attack
    if reader is None:
        return None
    figures, size = [], 0
    for i in range(images if row not in SECURE else -(-images // SUMMED)):
        truth, update = observed(row, age, sends, i)
        size = update.wire_bytes // max(1, update.clients)
        try:
            guess = reader.run(update, derive(i, name))
        except NotApplicable as refused:
            return {"refused": refused.message}
        if name == "labels":
            figures.append(label_overlap(guess["y"], truth["y"], 10))
            continue
        shown = guess["x"].clamp(0, 1).to(truth["x"]) if "x" in guess else truth["x"][:0]
        figures += _matched(shown, truth["x"])
    return {"figures": figures, "bytes": size}


def _matched(shown: Tensor, truth: Tensor) -> list[float]:
    """PSNR of every picture: of the guess that the best one-to-one assignment gives it, or of gray if there is none."""
    pairs = assign((shown[:, None] - truth[None]).square().flatten(2).mean(2))
    found = {of: float(psnr(shown[i : i + 1], truth[of : of + 1])) for i, of in pairs}
    gray = torch.full_like(truth[:1], 0.5)
    return [found.get(of, float(psnr(gray, truth[of : of + 1]))) for of in range(len(truth))]


def utility(row: str, seed: int) -> Cell:
    """Accuracy of the last model, bytes a client and round, seconds of the defense a client and round."""
    train, test = mnist("train").take(range(10_000, 14_000)), pictures().test
    assert test is not None
    recipe = Recipe(sends="delta", batch_size=32, lr=0.1, shuffle=True)
    members: tuple[Member, ...] = deal(train, CLIENTS, alpha=0.5, seed=seed)
    federation = Federation(
        client=Client(model=mlp((1, 28, 28), 10, widths=(64,), seed=seed), layout=LAYOUT, recipe=recipe),
        members=members,
        strategy=FedAvg(),
        defense=defense_of(row),
        aggregation=SECURE.get(row),
        seed=seed,
    )
    state = begin(federation)
    for _ in range(ROUNDS):
        state = advance(federation, state, measured=False)
    turns = ROUNDS * CLIENTS
    return {
        "accuracy": correct(state.model, test) / test.size,
        "bytes": sum(one.uplink_bytes for one in state.rounds) / turns,
        "seconds": sum(one.defense_seconds for one in state.rounds) / turns,
    }


def wanted(options: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """The cells of this run, those that matter first."""
    if "leak" in options.kinds:
        for age in options.ages:
            for sends in options.sends:
                for row in options.rows:
                    for name in options.attacks:
                        for who in ("naive", "informed"):
                            yield "leak", row, name, who, age, sends
    if "utility" in options.kinds:
        for seed in range(SEEDS):
            for row in options.rows:
                yield "utility", row, str(seed)


def computed(key: tuple[str, ...], options: argparse.Namespace) -> Cell | None:
    if key[0] == "utility":
        return utility(key[1], int(key[2]))
    _, row, name, who, age, sends = key
    attack = ATTACKS[name] if name in ATTACKS else build(name, "attack")
    if isinstance(attack, Matching) and attack.unknown is not None and options.generator:
        unknown = replace(attack.unknown, generator=str(options.generator))  # type: ignore[type-var]
        attack = replace(attack, unknown=unknown, iterations=options.iterations)
    return leak(row, name, attack, who == "informed", age, sends, options.images)


def kept(path: Path) -> dict[tuple[str, ...], Cell]:
    lines = path.read_text().splitlines() if path.exists() else []
    return {tuple(cell["key"]): cell for cell in map(json.loads, lines)}


def told(cell: Cell | None, labels: bool) -> str:
    """A figure with its interval."""
    if cell is None or "absent" in cell:
        return "as naive" if cell is not None else ""
    if "refused" in cell:
        return "refuses"
    figures = cell["figures"]
    if labels:
        if all(figure in (0.0, 1.0) for figure in figures):
            rate = clopper_pearson(int(sum(figures)), len(figures))
            return f"{rate.value:.0%} [{rate.lower:.0%}, {rate.upper:.0%}]"
        return f"{mean(figures):.0%}"
    middle = median_interval(figures)
    return f"{middle.value:.1f} [{middle.lower:.1f}, {middle.upper:.1f}]"


def table(cells: dict[tuple[str, ...], Cell], options: argparse.Namespace) -> None:
    """For every age and recipe: a row a defense, naive and informed beside each other."""
    mean_picture = mnist("train")["x"][:10_000].mean(0, keepdim=True)
    blind = median_interval([float(psnr(mean_picture, x[None])) for x in pictures().private["x"][: options.images]])
    print(f"The mean picture: {blind.value:.1f} dB [{blind.lower:.1f}, {blind.upper:.1f}], n = {blind.n}.")
    for age in options.ages:
        for sends in options.sends:
            columns = [(name, who) for name in options.attacks for who in ("naive", "informed")]
            heads = [f"{name}, {who}" for name, who in columns]
            print(f"\n{age}, {sends}\n\n| sent | bytes | " + " | ".join(heads) + " | accuracy, seeds |")
            print("|---" * (len(heads) + 3) + "|")
            for row in options.rows:
                mine = [cells.get(("leak", row, *column, age, sends)) for column in columns]
                if not any(mine):
                    continue
                shown = [told(cell, heads[i].startswith("labels")) for i, cell in enumerate(mine)]
                size = next((cell["bytes"] for cell in mine if cell and "bytes" in cell), "")
                right = [c["accuracy"] for s in range(SEEDS) if (c := cells.get(("utility", row, str(s))))]
                accuracy = f"{mean(right):.1%} [{min(right):.1%}, {max(right):.1%}]" if right else ""
                print(f"| {row} | {size} | " + " | ".join(shown) + f" | {accuracy} |")


def strongest(cells: dict[tuple[str, ...], Cell], row: str, who: str) -> float | None:
    """The best median PSNR of any attacker on the untrained client's gradient."""
    found = [
        median_interval(cell["figures"]).value
        for key, cell in cells.items()
        if key[0] == "leak" and key[1] == row and key[3] == who and key[2] != "labels" and "figures" in cell
        if key[4:] == ("untrained", "FedSGD")
    ]
    return max(found, default=None)


def plot(cells: dict[tuple[str, ...], Cell], path: Path) -> None:
    """Leakage against bits, and against accuracy."""
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.4))
    for rounding, style in (("nearest", "-"), ("stochastic", ":")):
        for color, words in zip(("tab:blue", "tab:orange", "tab:green"), SCHEMES.values()):
            for who, mark in (("naive", "x"), ("informed", "o")):
                points = [(b, strongest(cells, f"{b} bits, {words}, {rounding}", who)) for b in BITS]
                points = [(b, value) for b, value in points if value is not None]
                if points:
                    left.plot(*zip(*points), style, marker=mark, color=color, label=f"{words}, {rounding}, {who}")
    left.set(xlabel="bits an entry", ylabel="best median PSNR, dB", xscale="log", title="leakage against bits")
    left.set_xticks(BITS, [str(bits) for bits in BITS])
    left.legend(fontsize=6)
    for row in ROWS:
        found = [c["accuracy"] for s in range(SEEDS) if (c := cells.get(("utility", row, str(s))))]
        values = [v for who in ("naive", "informed") if (v := strongest(cells, row, who)) is not None]
        if found and values:
            right.plot(mean(found), max(values), "o", color="tab:red", alpha=0.6)
            if row in NAMED:
                place = {"ha": "right", "xytext": (-6, NAMED[row]), "textcoords": "offset points"}
                right.annotate(row, (mean(found), max(values)), fontsize=7, **place)
    right.margins(x=0.6)
    right.set_xlim(right=0.92)
    right.set(
        xlabel="federated accuracy", ylabel="best median PSNR of any attacker, dB", title="leakage against accuracy"
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True, help="file of cells, a line each")
    parser.add_argument("--kinds", nargs="+", choices=["leak", "utility"], default=["leak", "utility"])
    parser.add_argument("--rows", nargs="+", default=list(CORE), help="all, or names")
    parser.add_argument("--attacks", nargs="+", default=["LinearBias", "RidgeInversion", "labels"])
    parser.add_argument("--ages", nargs="+", choices=[*AGES], default=["untrained"])
    parser.add_argument("--sends", nargs="+", choices=["FedSGD", "FedAvg"], default=["FedSGD"])
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--generator", type=Path, help="file of a generator of MNIST pictures, for generative attacks")
    parser.add_argument("--iterations", type=int, default=300, help="of generative attacks with that generator")
    parser.add_argument("--table", action="store_true", help="compute nothing: show what is kept")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    options.rows = list(ROWS) if options.rows == ["all"] else options.rows
    cells = kept(options.keep)
    for key in () if options.table else wanted(options):
        if key not in cells:
            cell = computed(key, options) or {"absent": True}
            cells[key] = {"key": key, **cell}
            with options.keep.open("a") as file:
                file.write(json.dumps(cells[key]) + "\n")
    table(cells, options)
    if options.plot:
        plot(cells, options.plot)


if __name__ == "__main__":
    main()
