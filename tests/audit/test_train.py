"""`gradiometer train`: a plan's trainings, interrupted and continued, and what is recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradiometer.audit import parse_plan
from gradiometer.audit.schema_training import TrainingResult
from gradiometer.audit.train import run_training
from gradiometer.core import BadConfig, Threat, load_update
from gradiometer.defenses import ClientDP
from gradiometer.models.mlp import mlp
from gradiometer.report.training import render_training

PLAN = """
title = "Digits"
[[client]]
name = "digits"
model = { name = "mlp", widths = [16] }
data = "digits"
recipe = { sends = "delta", batch_size = 16, lr = 0.2 }
[[attack]]
name = "RowSum"
[[defense]]
name = "Quantize"
[train]
rounds = 3
clients = 2
target = 0.2
record = [0, -1]
"""


class Stop(Exception):
    pass


def test_killed_and_continued_is_uninterrupted(tmp_path: Path) -> None:
    plan = parse_plan(PLAN)
    whole = run_training(plan, tmp_path / "whole")

    def stop(event) -> None:
        if event.defense != "none" and event.round.number == 1:
            raise Stop

    with pytest.raises(Stop):
        run_training(plan, tmp_path / "again", progress=stop)
    again = run_training(plan, tmp_path / "again")
    assert [[r.accuracy for r in run.rounds] for run in whole.runs] == [
        [r.accuracy for r in run.rounds] for run in again.runs
    ]
    for run in whole.runs:
        assert len(run.updates) == 2
        assert [leak.round for leak in run.leaks] == [0, 2]
        assert all(leak.labels is not None for leak in run.leaks)
        assert run.accuracy is not None
        assert run.accuracy.value > 0.2
        assert run.to_target is not None
        for name in run.updates:
            assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    update = load_update(tmp_path / "whole" / whole.runs[1].updates[-1], model=mlp((1, 8, 8), 10, widths=(16,)))
    assert update.round == 2
    assert update.recipe is not None
    assert update.recipe.examples == update.batch_size
    told = TrainingResult.model_validate_json((tmp_path / "whole" / "training.json").read_bytes())
    assert told == whole
    assert "RowSum: round 1 labels" in render_training(whole, width=200)
    assert "Quantize" in render_training(whole)
    assert render_training(whole, "html").startswith("<!doctype html>")
    assert json.loads(render_training(whole, "json"))["members"] == whole.members
    with pytest.raises(BadConfig, match="another training"):
        run_training(parse_plan(PLAN.replace("clients = 2", "clients = 3")), tmp_path / "whole")


def test_members_alone_are_federations_of_one_and_decide_what_is_worth_it(tmp_path: Path) -> None:
    from gradiometer.audit.federating import federation
    from gradiometer.audit.setup import set_up
    from gradiometer.federation.alone import alone
    from gradiometer.report.training import worth

    plan = parse_plan(PLAN)
    result = run_training(plan, tmp_path)
    whole = federation(set_up(plan), "none")
    right = [alone(whole, member, 3).accuracy for member in whole.members]
    assert result.alone is not None
    assert result.alone.accuracy.value == max(one.value for one in right if one)
    assert result.alone.of == 2
    bare = result.runs[0]
    assert worth(result, bare) == (bare.accuracy.value > result.alone.accuracy.value)
    worse = bare.model_copy(update={"accuracy": result.alone.accuracy})
    assert worth(result, worse) is False
    assert worth(result.model_copy(update={"alone": None}), bare) is None
    page = render_training(result, "html")
    assert "Worth it" in page
    assert "members by themselves" in page
    assert "worth it" in render_training(result, width=120)
    (tmp_path / "training.json").unlink()
    calls = []
    assert run_training(plan, tmp_path, progress=calls.append).alone == result.alone
    assert calls == []  # nothing is trained again
    without = run_training(parse_plan(PLAN + "alone = false\n"), tmp_path)
    assert without.alone is None
    assert without.runs == result.runs


def test_a_defense_that_does_not_fit_the_model_leaves_the_others_alone(tmp_path: Path) -> None:
    plan = parse_plan(
        PLAN.replace('name = "Quantize"', 'name = "BatchNormToGroupNorm"').replace("rounds = 3", "rounds = 1")
    )
    result = run_training(plan, tmp_path)
    assert [bool(run.error) for run in result.runs] == [False, True]
    assert "no batch normalization" in result.runs[1].error
    assert "stopped:" in render_training(result)


def test_natural_split_makes_every_client_a_member(tmp_path: Path) -> None:
    second = PLAN[PLAN.index("[[client]]") : PLAN.index("[[attack]]")].replace('"digits"\nmodel', '"other"\nmodel')
    plan = parse_plan(PLAN.replace("[[attack]]", second + "[[attack]]").replace("clients = 2", 'split = "natural"'))
    result = run_training(plan, tmp_path)
    assert list(result.members) == ["digits", "other"]
    with pytest.raises(BadConfig, match="deals the examples"):
        run_training(parse_plan(plan.dump().replace('"natural"', '"even"')), tmp_path / "even")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rounds = 0", "rounds"),
        ('strategy = { name = "FedAvgg" }', 'no strategy "FedAvgg"; did you mean "FedAvg"'),
        ('strategy = { name = "FedAdam", second = 2.0 }', "second"),
        ("alpha = -1.0", "alpha"),
        ('split = "odd"', "split"),
        ("roundss = 3", 'no setting "roundss"'),
    ],
)
def test_faults_are_told_with_their_line(line: str, said: str) -> None:
    text = PLAN.replace("rounds = 3\n", "") if line.startswith("rounds ") else PLAN
    with pytest.raises(BadConfig) as caught:
        parse_plan(text + line + "\n")
    assert said in str(caught.value)
    assert "plan.toml:" in str(caught.value)


def test_the_plans_of_template_and_documentation_are_plans() -> None:
    from gradiometer.audit import init_files

    page = (Path(__file__).parents[2] / "docs" / "howto" / "federated_training.md").read_text()
    assert parse_plan(page.split("```toml\n")[1].split("```")[0]).train.target == 0.8
    assert parse_plan(
        init_files()["plan.toml"].replace('target = "client:make"', 'model = "mlp"\ndata = "digits"')
    ).train


SECURE = """
recipe = { sends = "gradient" }
[[attack]]
name = "RowSum"
[[attack]]
name = "LinearBias"
[[defense]]
name = "ClientDP"
clients = 4
[train]
rounds = 3
clients = 4
examples = 2
recorded = 2
record = [0, -1]
dropout = 0.2
aggregation = { name = "SecureAggregation", threshold = 3, clip = 4.0 }
"""


def test_under_secure_aggregation_the_sum_is_all_that_is_recorded_and_attacked(tmp_path: Path) -> None:
    plan = parse_plan("seed = 8\n" + PLAN[: PLAN.index("recipe")] + SECURE)
    assert plan.train.aggregation == {"name": "SecureAggregation", "clip": 4.0, "bits": 16, "threshold": 3}
    result = run_training(plan, tmp_path)
    plain, private = result.runs
    assert result.aggregation == "SecureAggregation(clip=4, threshold=3)"
    for run in result.runs:
        assert [Path(name).name for name in run.updates] == ["round-0000-sum.safetensors", "round-0002-sum.safetensors"]
        assert {leak.member for leak in run.leaks} == {None}
        assert run.aggregation_seconds > 0
        assert [one.clients for one in run.rounds] == [4 - len(one.refused) for one in run.rounds]
        update = load_update(tmp_path / run.updates[0], model=mlp((1, 8, 8), 10, widths=(16,)))
        assert (update.clients, update.batch_size) == (run.rounds[0].clients, 2 * run.rounds[0].clients)
    assert min(one.clients for one in plain.rounds) == 3
    assert (private.epsilon_of, plain.epsilon) == ("sum", None)
    everybody = ClientDP(clients=4).epsilon(threat=Threat(rounds=3, clients=4))
    assert private.epsilon > everybody, "whoever drops out takes its share of the noise along"
    told = render_training(result, width=200)
    for said in ("what is seen is the sum", "adding up unseen took", "dropped out", "ε is of the sum over members"):
        assert said in told
        assert said in render_training(result, "html")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('aggregation = { name = "SecureAggregatio" }', 'no aggregation "SecureAggregatio"; did you mean'),
        ('aggregation = { name = "SecureAggregation", bit = 3 }', 'no setting "bit"'),
        ("dropout = 1.0", "dropout"),
    ],
)
def test_faults_of_an_aggregation_are_told_with_their_line(line: str, said: str) -> None:
    with pytest.raises(BadConfig) as caught:
        parse_plan(PLAN + line + "\n")
    assert said in str(caught.value)
    assert "plan.toml:" in str(caught.value)
