"""FILM on real sentences: the words of a batch, and single sentences out of it, beside what language alone makes of the same words.

    GRADIOMETER_DATA=... python benchmarks/film.py
    GRADIOMETER_DATA=... python benchmarks/film.py --cases bert:16:10 --attacks FILM prior --verbose

A case is model:batch:draws[:longest]. `bert` is a bidirectional model with BERT's vocabulary that classifies sentences, `gpt` a
causal one with GPT-2's that does, `lm` one that predicts the next token (with a head of its own); all have 3 blocks of width 256 and
random weights, others each draw. Sentences (of at most 16 tokens) are CoLA's development sets, without those that the train set holds
too; public is CoLA's train set, on part of which the attack was developed. Attacks: `FILM`; `norm`, which judges by the gradient's norm
as the paper does; `prior`, the same search over the same words, in which the gradient has no say. `blind` is the best of a public sentence,
the commonest words and their likeliest chain. Printed are, of the first sentence that each gives, ROUGE-L with the nearest sentence of the
batch with 95 % bootstrap intervals, how often that sentence is in the batch, what is said to be exact, precision and recall of the
bag, and CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from functools import partial

import torch

from dager import folder
from gradiometer.attacks.text import FILM
from gradiometer.core import (
    Batch,
    Client,
    Data,
    Recipe,
    Threat,
    Tokenizer,
    Update,
    derive,
    next_token_cross_entropy,
    play,
    sequence_cross_entropy,
)
from gradiometer.data import BytePairs, WordPieces, from_texts
from gradiometer.data.text import read_jsonl
from gradiometer.metrics.score_text import blind_sentences, sentences
from gradiometer.metrics.text import rouge_l
from gradiometer.models import bert, gpt
from gradiometer.numerics.embedding_tables import find_tables
from gradiometer.numerics.intervals import mean_bootstrap, wilson

ATTACKS = {"FILM": FILM(), "norm": FILM(gradient="norm"), "prior": FILM(gradient=None)}
MODELS = {"bert": bert, "gpt": gpt, "lm": gpt}
LONGEST = 16
CASES = ["bert:1:20", "bert:16:10", "bert:128:4", "lm:1:20", "lm:16:10", "lm:128:4"]


def said(model: str, longest: int) -> Data:
    """Private sentences, and public ones that none of them is among."""
    tokenizer: Tokenizer
    if model == "bert":
        tokenizer = WordPieces.load(folder() / "bert_base_uncased_vocab.txt")
    else:
        tokenizer = BytePairs.load(folder() / "gpt2_encoder.json", folder() / "gpt2_merges.txt")
    public, known = read_jsonl(folder() / "cola.jsonl.gz", ("train",))
    texts, labels = read_jsonl(folder() / "cola.jsonl.gz", ("dev_in", "dev_out"))
    new = [i for i, text in enumerate(texts) if text not in set(public)]
    made = partial(from_texts, tokenizer=tokenizer, length=longest, public_share=0.0, test_share=0.0)
    private = made([texts[i] for i in new], None if model == "lm" else [labels[i] for i in new])
    return replace(private, public=made(public, None if model == "lm" else known).private)


def observed(model: str, data: Data, size: int, i: int) -> tuple[Batch, Update]:
    """A batch, and what its client sends."""
    field = data.layout["input_ids"]
    private = data.private.take(torch.randperm(data.private.size, generator=derive(3, size, i))[:size])
    victim = MODELS[model](field.classes or 0, field.shape[0], *([] if model == "lm" else [2]), seed=i)
    loss = next_token_cross_entropy if model == "lm" else sequence_cross_entropy
    client = Client(model=victim, layout=data.layout, loss=loss, recipe=Recipe(examples=size))
    return private, play(client, private, rng=derive(0, i), threat=Threat(), public=data.public)


def row(case: str, options: argparse.Namespace) -> bool:
    """Prints one case; gives whether every bag was right."""
    model, size, draws, *rest = case.split(":")
    data = said(model, int(rest[0]) if rest else LONGEST)
    assert data.tokenizer is not None
    words = data.tokenizer.decode
    likeness: dict[str, list[float]] = {name: [] for name in (*options.attacks, "blind")}
    seconds: dict[str, list[float]] = {name: [] for name in options.attacks}
    held, claimed = dict.fromkeys(options.attacks, 0), dict.fromkeys(options.attacks, 0)
    right = told = true = wrong = 0
    for i in range(options.first, options.first + int(draws)):
        private, update = observed(model, data, int(size), i)
        real = sentences(private)
        bag = set(FILM()._words(update, find_tables(update), {}, derive(1, i)).bag)
        spoken = {token for one in real for token in one}
        right, told, true = right + len(bag & spoken), told + len(bag), true + len(spoken)

        def best(tokens: tuple[int, ...], real: list[tuple[int, ...]] = real) -> float:
            return max(rouge_l(words(tokens).split(), words(one).split()) for one in real)

        blind = blind_sentences(1, data, rng=derive(2, i))
        likeness["blind"].append(max(best(one) for (one,) in blind.values()))
        for name in options.attacks:
            start = time.process_time()
            guess = ATTACKS[name].run(update, derive(1, i))
            seconds[name].append(time.process_time() - start)
            first = sentences(guess)[0]
            likeness[name].append(best(first))
            held[name] += first in real
            claimed[name] += bool(guess.notes["exact"])
            wrong += bool(guess.notes["exact"]) and first not in real
            if options.verbose:
                print(f"  {i} {name}: {best(first):.2f}, {words(first)!r}, {seconds[name][-1]:.1f} s", flush=True)
    print(
        f"{case}: bag precision {right / told:.4f}, recall {right / true:.4f} of {true} tokens; said to be exact and not: {wrong}"
    )
    for name, values in likeness.items():
        mean = mean_bootstrap(values, rng=derive(4))
        line = f"  {name}: ROUGE-L {mean.value:.3f} [{mean.lower:.3f}, {mean.upper:.3f}]"
        if name in held:
            share = wilson(held[name], len(values))
            line += f", in the batch {held[name]} of {len(values)} [{share.lower:.2f}, {share.upper:.2f}], said to be exact {claimed[name]}"
            line += f", median {sorted(seconds[name])[len(values) // 2]:.1f} s"
        print(line, flush=True)
    return right == told == true and not wrong


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=CASES)
    parser.add_argument("--attacks", nargs="*", choices=[*ATTACKS], default=[*ATTACKS])
    parser.add_argument("--first", type=int, default=0, help="number of the first draw")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    good = [row(case, options) for case in options.cases]
    raise SystemExit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
