"""A tiny client, a plan that audits it, and what its run folders hold."""

from __future__ import annotations

from pathlib import Path

from gradiometer.audit.store import read_lines

CLIENT = """
import torch
from gradiometer import Batch, Client, Data, DataCard, Recipe, image_layout
from gradiometer.models import mlp

def make():
    rng = torch.Generator().manual_seed(1)
    x, y = torch.rand(60, 1, 4, 4, generator=rng), torch.arange(60) % 3
    batch = Batch(x=x, y=y)
    layout = image_layout((1, 4, 4), 3)
    data = Data(private=batch.take(slice(0, 20)), public=batch.take(slice(20, 40)), test=batch.take(slice(40, 60)),
                layout=layout, card=DataCard(name="noise"))
    return Client(model=mlp((1, 4, 4), 3, widths=(6,), activation="sigmoid"), layout=layout, recipe=Recipe(examples=1)), data
"""
PLAN = """
title = "tiny"
[[client]]
name = "tiny"
target = "tiny_client:make"
[[attack]]
name = "LinearBias"
[[attack]]
name = "InvertingGradients"
iterations = 3
labels = "RowSum"
[audit]
examples = 4
controls = false
[utility]
rounds = 1
clients = 2
"""


def figures(folder):
    """The records of a run by id, timings aside."""
    lines, _ = read_lines(Path(folder) / "results.jsonl")
    timings = ("seconds", "attack_seconds")
    records = {}
    for line in lines[1:]:
        if line.get("training"):
            line["training"].pop("seconds")
        records[line["id"]] = {key: value for key, value in line.items() if key not in timings}
    return records


def starts(folder):
    return [line.split()[2] for line in (Path(folder) / "log.txt").read_text().splitlines() if " start " in line]
