"""Sentences by gradient matching: TextDLG, TAG and LAMP beside DAGER, on the same sentences and victims.

    GRADIOMETER_DATA=... python benchmarks/text_matching.py
    GRADIOMETER_DATA=... python benchmarks/text_matching.py --attacks TAG LAMP --first 5 --draws 5 --verbose
    GRADIOMETER_DATA=... python benchmarks/text_matching.py --vocabulary revealed

One sentence of CoLA's out-of-domain development set at a time (at most 10 tokens of BERT's vocabulary, [CLS] and [SEP] among them;
none that the train set holds too), classified by a bidirectional transformer of 2 blocks of width 64 with random weights, others each
draw. The attacker knows the model and that there is one sentence, not its label; public is CoLA's train set, on part of which the
attacks were developed, and from which LAMP's n-grams are. Printed are ROUGE over the sentences with 95 % bootstrap intervals, ROUGE-1
compared sentence by sentence with the attack before, exact sentences, and CPU seconds of one thread. `--file` keeps what each sentence gave, so
that parts can be run in turns.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dager import folder
from gradiometer.attacks.text import DAGER, LAMP, TAG, TextDLG
from gradiometer.attacks.text.matching import TextMatching
from gradiometer.core import (
    Attack,
    Client,
    Data,
    Guess,
    NotApplicable,
    Recipe,
    Threat,
    derive,
    play,
    sequence_cross_entropy,
)
from gradiometer.data import WordPieces, from_texts
from gradiometer.data.text import read_jsonl
from gradiometer.metrics import score_text
from gradiometer.models import bert
from gradiometer.numerics.intervals import mean_bootstrap, median_interval, wilson

THREAT = Threat(buffers=False)
ATTACKS: dict[str, Attack] = {"TextDLG": TextDLG(), "TAG": TAG(), "LAMP": LAMP(), "DAGER": DAGER()}
LONGEST, WIDTH, DEPTH = 10, 64, 2
FASTER = 20


def sentences() -> Data:
    """Private sentences of sources that the public ones are not from."""
    tokenizer = WordPieces.load(folder() / "bert_base_uncased_vocab.txt")

    def read(split: str, known: frozenset[str] = frozenset()) -> Data:
        texts, labels = read_jsonl(folder() / "cola.jsonl.gz", (split,))
        kept = [i for i, text in enumerate(texts) if text not in known]
        return from_texts(
            [texts[i] for i in kept],
            [labels[i] for i in kept],
            tokenizer=tokenizer,
            length=LONGEST,
            public_share=0.0,
            test_share=0.0,
        )

    public = read("train")
    return replace(
        read("dev_out", frozenset(read_jsonl(folder() / "cola.jsonl.gz", ("train",))[0])), public=public.private
    )


def attacked(name: str, attack: Attack, data: Data, i: int) -> dict[str, Any]:
    """What one attack makes of one sentence."""
    field, private = data.layout["input_ids"], data.private.take([i])
    victim = bert(field.classes or 0, field.shape[0], 2, width=WIDTH, depth=DEPTH, seed=i)
    client = Client(model=victim, layout=data.layout, loss=sequence_cross_entropy, recipe=Recipe(examples=1))
    update = play(client, private, rng=derive(0, i), threat=THREAT, public=data.public)
    start = time.process_time()
    try:
        guess = attack.run(update, derive(1, i))
    except NotApplicable as refusal:
        guess = Guess(tensors={}, notes={"refusal": refusal.message})
    seconds = time.process_time() - start
    (one,) = score_text(guess, private, data, rng=derive(2, i))

    def told(tensors: Any) -> str:
        if "input_ids" not in tensors or data.tokenizer is None:
            return ""
        ids, there = tensors["input_ids"][0], tensors["attention_mask"][0].bool()
        return data.tokenizer.decode(ids[there].tolist())

    return {
        "attack": name,
        "draw": i,
        "rouge1": one.rouge1,
        "rouge2": one.rouge2,
        "exact": one.exact,
        "blind": one.blind_rouge_l,
        "seconds": seconds,
        "true": told(private),
        "guess": told(guess),
    }


def row(name: str, found: list[dict[str, Any]], before: list[dict[str, Any]]) -> None:
    """Prints one attack's figures."""
    rouge = [mean_bootstrap([one[key] for one in found], rng=derive(4)) for key in ("rouge1", "rouge2")]
    exact = wilson(sum(one["exact"] for one in found), len(found))
    took = median_interval([one["seconds"] for one in found])
    told = ", ".join(f"ROUGE-{n} {one.value:.3f} [{one.lower:.3f}, {one.upper:.3f}]" for n, one in enumerate(rouge, 1))
    gains = [one["rouge1"] - other["rouge1"] for one, other in zip(found, before) if one["draw"] == other["draw"]]
    gain = mean_bootstrap(gains, rng=derive(4)) if len(gains) > 1 else None
    ahead = (
        ""
        if gain is None
        else f", ROUGE-1 {gain.value:+.3f} [{gain.lower:+.3f}, {gain.upper:+.3f}] to the attack above"
    )
    print(
        f"{name}: {told}, exact {sum(one['exact'] for one in found)} of {len(found)} [{exact.lower:.2f}, {exact.upper:.2f}], "
        f"median {took.value:.1f} s [{took.lower:.1f}, {took.upper:.1f}]{ahead}",
        flush=True,
    )


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", nargs="*", choices=[*ATTACKS], default=[*ATTACKS])
    parser.add_argument("--vocabulary", choices=["all", "revealed"], default="all")
    parser.add_argument("--iterations", type=int, default=300, help="evaluations of the objective a sentence")
    parser.add_argument("--first", type=int, default=0, help="number of the first draw")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument(
        "--file", type=Path, help="keeps results, a line of JSON each; those that it holds are not run again"
    )
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    kept = options.file.read_text().splitlines() if options.file and options.file.exists() else []
    known = {(one["attack"], one["draw"]): one for one in map(json.loads, kept)}
    draws = range(options.first, options.first + options.draws)
    data = sentences()
    for i in draws:
        for name in options.attacks:
            if (name, i) in known:
                continue
            attack = ATTACKS[name]
            if isinstance(attack, TextMatching):
                attack = replace(attack, vocabulary=options.vocabulary, iterations=options.iterations)
            known[name, i] = one = attacked(name, attack, data, i)
            if options.file:
                with options.file.open("a") as lines:
                    lines.write(json.dumps(one) + "\n")
            if options.verbose:
                print(f"  {i} {name}: {one['guess']!r} of {one['true']!r}, {one['seconds']:.1f} s", flush=True)
    before: list[dict[str, Any]] = []
    tables = {name: [known[name, i] for i in draws] for name in options.attacks}
    for name, found in tables.items():
        row(name, found, before)
        before = found
    blind = sum(one["blind"] for one in found) / len(found)
    print(f"blind ROUGE-L {blind:.3f}")
    means = {name: sum(one["rouge1"] for one in found) / len(found) for name, found in tables.items()}
    took = {name: sorted(one["seconds"] for one in found)[len(found) // 2] for name, found in tables.items()}
    rising = all(a <= b for a, b in zip(list(means.values()), list(means.values())[1:]))
    fast = "DAGER" not in took or all(took[name] >= FASTER * took["DAGER"] for name in took if name != "DAGER")
    print(f"ROUGE-1 rises: {rising}; DAGER {FASTER} times faster: {fast}")
    raise SystemExit(0 if rising and fast else 1)


if __name__ == "__main__":
    main()
