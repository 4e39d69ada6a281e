"""What every defense leaves to every attack, naive and informed, and what it costs: one table.

    python benchmarks/defense_table.py [--cases "no defense" Clip] [--columns property rare] [--draws 30] [--answers 200]

Tiles of `data.scanners` at 16 x 16 pixels, five classes. LinearBias reads an MLP of one hidden layer; everything else a LeNet
with tanh, untrained. Pictures: one private example a client and update; a picture is recovered if an audit would call it
leaked (identified among 100, 3 dB over the best blind guess); rate with Wilson's interval over `--draws`. Labels: mean
overlap over updates of 8 examples, beside that of an even guess. Rare (is there one of the microaneurysms?) and property (which scanner?): AUC over
`--answers` updates of 8 examples, half of them with the case, where guessing has 0.5. Who: is the client that has the rare case named? In a sum over five clients one of them
has the case, or none; its column counts pictures of all five. Draws, and a forest of shadow rounds, are the same for the
naive and the informed attacker. Price: accuracy of 600 rounds of FedSGD over five clients (Dirichlet 1), the mean of the last
100 and of three seeds; bytes a client and round, seconds of the defense, epsilon of one round at delta = 1e-5.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from statistics import mean
from typing import TypeVar

import torch
from torch import Tensor

from gradiometer.attacks.image import InvertingGradients, LinearBias, Recursive
from gradiometer.attacks.inference import PropertyInference, RareClass, RowSum
from gradiometer.audit.criteria import picture_level
from gradiometer.core import (
    Attack,
    Batch,
    Client,
    Data,
    Defense,
    GradiometerError,
    Guess,
    NotApplicable,
    Recipe,
    Threat,
    Update,
    derive,
    play,
    play_sum,
)
from gradiometer.data import medical, scanned, two_scanners
from gradiometer.defenses import (
    DPSGD,
    ClientDP,
    Clip,
    FederatedDropout,
    GaussianNoise,
    Quantize,
    SelectiveEncryption,
    chain,
)
from gradiometer.federation import SecureAggregation, federate
from gradiometer.metrics import label_overlap, score
from gradiometer.models import lenet, mlp
from gradiometer.numerics.intervals import Interval, cluster_bootstrap, wilson
from gradiometer.numerics.ranking import auc_interval

SHAPE, SIZE, RARE, CLIENTS, ROUNDS, RATE = (3, 16, 16), 8, 4, 5, 600, 0.02
CONTRAST, BRIGHTNESS = 0.5, 0.15
A = TypeVar("A", bound=Attack)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A defense of every client, and over how many clients the observer sees the sum."""

    defense: Defense
    clients: int = 1


CASES = {
    "no defense": Case(defense=Defense()),
    "clip to 0.5": Case(defense=Clip(bound=0.5)),
    "clip to 0.5, noise 0.01": Case(defense=chain(Clip(bound=0.5), GaussianNoise(std=0.01))),
    "8 bits": Case(defense=Quantize(bits=8)),
    "4 bits": Case(defense=Quantize(bits=4)),
    "10 % encrypted": Case(defense=SelectiveEncryption(share=0.1)),
    "federated dropout, 25 %": Case(defense=FederatedDropout(rate=0.25)),
    "record-level DP, z = 1": Case(defense=DPSGD(bound=0.5, noise_multiplier=1.0)),
    "client-level DP, z = 1": Case(defense=ClientDP(bound=0.5, noise_multiplier=1.0, where="local")),
    "secure aggregation over 5": Case(defense=Defense(), clients=CLIENTS),
    "secure aggregation over 5, client-level DP, z = 1": Case(
        defense=ClientDP(bound=0.5, noise_multiplier=1.0, clients=CLIENTS), clients=CLIENTS
    ),
}
"""A line for each."""


@cache
def tiles() -> Data:
    """Public tiles of both scanners; private ones are shown by either as a draw wants it."""
    return two_scanners(medical(16), contrast=CONTRAST, brightness=BRIGHTNESS)


@cache
def plain() -> Data:
    return medical(16)


def client(size: int, *, wide: bool = False) -> Client:
    """What every client trains."""
    model = mlp(SHAPE, 5, widths=(64,)) if wide else lenet(SHAPE, 5, activation="tanh")
    return Client(model=model, layout=tiles().layout, recipe=Recipe(examples=size))


def sent(who: Client, case: Case, batches: list[Batch], rng: torch.Generator) -> Update:
    """What the observer sees."""
    public = tiles().public
    if case.clients == 1:
        return play(who, batches[0], rng=rng, defense=case.defense, public=public)
    return play_sum(who, batches, rng=rng, defense=case.defense, public=public)


def of(attack: A, case: Case, informed: bool) -> A | None:
    """The attacker; None where knowing the defense changes nothing."""
    if not informed:
        return attack
    return None if type(case.defense) is Defense else case.defense.informed(attack)  # type: ignore[return-value]


def pictures(attack: Attack, case: Case, informed: bool, options: argparse.Namespace) -> Interval | None:
    """Share of private pictures that come back."""
    reader, hits = of(attack, case, informed), []
    if reader is None:
        return None
    who = client(1, wide=isinstance(attack, LinearBias))
    for turn in range(options.draws):
        rows = torch.randperm(plain().private.size, generator=derive(1, turn))[: case.clients].tolist()
        truth = plain().private.take(rows)
        update = sent(who, case, [truth.take([i]) for i in range(case.clients)], derive(2, turn))
        try:
            guess = reader.run(update, derive(3, turn))
        except NotApplicable:
            guess = Guess(tensors={})
        hits += [picture_level(asdict(one)) != "none" for one in score(guess, truth, plain(), rng=derive(4, turn))]
    return wilson(sum(hits), len(hits))


def labels(case: Case, informed: bool, options: argparse.Namespace) -> Interval | None:
    """Mean overlap of the labels of all examples behind the update."""
    reader, found = of(RowSum(), case, informed), []
    if reader is None:
        return None
    for turn in range(options.draws):
        batches, truth = _labelled(turn, case.clients)
        update = sent(client(SIZE), case, batches, derive(5, turn))
        found.append(label_overlap(reader.run(update, derive(6, turn))["y"], truth, 5))
    return cluster_bootstrap(found, range(len(found)), derive(7))


def guessed(clients: int, options: argparse.Namespace) -> Interval:
    """What an even guess overlaps with the same labels."""
    truths = [_labelled(turn, clients)[1] for turn in range(options.draws)]
    return cluster_bootstrap(
        [label_overlap(torch.arange(len(truth)) % 5, truth, 5) for truth in truths], range(len(truths)), derive(7)
    )


def _labelled(turn: int, clients: int) -> tuple[list[Batch], Tensor]:
    batches = [drawn(100 * turn + i, marked=False, rare=None) for i in range(clients)]
    return batches, torch.cat([batch["y"] for batch in batches])


def drawn(turn: int, *, marked: bool, rare: bool | None) -> Batch:
    """Private and held-out tiles of one scanner. Args: rare: one microaneurysm and no other, none, or None: as they come."""
    rng = derive(8, turn)
    both = Batch({name: torch.cat([plain().private[name], plain().test[name]]) for name in ("x", "y")})  # type: ignore[index]
    common, cases = (both["y"] != RARE).nonzero()[:, 0], (both["y"] == RARE).nonzero()[:, 0]
    rows = _some(torch.arange(both.size) if rare is None else common, SIZE, rng)
    if rare:
        rows[0] = _some(cases, 1, rng)[0]
    marks = torch.full((SIZE,), int(marked))
    return scanned(both.take(rows), tiles().layout, marks, CONTRAST, BRIGHTNESS)


def _some(rows: Tensor, count: int, rng: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=rng)[:count]]


def answers(kind: str, case: Case, options: argparse.Namespace) -> Iterator[tuple[Update, bool]]:
    """Updates of which every second has the case: with it one client, or without it none."""
    who = client(SIZE)
    for turn in range(options.answers):
        there = turn % 2 == 1
        chosen = [there and i == 0 for i in range(case.clients)]
        batches = [
            drawn(1000 * turn + i, marked=has and kind == "property", rare=has if kind == "rare" else None)
            for i, has in enumerate(chosen)
        ]
        yield sent(who, case, batches, derive(9, turn)), there


def rare(case: Case, informed: bool, options: argparse.Namespace) -> Interval | None:
    """AUC of "is there a case of the rare class?"."""
    reader = of(RareClass(label=RARE), case, informed)
    if reader is None:
        return None
    found = [
        (float(reader.read(update, reader.calibrate(update, derive(10)))["score"]), there)
        for update, there in answers("rare", case, options)
    ]
    return auc_interval(*map(list, zip(*found)))


def who(case: Case, informed: bool, options: argparse.Namespace) -> Interval | None:
    """Share of rounds in which the one of five clients that has the rare case is named; guessing has 1/5.

    The sum is the same whoever has it, so that all who see it alone can guess only.
    """
    reader, hits = of(RareClass(label=RARE), case, informed), []
    if reader is None:
        return None
    for turn in range(options.draws):
        place = turn % CLIENTS
        batches = [drawn(1000 * turn + i, marked=False, rare=i == place) for i in range(CLIENTS)]
        if case.clients == 1:
            seen = [sent(client(SIZE), case, [batch], derive(13, turn, i)) for i, batch in enumerate(batches)]
            counts = [float(reader.run(update, derive(14))["score"]) for update in seen]
            named = counts.index(max(counts))
        else:
            named = int(torch.randint(CLIENTS, (), generator=derive(15, turn)))
        hits.append(named == place)
    return wilson(sum(hits), len(hits))


def scanner(case: Case, informed: bool, options: argparse.Namespace) -> Interval | None:
    """AUC of "was it the second scanner?"; one forest for all updates."""
    shares = (0.0, 1 / case.clients)
    reader = of(PropertyInference(shares=shares, rounds=options.shadows), case, informed)
    if reader is None:
        return None
    seen = list(answers("property", case, options))
    known = reader.train(seen[0][0], derive(11))
    found = [float(reader.read(update, known)["score"]) for update, _ in seen]
    return auc_interval(found, [there for _, there in seen])


COLUMNS: dict[str, Callable[[Case, bool, argparse.Namespace], Interval | None]] = {
    "LinearBias": lambda *told: pictures(LinearBias(), *told),
    "Recursive": lambda *told: pictures(Recursive(), *told),
    "InvertingGradients": lambda *told: pictures(InvertingGradients(labels=RowSum(), iterations=200), *told),
    "labels": labels,
    "rare": rare,
    "who": who,
    "property": scanner,
}


def price(case: Case) -> str:
    """Accuracy, bytes, seconds and epsilon."""
    who, data = client(16), plain()
    assert data.public is not None
    assert data.test is not None
    runs = [
        federate(who, data.public, data.test, defense=case.defense, clients=CLIENTS, rounds=ROUNDS, lr=RATE, seed=seed)
        for seed in range(3)
    ]
    reached = [mean(one.accuracy[-100:]) for one in runs]
    each = runs[0].uplink_bytes / (ROUNDS * CLIENTS)
    if case.clients > 1:
        batches = [drawn(i, marked=False, rare=None) for i in range(case.clients)]
        start = time.process_time()
        secure = play_sum(who, batches, rng=derive(12), aggregation=SecureAggregation(clip=8.0, bits=20))
        each, spent = secure.wire_bytes / case.clients, (time.process_time() - start) / case.clients
    else:
        spent = mean(one.defense_seconds for one in runs)
    epsilon = case.defense.epsilon(recipe=who.recipe, threat=Threat(clients=case.clients))
    bound = "no bound" if epsilon is None else f"{epsilon:.1f}"
    shown = f"{mean(reached):.2f} ({min(reached):.2f} to {max(reached):.2f})"
    return f"accuracy {shown}, {each / 1e3:.1f} kB, {1e3 * spent:.1f} ms, epsilon {bound}"


def told(found: Interval | None) -> str:
    """`0.93 [0.88, 0.96]`."""
    return "as naive" if found is None else f"{found.value:.2f} [{found.lower:.2f}, {found.upper:.2f}] (n = {found.n})"


def main() -> None:
    """Prints a line a figure as it is found."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", help="parts of names")
    parser.add_argument("--columns", nargs="*", choices=[*COLUMNS, "price"], default=[*COLUMNS, "price"])
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--answers", type=int, default=200)
    parser.add_argument("--shadows", type=int, default=400, help="shadow rounds of property inference")
    options = parser.parse_args()
    if "labels" in options.columns:
        for clients in (1, CLIENTS):
            print(f"an even guess, {clients} in the sum | labels | {told(guessed(clients, options))}", flush=True)
    for name, case in CASES.items():
        if options.cases and not any(part in name for part in options.cases):
            continue
        for column in options.columns:
            if column == "price":
                print(f"{name} | price | {price(case)}", flush=True)
                continue
            for informed in (False, True):
                try:
                    found = told(COLUMNS[column](case, informed, options))
                except GradiometerError as refused:
                    found = f"cannot: {refused.message}"
                print(f"{name} | {column} | {'informed' if informed else 'naive'} | {found}", flush=True)


if __name__ == "__main__":
    main()
