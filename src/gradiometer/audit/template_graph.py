"""What `gradiometer init --graphs` writes: a plan and a client whose private examples are graphs. They run as they are."""

from __future__ import annotations

PLAN = """\
# A plan for `gradiometer audit plan.toml`, for a client that trains on graphs. Everything that is left out has a default;
# the run folder's plan.toml spells all of them.

title = "My graph audit"
seed = 0

[threat]
name = "honest_but_curious"

# Who is audited. `target` is a function that returns (Client, Data); client.py beside this file holds one.
[[client]]
name = "chemist"
target = "client:make"
# Or a built-in model on molecules of your own, a column `smiles` and one of labels (pip install "gradiometer[graph]"):
#   model = { name = "gcn" }                # or gat
#   data = { name = "molecules", path = "mine.csv", label = "toxic" }
# Or on neighborhoods of a citation network:
#   data = { name = "citations", path = "network.npz" }
# Or an update that was captured in a real federation, with the model it belongs to:
#   update = "update.safetensors"
#   model = "client:model"

[[attack]]
name = "RowSum"          # labels

[[attack]]
name = "GRAIN"           # whole graphs, nodes and edges, from the spans of the gradients

[[defense]]
name = "Clip"
bound = 1.0

[[defense]]
name = "Quantize"
bits = 8

[[defense]]
name = "GaussianNoise"
std = 0.001

[audit]
examples = 30            # graphs; 29 without a leak show a rate below 10 %, 59 below 5 %
tolerance = 0.10         # a defense holds if the leak rate is shown to be below this
# gallery = "full"       # draw private graphs in the report; otherwise only the number of their nodes and edges is told

[utility]
rounds = 40              # of the short federated training that prices the defenses; 0 leaves it out
lr = 0.5
"""

CLIENT = '''\
"""The client that plan.toml audits. Put your own model, loss, recipe and graphs in."""

from torch import nn

from gradiometer import Client, Data, Recipe, data, models
from gradiometer.core import graph_cross_entropy


def graphs() -> Data:
    """Stands for `data.molecules("mine.csv", "toxic")`, or `data.from_graphs(...)`: your own are not public, and reports mask them."""
    return data.grown()


def model(features: int, classes: int = 2) -> nn.Module:
    """The model at the start of the round, called as model(nodes, adjacency, mask). Seed it."""
    return models.gcn(features, classes, width=128, seed=0)


def make() -> tuple[Client, Data]:
    """One client of the federation and its data."""
    mine = graphs()
    victim = model(mine.layout["nodes"].shape[1])
    recipe = Recipe(sends="gradient", mode="eval", examples=1)  # FedAvg: sends="delta", epochs=..., lr=...
    return Client(model=victim, layout=mine.layout, loss=graph_cross_entropy, recipe=recipe), mine
'''
