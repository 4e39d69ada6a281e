"""What `gradiometer init --text` writes: a plan and a client whose private examples are sentences. They run as they are."""

from __future__ import annotations

PLAN = """\
# A plan for `gradiometer audit plan.toml`, for a client that trains on sentences. Everything that is left out has a default;
# the run folder's plan.toml spells all of them.

title = "My text audit"
seed = 0

[threat]
name = "honest_but_curious"

# Who is audited. `target` is a function that returns (Client, Data); client.py beside this file holds one.
[[client]]
name = "clinic"
target = "client:make"
# Or a built-in model on sentences of your own, a JSON object {"text": ..., "label": ...} a line:
#   model = { name = "gpt", width = 256, depth = 3 }       # or bert, or gpt2 (124 million parameters)
#   data = { name = "jsonl", path = "notes.jsonl", length = 32 }
#   recipe = { examples = 4 }
# Or an update that was captured in a real federation, with the model it belongs to:
#   update = "update.safetensors"
#   model = "client:model"

[[attack]]
name = "RowSum"          # labels

[[attack]]
name = "BagOfWords"      # which words were said, from the token embedding's gradient

[[attack]]
name = "DAGER"           # whole sentences, exactly, from the spans of the attention's gradients
# Others that read sentences: TIGER, FILM, TextDLG, TAG, LAMP; `gradiometer list attacks` tells what they do.

[[defense]]
name = "Clip"
bound = 1.0

[[defense]]
name = "GaussianNoise"
std = 0.001

[audit]
examples = 30            # sentences; 29 without a leak show a rate below 10 %, 59 below 5 %
tolerance = 0.10         # a defense holds if the leak rate is shown to be below this
# gallery = "full"       # show private sentences in the report; otherwise every word is masked

[utility]
rounds = 20              # of the short federated training that prices the defenses; 0 leaves it out
lr = 0.5
"""

CLIENT = '''\
"""The client that plan.toml audits. Put your own model, loss, recipe and sentences in."""

from torch import nn

from gradiometer import Client, Data, Recipe, data, models
from gradiometer.core import sequence_cross_entropy

LENGTH = 20


def sentences() -> Data:
    """Stands for `data.from_texts(texts, labels, tokenizer=...)` with your own texts: not public, so that reports mask them."""
    return data.notes(length=LENGTH)


def model(vocabulary: int, length: int = LENGTH, classes: int = 2) -> nn.Module:
    """The model at the start of the round, called as model(input_ids, attention_mask). Seed it."""
    return models.gpt(vocabulary, length, classes, width=64, depth=2, seed=0)


def make() -> tuple[Client, Data]:
    """One client of the federation and its data."""
    mine = sentences()
    victim = model(mine.layout["input_ids"].classes)
    recipe = Recipe(sends="gradient", mode="eval", examples=1)  # FedAvg: sends="delta", epochs=..., lr=...
    return Client(model=victim, layout=mine.layout, loss=sequence_cross_entropy, recipe=recipe), mine
'''
