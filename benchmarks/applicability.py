"""The meter's word against what exact attacks reach, over random victims, batches, lengths and defenses.

    GRADIOMETER_DATA=... python benchmarks/applicability.py --half development --pairs 60
    GRADIOMETER_DATA=... python benchmarks/applicability.py --half evaluation --pairs 200
    GRADIOMETER_DATA=... python benchmarks/applicability.py --gpt2

A pair is a victim (decoders that classify or predict the next token, encoders, perceptrons) and an update of it (batch size, sentence
length, and one in two behind noise, quantization, pruning or clipping), drawn by a seed. The meter reads singular values, and
searches nothing; then the attack that it speaks of (DAGER, SPEAR), informed of the defense, is run, and its guess compared with the
truth: solved are sentences that are all exact, or pictures of 100 dB and more. Wanted: "exact" of at least 95 % of the pairs that the attack
solves, and of at most 5 % of those that it does not. The evaluation half has other seeds, other sentences (CoLA's
development sets instead of its train set) and other pictures (`cifar10_test3000`) than the meter was developed on.
`--gpt2` times the meter on GPT-2 small (124 million parameters).
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from functools import cache
from pathlib import Path

import torch
from torch import nn

from cifar import LAYOUT, pictures
from gradiometer.attacks.image import SPEAR
from gradiometer.attacks.text import DAGER
from gradiometer.core import (
    Batch,
    Client,
    Data,
    Defense,
    Guess,
    NotApplicable,
    Recipe,
    Threat,
    Update,
    derive,
    image_layout,
    next_token_cross_entropy,
    play,
    sequence_cross_entropy,
)
from gradiometer.data import Words, from_texts
from gradiometer.data.text import read_jsonl
from gradiometer.defenses import Clip, GaussianNoise, Prune, Quantize
from gradiometer.metrics import psnr, score_text
from gradiometer.metrics.image import pixels
from gradiometer.models import bert, gpt, gpt2, mlp
from gradiometer.numerics.intervals import wilson

KINDS = ("gpt", "gpt", "gpt", "next", "next", "bert", "bert", "mlp", "mlp", "mlp")
HALVES = {
    "development": (0, "cifar10_train8000", ("train",)),
    "evaluation": (1, "cifar10_test3000", ("dev_in", "dev_out")),
}
EXACT = 100.0
STARTS = 320
"""Of SPEAR: those that succeed take a few dozen, and those that do not would take minutes."""


@cache
def sentences(splits: tuple[str, ...], longest: int) -> Data:
    """CoLA's sentences of so many tokens at most, with the words of these splits for the vocabulary."""
    root = os.environ.get("GRADIOMETER_DATA")
    if not root:
        sys.exit("error: set GRADIOMETER_DATA to the folder that holds text/cola.jsonl.gz")
    texts, labels = read_jsonl(Path(root) / "text" / "cola.jsonl.gz", splits)
    words = Words.of(texts[:1000], 1000)
    return from_texts(texts[:1000], labels[:1000], tokenizer=words, length=longest, public_share=0.2, test_share=0.0)


def defense(draw: random.Random) -> Defense:
    """None, in one of two; else noise, a quantization, pruning or clipping."""
    kind = draw.choice(["none"] * 5 + ["noise"] * 3 + ["quantize", "prune", "clip"])
    if kind == "noise":
        return GaussianNoise(std=10 ** draw.uniform(-8, -1), relative=True)
    if kind == "quantize":
        return Quantize(bits=draw.choice([4, 8, 12, 16, 20, 24]), scheme=draw.choice(["global", "symmetric"]))
    if kind == "prune":
        return Prune(keep=draw.choice([0.01, 0.1, 0.5, 0.9]))
    return Clip(bound=1e-2) if kind == "clip" else Defense()


def text_pair(kind: str, draw: random.Random, seed: int, splits: tuple[str, ...]) -> tuple[str, Client, Batch, Data]:
    width, depth = draw.choice([32, 48, 64, 96, 128]), draw.choice([1, 2, 2, 3])
    # An encoder's search takes minutes for larger batches.
    size, longest = draw.choice([1, 1, 2] if kind == "bert" else [1, 1, 2, 4, 8]), draw.choice([6, 8, 12])
    data = sentences(splits, longest)
    ids = data.layout["input_ids"]
    assert ids.classes
    made: nn.Module
    if kind == "bert":
        made = bert(ids.classes, ids.shape[0], 2, width=width, depth=depth, seed=seed)
    else:
        classes = 2 if kind == "gpt" else None
        made = gpt(ids.classes, ids.shape[0], classes, width=width, depth=depth, fused=draw.random() < 0.3, seed=seed)
    order = torch.randperm(data.private.size, generator=derive(5, seed))[:size]
    batch, layout = data.private.take(order), dict(data.layout)
    if kind == "next":
        del layout["y"]
        batch = Batch({name: batch[name] for name in layout})
    loss = next_token_cross_entropy if kind == "next" else sequence_cross_entropy
    tokens = int(batch["attention_mask"].sum())
    told = f"{kind}, width {width}, {depth} blocks, {size} sentences, {tokens} tokens"
    return told, Client(model=made, layout=layout, loss=loss, recipe=Recipe(examples=size)), batch, data


def picture_pair(draw: random.Random, seed: int, sheet: str) -> tuple[str, Client, Batch]:
    width, size, side = draw.choice([32, 64, 100, 200, 400]), draw.choice([1, 2, 4, 8, 12, 16]), 16
    activation = draw.choice(["relu", "relu", "relu", "relu", "sigmoid"])
    layout = image_layout((3, side, side), 10, mean=LAYOUT["x"].mean, std=LAYOUT["x"].std)
    data = pictures(sheet, LAYOUT)
    chosen = data.take(torch.randperm(data.size, generator=derive(5, seed))[:size])
    batch = chosen.replace(x=nn.functional.interpolate(chosen["x"], size=side, mode="area"))
    model = mlp((3, side, side), 10, widths=(width, width), activation=activation, seed=seed)
    return (
        f"{activation} mlp, width {width}, {size} pictures",
        Client(model=model, layout=layout, recipe=Recipe(examples=size)),
        batch,
    )


def solved(guess: Guess, batch: Batch, client: Client, data: Data | None) -> bool:
    """Whether the guess is the truth."""
    if data is not None:
        return all(one.exact for one in score_text(guess, batch, data, rng=derive(2), candidates=2))
    field = client.layout["x"]
    if "x" not in guess or len(guess["x"]) < batch.size:
        return False
    real, found = pixels(batch["x"], field), pixels(guess["x"], field)
    return min(float(psnr(found, one.expand_as(found)).max()) for one in real) >= EXACT


def pair(number: int, half: str, *, verbose: bool) -> tuple[str, str, bool, float]:
    """Kind, the meter's verdict, whether the attack solved it, and the meter's seconds."""
    offset, sheet, splits = HALVES[half]
    seed = 2 * number + offset
    draw = random.Random(seed)
    kind, guard, data = draw.choice(KINDS), defense(draw), None
    if kind == "mlp":
        told, client, batch = picture_pair(draw, seed, sheet)
    else:
        told, client, batch, data = text_pair(kind, draw, seed, splits)
    threat = Threat(recipe=False, buffers=False, public=False, batch_size=draw.random() < 0.5)
    update = play(client, batch, rng=derive(0, seed), threat=threat, defense=guard)
    attack = SPEAR(starts=STARTS) if data is None else DAGER()
    informed = guard.informed(attack) or attack
    start = time.process_time()
    reading = informed.meter(update)  # type: ignore[attr-defined]
    seconds = time.process_time() - start
    start, why = time.process_time(), ""
    try:
        guess = informed.run(update, derive(1, seed))
        done = solved(guess, batch, client, data)
    except NotApplicable as refusal:
        done, why = False, refusal.message
    if verbose:
        ranks = [(one.where, one.rank, round(one.gap, 1)) for one in reading.layers]
        mark = " " if (reading.verdict == "exact") == done else "!"
        noise = "" if reading.noise is None else f", until noise {reading.noise[0]:.1e}, ends by {reading.noise[1]:.1e}"
        print(
            f"{mark} {number} {told}, {guard if type(guard) is not Defense else 'no defense'}: {reading.verdict} "
            f"({reading.reason}){noise} {ranks}; solved {done} {why} {time.process_time() - start:.1f} s",
            flush=True,
        )
    return kind, reading.verdict, done, seconds


def timed() -> None:
    """The meter on GPT-2 small."""
    for size, longest in ((1, 20), (8, 20), (32, 20)):
        data = sentences(("dev_in", "dev_out"), longest)
        model = gpt2(length=longest, classes=2)
        client = Client(model=model, layout=data.layout, loss=sequence_cross_entropy, recipe=Recipe(examples=size))
        update: Update = play(client, data.private.take(slice(0, size)), rng=derive(0))
        start, wall = time.process_time(), time.perf_counter()
        reading = DAGER().meter(update)
        seconds, wall = time.process_time() - start, time.perf_counter() - wall
        print(
            f"GPT-2 small, batch {size}: {reading.verdict} {reading.reason}, {seconds:.2f} CPU s, {wall:.2f} s; wanted 1"
        )


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=tuple(HALVES), default="evaluation")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--gpt2", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    if options.gpt2:
        timed()
        return
    table, longest = Counter[tuple[str, bool]](), 0.0
    for number in range(options.first, options.first + options.pairs):
        _, verdict, done, seconds = pair(number, options.half, verbose=options.verbose)
        table[verdict, done] += 1
        longest = max(longest, seconds)
    good, bad = (sum(n for (_, done), n in table.items() if done is kind) for kind in (True, False))
    hit, false = table["exact", True], table["exact", False]
    told, wrong = wilson(hit, good), wilson(false, bad)
    print("said, solved:", {f"{said}, {done}": n for (said, done), n in sorted(table.items())})
    print(
        f"{options.half}: exact of {hit} of {good} that are solved, {told.value:.3f} [{told.lower:.3f}, {told.upper:.3f}], "
        f"wanted 0.95: {'PASS' if told.value >= 0.95 else 'MISS'}; of {false} of {bad} that are not, {wrong.value:.3f} "
        f"[{wrong.lower:.3f}, {wrong.upper:.3f}], wanted 0.05: {'PASS' if wrong.value <= 0.05 else 'MISS'}; "
        f"the meter's longest {longest:.2f} CPU s"
    )
    raise SystemExit(0 if told.value >= 0.95 and wrong.value <= 0.05 else 1)


if __name__ == "__main__":
    main()
