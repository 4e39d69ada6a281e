"""DAGER, or TIGER, on real sentences: whole batches from one gradient, without labels, lengths or the batch size.

    GRADIOMETER_DATA=... python benchmarks/dager.py
    GRADIOMETER_DATA=... python benchmarks/dager.py --cases gpt:cola:1:10 gpt:rt:8:10:24
    GRADIOMETER_DATA=... python benchmarks/dager.py --cases gpt2:cola:1:3 gpt2:cola:8:2
    GRADIOMETER_DATA=... python benchmarks/dager.py --cases bert:cola:1:20:12 bert:cola:2:10:10
    GRADIOMETER_DATA=... python benchmarks/dager.py --cases gpt:cola:4:10 --noise 1e-6 1e-5 1e-4 1e-3
    GRADIOMETER_DATA=... python benchmarks/dager.py --cases bert:cola:1:20:12 --noise 0 1e-3 1e-2 --attack TIGER --sized

A case is model:sentences:batch:draws[:longest]. `gpt` has 3 blocks of width 256 and GPT-2's vocabulary, `gpt2` is GPT-2 small
(fused maps, 12 blocks of width 768), `bert` a bidirectional model of 3 blocks of width 256 with BERT's vocabulary; all classify
sentences, with random weights, others each draw. `longest` leaves out sentences of more tokens: an attack by spans ends where a batch has as
many tokens as the model is wide. Sentences are CoLA's development sets and the last fifth of Rotten Tomatoes; the
attack was developed on CoLA's train set and the first fifth of Rotten Tomatoes. A noise level is relative to the root mean square of
each tensor, met by an attacker who knows it. Printed are ROUGE over all sentences, exact sentences, batches that are exact and batches that are said
to be, and CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from gradiometer.attacks.text import DAGER, TIGER
from gradiometer.core import (
    Client,
    Data,
    Defense,
    Guess,
    NotApplicable,
    Recipe,
    Threat,
    Tokenizer,
    derive,
    play,
    sequence_cross_entropy,
)
from gradiometer.data import BytePairs, WordPieces, from_texts
from gradiometer.data.text import read_jsonl
from gradiometer.defenses import GaussianNoise
from gradiometer.metrics import score_text
from gradiometer.models import bert, gpt, gpt2
from gradiometer.numerics.intervals import wilson

ATTACKS = {"DAGER": DAGER(), "TIGER": TIGER()}
MODELS: dict[str, Callable[..., nn.Module]] = {"gpt": gpt, "gpt2": gpt2, "bert": bert}
THREAT = Threat(batch_size=False, recipe=False, buffers=False, public=False)
LONGEST = 40
CASES = ["gpt:cola:1:10", "gpt:rt:1:10", "gpt:cola:8:10", "gpt:rt:8:5", "gpt:cola:16:10:12", "gpt:cola:32:10:8"]
CASES += ["bert:cola:1:20:12", "gpt2:cola:1:3", "gpt2:cola:8:2"]


def folder() -> Path:
    """Where the sentences and vocabularies are."""
    root = os.environ.get("GRADIOMETER_DATA")
    if not root:
        sys.exit("error: set GRADIOMETER_DATA to the folder that holds text/cola.jsonl.gz")
    return Path(root) / "text"


def sentences(name: str, model: str, longest: int) -> Data:
    """The sentences to evaluate on."""
    tokenizer: Tokenizer
    if model == "bert":
        tokenizer = WordPieces.load(folder() / "bert_base_uncased_vocab.txt")
    else:
        tokenizer = BytePairs.load(folder() / "gpt2_encoder.json", folder() / "gpt2_merges.txt")
    splits = ("dev_in", "dev_out") if name == "cola" else ()
    texts, labels = read_jsonl(folder() / f"{name}.jsonl.gz", splits)
    start = 0 if splits else len(texts) * 4 // 5
    return from_texts(
        texts[start:], labels[start:], tokenizer=tokenizer, length=longest, public_share=0.2, test_share=0.0
    )


def row(case: str, noise: float, options: argparse.Namespace) -> bool:
    """Prints one row; gives whether ROUGE-2 is 0.99 or more."""
    model, name, batch, draws, *rest = case.split(":")
    data = sentences(name, model, int(rest[0]) if rest else LONGEST)
    defense = GaussianNoise(std=noise, relative=True) if noise else Defense()
    threat = replace(THREAT, batch_size=options.sized)
    size, field = int(batch), data.layout["input_ids"]
    scores, seconds, exact, said, wrong, refused, tokens = [], list[float](), 0, 0, 0, 0, list[int]()
    for i in range(options.first, options.first + int(draws)):
        order = torch.randperm(data.private.size, generator=derive(3, size, i))[:size]
        private = data.private.take(order)
        victim = MODELS[model](field.classes, field.shape[0], 2, seed=i)
        client = Client(model=victim, layout=data.layout, loss=sequence_cross_entropy, recipe=Recipe(examples=size))
        update = play(client, private, rng=derive(0, i), threat=threat, defense=defense)
        attack = ATTACKS[options.attack]
        start = time.process_time()
        try:
            guess = (defense.informed(attack) or attack).run(update, derive(1, i))
        except NotApplicable as refusal:
            guess = Guess(tensors={}, notes={"exact": False, "refusal": refusal.message})
            refused += 1
        seconds.append(time.process_time() - start)
        found = score_text(guess, private, data, rng=derive(2, i))
        good = all(one.exact for one in found)
        scores += found
        tokens.append(int(private["attention_mask"].sum()))
        exact, said, wrong = exact + good, said + guess.notes["exact"], wrong + (guess.notes["exact"] and not good)
        if options.verbose:
            print(
                f"  {i}: {sum(one.exact for one in found)} of {size}, {seconds[-1]:.1f} s, {dict(guess.notes)}",
                flush=True,
            )
    count = len(scores)
    rouge = [sum(getattr(one, key) for one in scores) / count for key in ("rouge1", "rouge2", "rouge_l")]
    share = wilson(exact, len(seconds))
    print(
        f"{options.attack} {case}{f', noise {noise:g}' if noise else ''}: ROUGE-1/2/L {rouge[0]:.4f} {rouge[1]:.4f} {rouge[2]:.4f}, "
        f"blind ROUGE-L {sum(one.blind_rouge_l for one in scores) / count:.3f}, "
        f"exact sentences {sum(one.exact for one in scores)} of {count}, exact batches {exact} of {len(seconds)} "
        f"[{share.lower:.2f}, {share.upper:.2f}], said to be exact {said}, of these not {wrong}, refused {refused}, "
        f"tokens a batch {min(tokens)}-{max(tokens)}, median {sorted(seconds)[len(seconds) // 2]:.1f} s, "
        f"longest {max(seconds):.1f} s",
        flush=True,
    )
    return rouge[1] >= 0.99


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=CASES)
    parser.add_argument("--noise", type=float, nargs="*", default=[0.0])
    parser.add_argument("--attack", choices=[*ATTACKS], default="DAGER")
    parser.add_argument("--sized", action="store_true", help="the threat grants the batch size")
    parser.add_argument("--first", type=int, default=0, help="number of the first draw")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    good = [row(case, noise, options) for case in options.cases for noise in options.noise]
    raise SystemExit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
