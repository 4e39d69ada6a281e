"""What `gradiometer init` writes: a plan and a client to fill in. They run as they are."""

from __future__ import annotations

from . import template_graph, template_text

PLAN = """\
# A plan for `gradiometer audit plan.toml`. Everything that is left out has a default; the run folder's plan.toml spells
# all of them. Faults are reported together, with their lines, before anything is computed.

title = "My audit"
seed = 0

# What the observer is granted: honest_but_curious, label_informed, update_only or eavesdropper; or switch by switch.
[threat]
name = "honest_but_curious"
# labels = true          # grant the true labels; the report will say so
# clients = 3            # the observer sees the sum over so many clients, as under secure aggregation

# Who is audited. `target` is a function that returns (Client, Data); client.py beside this file holds one.
[[client]]
name = "hospital"
target = "client:make"
# Or a built-in model on built-in data:
#   model = { name = "convnet64" }
#   data = { name = "medical", size = 32 }
#   recipe = { sends = "delta", examples = 8, epochs = 2, lr = 0.01 }
# Or an update that was captured in a real federation, with the model it belongs to:
#   update = "update.safetensors"
#   model = "client:model"
# A costly client may meet less of what stands below:
#   examples = 8
#   attacks = ["RowSum", "Recursive"]
#   defenses = []

# Who reads the update. `gradiometer list attacks` names all of them; mylab.attacks:Mine is taken as well.
[[attack]]
name = "RowSum"          # labels

[[attack]]
name = "Recursive"       # exact, layer by layer, where linear algebra suffices

[[attack]]
name = "LinearBias"      # exact, where the first layer is linear

[[attack]]
name = "InvertingGradients"
iterations = 100
labels = "RowSum"        # the threat grants no labels, so they are recovered first

# What might help. Every defense meets an attacker who does not know it and one who does.
[[defense]]
name = "Prune"
keep = 0.1

[[defense]]
name = "GaussianNoise"
std = 0.01

[audit]
examples = 30            # 29 without a leak show a rate below 10 %, 59 below 5 %, 299 below 1 %
tolerance = 0.10         # a defense holds if the leak rate is shown to be below this
# budget = "10min"       # start nothing after this; run again to go on
# fail_on = "high"       # exit code 1 from this severity on

[utility]
rounds = 20              # of the short federated training that prices the defenses; 0 leaves it out
lr = 0.2

# What `gradiometer train plan.toml` does with the client, its data dealt to the members of a federation.
[train]
rounds = 20
clients = 4
alpha = 0.5              # of the Dirichlet split; split = "even" deals evenly, "natural" makes every [[client]] a member
strategy = { name = "FedSGD", lr = 0.5 }   # or FedAvg, FedProx, FedAdam for clients that send weight deltas
# aggregation = { name = "SecureAggregation", clip = 0.1 }   # the server sees the sum over members alone
# target = 0.8           # tells the round that reaches this accuracy
"""

CLIENT = '''\
"""The client that plan.toml audits. Put your own model, loss, recipe and data in."""

import torch
from torch import nn

from gradiometer import Batch, Client, Data, DataCard, Recipe, data, image_layout


def model() -> nn.Module:
    """The model at the start of the round. Seed it: every process must build the same one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Sigmoid(), nn.Linear(32, 10))


def make() -> tuple[Client, Data]:
    """One client of the federation and its data."""
    digits = data.digits()  # stands for your own tensors: x [n, channels, height, width] as the model takes them, y [n]
    mine = Data(
        private=Batch(x=digits.private["x"], y=digits.private["y"]),  # what attacks try to recover
        public=digits.public,  # other examples of the same kind that anybody may have
        test=digits.test,  # to measure accuracy
        layout=image_layout((1, 8, 8), 10),  # with mean=..., std=... where pixels are normalized
        card=DataCard(name="my data", public=False),  # not public: reports blur the pictures
    )
    recipe = Recipe(sends="gradient", mode="eval", examples=1)  # FedAvg: sends="delta", epochs=..., lr=...
    return Client(model=model(), layout=mine.layout, recipe=recipe), mine
'''


def init_files(*, text: bool = False, graphs: bool = False) -> dict[str, str]:
    """File names and texts of a fresh project, for pictures, for sentences or for graphs."""
    if text or graphs:
        kind = template_text if text else template_graph
        return {"plan.toml": kind.PLAN, "client.py": kind.CLIENT}
    return {"plan.toml": PLAN, "client.py": CLIENT}
