"""A real Flower deployment on loopback (SuperLink, 3 SuperNodes, `flwr run`) against the same training in process."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from gradiometer.audit import parse_plan
from gradiometer.audit.federating import federation
from gradiometer.audit.setup import set_up
from gradiometer.audit.train import place_of, run_training
from gradiometer.core import Data, derive, load_update
from gradiometer.federation.leak import leaks
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


def test_a_deployment_sends_what_this_process_computes(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pytest.importorskip("flwr")
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
        told = [json.loads(line) for line in (place / "leaks" / "leaks.jsonl").read_text().splitlines()]
        assert len(told) == 3 * 3 * 2
        for name in ours.updates:
            want = load_update(tmp_path / name, model=one.client.model)
            found = load_update(place / "sent" / Path(name).name, model=one.client.model)
            assert (found.recipe, found.batch_size, found.round) == (want.recipe, want.batch_size, want.round)
            error = sum(float((found.values[k] - v).square().sum()) for k, v in want.values.items()) ** 0.5
            size = sum(float(v.square().sum()) for v in want.values.values()) ** 0.5
            # Later rounds start from weights that differ in the last bits, which may tip a quantizer by a step.
            assert error < (1e-5 if want.round == 0 else 1e-2) * size
            member = int(Path(name).stem.rpartition("-")[2])
            batch = draw(one.members[member].train, one.examples, seed=one.seed, round=want.round, member=member)
            victim = next(iter(setup.victims.values()))
            data = Data(private=batch, public=victim.data.public, layout=one.client.layout)
            again = leaks(
                want,
                data,
                list(setup.attacks.values()),
                rng=derive(one.seed, want.round, member, "self-audit"),
                threat=setup.threat,
                defense=one.defense,
                budget=plan.train.attack_seconds,
            )
            mine = [line for line in told if (line["round"], line["member"]) == (want.round, member)]
            for line, leak in zip(mine, again, strict=True):
                assert line["attack"] == leak.attack
                assert line["labels"] == leak.labels
                assert line["identified"] == leak.identified
                if leak.psnr is not None and want.round == 0:
                    assert line["psnr"] == pytest.approx(leak.psnr, abs=1.0 if leak.psnr > 60 else 0.1)
