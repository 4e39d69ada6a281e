"""SPEAR, DAGER and GRAIN against defenses: what noise, rounding, sparsification, clipping and larger batches leave of them.

    GRADIOMETER_DATA=... python benchmarks/span_curves.py noise --attacks SPEAR GRAIN --keep curves.jsonl
    GRADIOMETER_DATA=... python benchmarks/span_curves.py defenses --keep curves.jsonl
    GRADIOMETER_DATA=... python benchmarks/span_curves.py batches --attacks SPEAR DAGER --keep curves.jsonl
    GRADIOMETER_DATA=... python benchmarks/span_curves.py noise --attacks DAGER --frozen --only naive --levels 0 1e-3

A noise level s is normal noise of deviation s times the root mean square of each tensor, on every entry of it. Victims have random
weights, others each draw; gradients are float32. SPEAR: batches of 8 CIFAR-10 test pictures, a perceptron of width 200; solved if every
picture has 100 dB (`seen`: 20 dB). DAGER: one sentence (`--sentences`) of CoLA's development sets of at most 12 tokens, a GPT of 3 blocks of
width 256 with GPT-2's vocabulary; solved if every token is right (`seen`: ROUGE-L half a point above the blind guess). `--frozen` does not send the
token embedding's gradient. GRAIN: one molecule of ESOL of at most 12 atoms, a GCN of 2 layers of width 300; solved if exact or gradient-equivalent
(`seen`: GSM-1 of 0.9). Each case meets a naive attacker and one who knows the defense and its strength; batch size is granted. Printed are
solved draws with Wilson's 95 % interval, seen and refused ones, and how many were called exact that are not. `--keep` appends every draw as a line of
JSON; what it holds is not run again, so that parts can be run in turns, and `table` prints all that it holds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch

from cifar import LAYOUT, pictures
from dager import sentences
from gradiometer.attacks.graph import GRAIN
from gradiometer.attacks.image import SPEAR
from gradiometer.attacks.text import DAGER
from gradiometer.core import (
    Attack,
    Batch,
    Client,
    Data,
    Defense,
    Guess,
    NotApplicable,
    Recipe,
    Threat,
    derive,
    graph_cross_entropy,
    play,
    sequence_cross_entropy,
)
from gradiometer.defenses import Clip, GaussianNoise, Quantize, TopK
from gradiometer.metrics import score_graph, score_text
from gradiometer.models import gcn, gpt, mlp
from gradiometer.numerics.intervals import wilson
from grain import graphs
from recursion import scores

THREAT = Threat(recipe=False, buffers=False)
LEVELS = (0.0, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
DEFENSES: dict[str, Defense] = {
    "16 bits": Quantize(bits=16, scheme="symmetric"),
    "8 bits": Quantize(bits=8, scheme="symmetric"),
    "4 bits": Quantize(bits=4, scheme="symmetric"),
    "top 50 %": TopK(keep=0.5, scope="tensor"),
    "top 10 %": TopK(keep=0.1, scope="tensor"),
    "top 1 %": TopK(keep=0.01, scope="tensor"),
    "clip to 0.1": Clip(bound=0.1),
}
SIZES = {"SPEAR": (4, 8, 12, 16, 24), "DAGER": (1, 2, 4, 8, 16)}
ATOMS, WORDS, WIDTH = 12, 12, 200
KNOWING = ("naive", "informed")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One point of a curve."""

    attack: str
    name: str
    defense: Defense
    size: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Whether a draw was solved, and whether as much was told that somebody would know it again."""

    solved: bool
    seen: bool


Judged = Callable[[Guess], Outcome]


def spear(i: int, size: int, _: argparse.Namespace) -> tuple[Client, Batch, Attack, Judged, Data | None]:
    data = pictures("cifar10_test3000", LAYOUT)
    private = data.take(torch.randperm(data.size, generator=derive(3, size, i))[:size].tolist())
    client = Client(
        model=mlp((3, 32, 32), 10, widths=(WIDTH, WIDTH), seed=i), layout=LAYOUT, recipe=Recipe(examples=size)
    )

    def judged(guess: Guess) -> Outcome:
        found = scores(guess, private)
        return Outcome(solved=min(found) >= 100, seen=min(found) >= 20)

    return client, private, SPEAR(), judged, None


@cache
def said() -> Data:
    return sentences("cola", "gpt", WORDS)


def dager(i: int, size: int, options: argparse.Namespace) -> tuple[Client, Batch, Attack, Judged, Data | None]:
    data, field = said(), said().layout["input_ids"]
    private = data.private.take(torch.randperm(data.private.size, generator=derive(3, size, i))[:size])
    model = gpt(field.classes or 0, field.shape[0], 2, seed=i)
    model.tokens.weight.requires_grad_(not options.frozen)
    client = Client(model=model, layout=data.layout, loss=sequence_cross_entropy, recipe=Recipe(examples=size))

    def judged(guess: Guess) -> Outcome:
        found = score_text(guess, private, data, rng=derive(2, i))
        return Outcome(
            solved=all(one.exact for one in found),
            seen=all(one.rouge_l >= (1 + one.blind_rouge_l) / 2 for one in found),
        )

    return client, private, DAGER(), judged, None


@cache
def drawn() -> tuple[Data, list[int]]:
    data = graphs("esol", 7)
    return data, [i for i in range(data.private.size) if int(data.private["mask"][i].sum()) <= ATOMS]


def grain(i: int, _: int, __: argparse.Namespace) -> tuple[Client, Batch, Attack, Judged, Data | None]:
    data, small = drawn()
    private = data.private.take([small[i]])
    client = Client(
        model=gcn(data.layout["nodes"].shape[1], 2, seed=i),
        layout=data.layout,
        loss=graph_cross_entropy,
        recipe=Recipe(),
    )

    def judged(guess: Guess) -> Outcome:
        one = score_graph(guess, private, data, rng=derive(2, i), client=client)[0]
        return Outcome(solved=one.exact or bool(one.equivalent), seen=one.gsm1 >= 0.9)

    return client, private, GRAIN(), judged, data


VICTIMS = {"SPEAR": spear, "DAGER": dager, "GRAIN": grain}


def attacked(case: Case, i: int, knowing: str, options: argparse.Namespace) -> dict[str, Any]:
    """What one attacker makes of one draw."""
    client, private, attack, judged, data = VICTIMS[case.attack](i, case.size, options)
    public = None if data is None else data.public
    update = play(client, private, rng=derive(0, i), threat=THREAT, defense=case.defense, public=public)
    if knowing == "informed":
        attack = case.defense.informed(attack) or attack
    start, refused = time.process_time(), ""
    try:
        guess = attack.run(update, derive(1, i))
    except NotApplicable as refusal:
        guess, refused = Guess(tensors={}, notes={}), refusal.message
    seconds = time.process_time() - start
    outcome = Outcome(solved=False, seen=False) if refused else judged(guess)
    said_exact = bool(guess.notes.get("exact", guess.notes.get("verified", False)))
    return {
        "attack": label(case, options),
        "name": case.name,
        "knowing": knowing,
        "draw": i,
        "solved": outcome.solved,
        "seen": outcome.seen,
        "refused": refused,
        "said": said_exact,
        "seconds": seconds,
    }


def label(case: Case, options: argparse.Namespace) -> str:
    """The attack's name, with what is withheld from it."""
    return f"{case.attack}, embedding not sent" if case.attack == "DAGER" and options.frozen else case.attack


def row(found: list[dict[str, Any]]) -> None:
    """Prints one point."""
    one, share = found[0], wilson(sum(r["solved"] for r in found), len(found))
    print(
        f"{one['attack']}, {one['name']}, {one['knowing']}: solved {sum(r['solved'] for r in found)} of {len(found)} "
        f"[{share.lower:.2f}, {share.upper:.2f}], seen {sum(r['seen'] for r in found)}, refused {sum(bool(r['refused']) for r in found)}, "
        f"wrongly called exact {sum(r['said'] and not r['solved'] for r in found)}, median {median(r['seconds'] for r in found):.1f} s",
        flush=True,
    )


def cases(options: argparse.Namespace) -> Iterable[Case]:
    """The points that were asked for."""
    usual = {"SPEAR": 8, "DAGER": options.sentences, "GRAIN": 1}
    for attack in options.attacks:
        size = usual[attack]
        if options.what == "noise":
            for level in options.levels:
                noise = GaussianNoise(std=level, relative=True) if level else Defense()
                yield Case(attack=attack, name=f"batch {size}, noise {level:g}", defense=noise, size=size)
        elif options.what == "defenses":
            for name, defense in DEFENSES.items():
                yield Case(attack=attack, name=f"batch {size}, {name}", defense=defense, size=size)
        else:
            for size in SIZES.get(attack, ()):
                yield Case(attack=attack, name=f"batch {size}, noise 0", defense=Defense(), size=size)


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("noise", "defenses", "batches", "table"))
    parser.add_argument("--attacks", nargs="*", choices=[*VICTIMS], default=[*VICTIMS])
    parser.add_argument("--only", choices=KNOWING)
    parser.add_argument("--levels", type=float, nargs="*", default=LEVELS)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--sentences", type=int, default=1)
    parser.add_argument("--frozen", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    kept = options.keep.read_text().splitlines() if options.keep and options.keep.exists() else []
    known = {(r["attack"], r["name"], r["knowing"], r["draw"]): r for r in map(json.loads, kept)}
    if options.what == "table":
        points: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for key, one in known.items():
            points.setdefault(key[:3], []).append(one)
        for found in points.values():
            row(found)
        return
    for case in cases(options):
        # Nobody has anything to know where there is no defense.
        knowing = KNOWING if type(case.defense) is not Defense else KNOWING[:1]
        for who in [one for one in knowing if options.only in (None, one)]:
            found = []
            for i in range(options.draws):
                key = (label(case, options), case.name, who, i)
                if key not in known:
                    known[key] = attacked(case, i, who, options)
                    if options.keep:
                        with options.keep.open("a") as lines:
                            lines.write(json.dumps(known[key]) + "\n")
                found.append(known[key])
            row(found)


if __name__ == "__main__":
    main()
