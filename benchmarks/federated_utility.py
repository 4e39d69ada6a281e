"""What defenses cost a federation in accuracy: CIFAR-10, a convolutional network, ten uneven clients, the same seeds for all.

    GRADIOMETER_DATA=... python benchmarks/federated_utility.py --keep cells.jsonl
    GRADIOMETER_DATA=... python benchmarks/federated_utility.py --keep cells.jsonl --rows flower      # needs the extra `flower`

Ten clients (Dirichlet 0.5) of 4,000 training pictures, VGG11 at a quarter of its width, FedAvg: 15 rounds of one local epoch of
SGD (batches of 32, rate 0.05, momentum 0.9, normalization in train mode); accuracy on 3,000 test pictures, as the mean over the
last five rounds: so few and uneven clients move it by several points from one round to the next. A cell is a row and a seed
(split, weights, draws); cells that --keep holds are not run again.

- `flower`: an ordinary training loop of torch in every client, averaged by Flower's own `FedAvg`, with the same seeds, so that
  examples come in the same order. Wanted: `none` within 2 points of it. `flower, other order` shows what chance alone does.
- `alone`: every client by itself, as many epochs; told is the best of the ten. Wanted: that a defense beats it, and keeps at
  least 95 % of the accuracy of `none`. Otherwise it does not pass: it costs too much.

Settings were fixed beforehand, nothing was tuned; the bound of clips is a little less than the median norm of a first local epoch
on other training pictures, which `--bound` prints. At 1, which was tried first, nothing is learned: averaged statistics of normalization then belong
to other weights.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median

import torch
from torch import nn
from torch.nn import functional as F

from by_flower import aggregated
from cifar import LAYOUT, pictures
from gradiometer.core import Batch, Client, Defense, Recipe, clone_model, derive, in_mode
from gradiometer.defenses import (
    QSGD,
    ClientDP,
    Clip,
    FederatedDropout,
    GaussianNoise,
    Quantize,
    SelectiveEncryption,
    Sign,
    Ternary,
    TopK,
    chain,
)
from gradiometer.federation import FedAvg, Federation, Member, SecureAggregation, advance, begin, deal
from gradiometer.federation.measuring import correct
from gradiometer.models import vgg11

CLIENTS, ROUNDS, MEASURED, ALPHA, BOUND = 10, 15, 5, 0.5, 7.5
RECIPE = Recipe(sends="delta", mode="train", batch_size=32, lr=0.05, momentum=0.9, shuffle=True, shares_buffers=True)
DEFENSES: dict[str, Defense] = {
    "none": Defense(),
    "clip": Clip(bound=BOUND),
    "clip, noise 1e-3": chain(Clip(bound=BOUND), GaussianNoise(std=1e-3)),
    "8 bits": Quantize(bits=8),
    "4 bits": Quantize(bits=4),
    "QSGD, 5 bits": QSGD(bits=5),
    "top 10 %": TopK(keep=0.1),
    "ternary": Ternary(),
    "sign": Sign(),
    "10 % encrypted": SelectiveEncryption(share=0.1),
    "federated dropout, 25 %": FederatedDropout(rate=0.25),
    "client DP in the sum, z = 0.1": ClientDP(bound=BOUND, noise_multiplier=0.1, where="central"),
    "client DP in the sum, z = 1": ClientDP(bound=BOUND, noise_multiplier=1.0, where="central"),
}
SECURE = {"secure aggregation": SecureAggregation(clip=1.0, bits=24)}
FLOWER = ("flower", "flower, other order")
ROWS = ("none", "alone", *(name for name in DEFENSES if name != "none"), *SECURE)


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", nargs="*", default=ROWS, choices=(*ROWS, *FLOWER))
    parser.add_argument("--keep", type=Path, help="file of cells, a line each")
    parser.add_argument("--bound", action="store_true", help="print the norms of first local epochs, and nothing else")
    options = parser.parse_args()
    if options.bound:
        norms(options.seeds)
    elif options.keep:
        fill(options.rows, options.seeds, options.keep)
    else:
        parser.error("--keep is missing")


def fill(rows: Sequence[str], seeds: int, keep: Path) -> None:
    """Runs the cells that are missing, and prints the table."""
    cells = _kept(keep)
    for row in rows:
        for seed in range(seeds):
            if (row, seed) not in cells:
                cells[row, seed] = cell(row, seed)
                with keep.open("a") as file:
                    file.write(json.dumps({"row": row, "seed": seed, "accuracies": cells[row, seed]}) + "\n")
                shown = ", ".join(f"{value:.1%}" for value in cells[row, seed])
                print(f"  {row}, seed {seed}: {mean(cells[row, seed]):.1%} (last rounds {shown})", flush=True)
    table(cells, seeds)


def norms(seeds: int) -> None:
    """Of all clients' first updates, on training pictures that the cells do not use."""
    for seed in range(seeds):
        model = vgg11((3, 32, 32), 10, width=0.25, seed=seed)
        sent = []
        for member in deal(pictures("cifar10_train8000").take(range(4000, 8000)), CLIENTS, alpha=ALPHA, seed=seed):
            local = plain(model, member.train, derive(seed, "bound"))
            moves = (new.detach() - old.detach() for new, old in zip(local.parameters(), model.parameters()))
            sent.append(float(torch.cat([move.flatten() for move in moves]).norm()))
        print(f"seed {seed}: median norm {median(sent):.1f} ({min(sent):.1f} to {max(sent):.1f}; n = {len(sent)})")


def cell(row: str, seed: int) -> list[float]:
    """Accuracies after a row's last rounds; for `alone`, of the client that is best on their mean."""
    train, test = pictures("cifar10_train8000").take(range(4000)), pictures("cifar10_test3000")
    members = deal(train, CLIENTS, alpha=ALPHA, seed=seed)
    model = vgg11((3, 32, 32), 10, width=0.25, seed=seed)

    def measured(models: Iterator[nn.Module]) -> list[float]:
        return [
            correct(model, test) / test.size for number, model in enumerate(models, 1) if number > ROUNDS - MEASURED
        ]

    if row in FLOWER:
        return measured(by_flower(model, members, seed, alike=row == "flower"))
    if row == "alone":
        return max((measured(trained(model, (member,), seed)) for member in members), key=mean)
    return measured(trained(model, members, seed, DEFENSES.get(row), SECURE.get(row)))


def trained(
    model: nn.Module,
    members: tuple[Member, ...],
    seed: int,
    defense: Defense | None = None,
    aggregation: SecureAggregation | None = None,
) -> Iterator[nn.Module]:
    """The global model after every round."""
    federation = Federation(
        client=Client(model=model, layout=LAYOUT, recipe=RECIPE),
        members=members,
        strategy=FedAvg(),
        defense=defense or Defense(),
        aggregation=aggregation,
        seed=seed,
    )
    state = begin(federation)
    for _ in range(ROUNDS):
        state = advance(federation, state, measured=False)
        yield state.model


def by_flower(model: nn.Module, members: tuple[Member, ...], seed: int, *, alike: bool) -> Iterator[nn.Module]:
    """The same federation with nothing of ours but the split: plain local loops, and Flower's average.

    Args:
        alike: examples in the order in which our clients take them, or in another.
    """
    from flwr.serverapp.strategy import FedAvg as FlowerFedAvg

    strategy = FlowerFedAvg()
    for number in range(ROUNDS):
        trained = []
        for i, member in enumerate(members):
            rng = derive(seed, number, i, "train" if alike else "flower")
            torch.randint(2**62, (), generator=rng)  # our clients' first draw is for dropout masks
            trained.append((plain(model, member.train, rng), member.train.size))
        model = aggregated(strategy, number + 1, model, trained)
        yield model


def plain(model: nn.Module, data: Batch, rng: torch.Generator) -> nn.Module:
    """One epoch of an ordinary training loop."""
    model = clone_model(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=RECIPE.lr, momentum=RECIPE.momentum)
    with in_mode(model, "train"):
        for part in torch.randperm(data.size, generator=rng).split(RECIPE.batch_size or data.size):
            optimizer.zero_grad()
            F.cross_entropy(model(data["x"][part]), data["y"][part]).backward()
            optimizer.step()
    return model


def table(cells: dict[tuple[str, int], list[float]], seeds: int) -> None:
    """Means over seeds, differences seed by seed, and whether the rule is met."""
    of = {
        row: [mean(cells[row, s]) for s in range(seeds)]
        for row, _ in cells
        if all((row, s) in cells for s in range(seeds))
    }
    for row, values in of.items():
        line = f"{row}: {mean(values):.1%} ({', '.join(f'{v:.1%}' for v in values)}; n = {seeds})"
        if row != "none" and "none" in of:
            gaps = [100 * (ours - other) for ours, other in zip(of["none"], values)]
            line += f", none is ahead by {mean(gaps):.1f} points ({min(gaps):.1f} to {max(gaps):.1f})"
            if row in FLOWER:
                line += f": {'PASS' if abs(mean(gaps)) <= 2 else 'MISS'} (within 2)"
            elif row != "alone" and "alone" in of:
                kept, beats = mean(values) / mean(of["none"]), mean(values) > mean(of["alone"])
                verdict = "passes" if kept >= 0.95 and beats else "does not pass"
                line += f": {verdict} (keeps {kept:.1%}, {'beats' if beats else 'below'} the best client alone)"
        print(line, flush=True)


def _kept(path: Path) -> dict[tuple[str, int], list[float]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {(line["row"], line["seed"]): line["accuracies"] for line in lines}


if __name__ == "__main__":
    main()
