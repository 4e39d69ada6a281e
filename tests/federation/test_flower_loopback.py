"""A real Flower deployment on loopback (SuperLink, SuperNodes, `flwr run`) against the same training in process."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # typer's use of click, while Flower is imported
    pytest.importorskip("flwr")

from gradiometer.audit import parse_plan
from gradiometer.audit.federating import federation
from gradiometer.audit.flower import train_in_flower
from gradiometer.audit.setup import Setup, set_up
from gradiometer.audit.train import place_of, run_training
from gradiometer.core import Batch, Data, Update, derive, load_update
from gradiometer.federation import Federation, advance, begin
from gradiometer.federation.flower.deployment import Deployment, deployment
from gradiometer.federation.leak import Leak, leaks
from gradiometer.federation.local import draw

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

PLAN = """
title = "Loopback"
seed = 3
[[client]]
name = "digits"
model = { name = "mlp", widths = [16], activation = "sigmoid" }
data = "digits"
recipe = { sends = "delta", lr = 0.5 }
[[attack]]
name = "RowSum"
[[attack]]
name = "LinearBias"
[[defense]]
chain = [{ name = "Clip", bound = 1.0 }, { name = "GaussianNoise", std = 0.001 }]
[[defense]]
name = "Quantize"
bits = 8
[train]
rounds = 3
clients = 3
examples = 4
record = [0, 1, 2]
recorded = 3
"""


SECURE = (
    PLAN[: PLAN.index("[[defense]]")]
    + """
[train]
rounds = 3
clients = 4
examples = 4
record = [0, 1, 2]
aggregation = { name = "SecureAggregation", clip = 2.0, bits = 24 }
"""
)
VICTIM = 3


def close(found: Update, want: Update) -> None:
    """The same values: to rounding in the first round, to a quantizer's step in those that start from other last bits."""
    error = sum(float((found.values[k] - v).square().sum()) for k, v in want.values.items()) ** 0.5
    size = sum(float(v.square().sum()) for v in want.values.values()) ** 0.5
    assert error < (1e-5 if want.round == 0 else 1e-2) * size


def alike(told: Sequence[dict[str, Any]], again: Sequence[Leak]) -> None:
    """The same cells with the same figures."""
    for line, leak in zip(told, again, strict=True):
        assert line["attack"] == leak.attack
        assert line["labels"] == leak.labels
        assert line["identified"] == leak.identified
        if leak.psnr is not None and leak.round == 0:
            assert line["psnr"] == pytest.approx(leak.psnr, abs=1.0 if leak.psnr > 60 else 0.1)


def audited(setup: Setup, one: Federation, update: Update, batch: Batch, member: int | str) -> list[Leak]:
    """What the plan's attacks read off an update in this process."""
    victim = next(iter(setup.victims.values()))
    assert victim.data is not None
    return leaks(
        update,
        Data(private=batch, public=victim.data.public, layout=one.client.layout),
        list(setup.attacks.values()),
        rng=derive(one.seed, update.round, member, "self-audit"),
        threat=setup.threat,
        defense=one.defense,
        budget=setup.plan.train.attack_seconds,
    )


def test_a_deployment_sends_what_this_process_computes(tmp_path: Path) -> None:
    plan = parse_plan(PLAN)
    here = run_training(plan, tmp_path)
    there = run_training(plan, tmp_path, runtime="flower")
    setup = set_up(plan)
    for ours, theirs in zip(here.runs, there.runs):
        assert theirs.error == ""
        assert theirs.first == ours.first
        assert len(theirs.rounds) == 3
        assert [one.accuracy for one in theirs.rounds] == pytest.approx([one.accuracy for one in ours.rounds], abs=0.01)
        assert len(theirs.updates) == 9
        assert all(one.refused == {} for one in theirs.rounds)
        one = federation(setup, ours.defense)
        place = next(tmp_path.glob("flower-*")) / place_of(ours.defense)
        told = lines(place / "leaks" / "leaks.jsonl")
        assert len(told) == 3 * 3 * 2
        for name in ours.updates:
            want = load_update(tmp_path / name, model=one.client.model)
            found = load_update(place / "sent" / Path(name).name, model=one.client.model)
            assert (found.recipe, found.batch_size, found.round) == (want.recipe, want.batch_size, want.round)
            close(found, want)
            member = int(Path(name).stem.rpartition("-")[2])
            batch = draw(one.members[member].train, one.examples, seed=one.seed, round=want.round, member=member)
            mine = [line for line in told if (line["round"], line["member"]) == (want.round, member)]
            alike(mine, audited(setup, one, want, batch, member))


def test_secure_aggregation_goes_on_when_a_node_is_killed(tmp_path: Path) -> None:
    """Four nodes: of three, a client's floor of three in a sum lets none be lost. One dies while it trains in round 2."""
    plan = parse_plan(SECURE)
    setup = set_up(plan)
    place = tmp_path / "none"
    (tmp_path / "plan.toml").write_text(plan.dump())
    with deployment(tmp_path, 4) as running, ThreadPoolExecutor() as beside:
        killer = beside.submit(kill_in_round_2, running, place)
        theirs = train_in_flower(running, plan, "none", tmp_path, place)
        assert killer.result()
    assert theirs.error == ""
    told = [line for line in lines(place / "updates" / "replies.jsonl") if "survivors" in line]
    assert [line["round"] for line in told] == [0, 1, 2]
    assert told[0]["survivors"] == [0, 1, 2, 3]
    assert told[2]["survivors"] == [0, 1, 2]
    assert theirs.rounds[1].refused

    class Same(Federation):
        def gone(self, number: int) -> frozenset[int]:
            return frozenset(range(4)) - {*told[number]["survivors"]}

    masked = federation(setup, "none")
    masked = Same(**{field.name: getattr(masked, field.name) for field in fields(masked)})
    seen: dict[tuple[int, int | None], tuple[Update, Batch]] = {}

    def keep(member: int | None, update: Update, batch: Batch) -> None:
        seen[update.round, member] = update, batch

    for one in (masked, replace(masked, aggregation=None)):
        state = begin(one)
        for _ in range(3):
            state = advance(one, state, seen=keep)
    for line in told:
        number = line["round"]
        want, batch = seen[number, None]
        found = load_update(place / "updates" / f"round-{number:04d}-sum.safetensors", model=masked.client.model)
        assert (found.clients, found.batch_size) == (len(line["survivors"]), batch.size)
        close(found, want)
        mine = [leak.model_dump() for leak in theirs.leaks if leak.round == number]
        alike(mine, audited(setup, masked, want, batch, "sum"))
        own = lines(place / "leaks" / "leaks.jsonl")
        for member in line["survivors"]:
            want, batch = seen[number, member]
            path = place / "sent" / f"round-{number:04d}-member-{member:03d}.safetensors"
            close(load_update(path, model=masked.client.model), want)
            mine = [leak for leak in own if (leak["round"], leak["member"]) == (number, member)]
            alike(mine, audited(setup, masked, want, batch, member))


def kill_in_round_2(running: Deployment, place: Path) -> bool:
    """Kills a node as soon as somebody has trained in the second round."""
    for _ in range(3000):
        if any((place / "sent").glob("round-0001-*")):
            running.kill(VICTIM)
            return True
        time.sleep(0.2)
    return False


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
