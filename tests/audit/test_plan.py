"""Plans: faults come together and with lines; the resolved plan is a plan; what changes results changes the hash."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradiometer.audit import toml
from gradiometer.audit.plan import load_plan, make_plan, parse_plan, threat_of
from gradiometer.audit.sections import seconds, usable_device
from gradiometer.audit.setup import set_up
from gradiometer.audit.trials import grid
from gradiometer.core import BadConfig, BadInput

GOOD = """
title = "t"
threat = "label_informed"

[[client]]
name = "a"
model = { name = "mlp", widths = [8] }
data = "digits"

[[attack]]
name = "LinearBias"

[[defense]]
name = "Prune"
keep = 0.2

[[defense]]
chain = [{ name = "Clip", bound = 2.0 }, { name = "GaussianNoise" }]

[audit]
budget = "2min"
"""

BAD = """
title = "x"
[threat]
name = "honest_but_curios"
[[client]]
name = "a"
model = { name = "mlp", width = [3] }
data = "medicall"
recipe = { sends = "delta", epochs = "3" }
[[attack]]
name = "LinearBias"
rows = "combind"
[[attack]]
name = "LinearBiass"
[audit]
exampels = 3
tolerance = 2.0
budget = "2 minuten"
"""


def test_all_faults_come_together_with_their_lines_in_order():
    with pytest.raises(BadConfig) as caught:
        parse_plan(BAD, source="plan.toml")
    lines = [int(problem.split(":")[1].split()[0]) for problem in caught.value.problems]
    assert lines == sorted(lines) == [4, 7, 8, 9, 12, 14, 16, 17, 18]
    text = str(caught.value)
    for expected in [
        'plan.toml:4   [threat] name = "honest_but_curios"',
        'did you mean "honest_but_curious"',
        'plan.toml:14   [[attack]] name = "LinearBiass"',
        'did you mean "LinearBias"',
        'no setting "width"; did you mean "widths"',
        'did you mean "medical"',
        'no setting "exampels"; did you mean "examples"',
        "'combined'",
    ]:
        assert expected in text


def test_the_resolved_plan_is_a_plan_with_nothing_left_to_default():
    plan = parse_plan(GOOD)
    again = parse_plan(plan.dump())
    assert again == plan
    assert again.hash == plan.hash
    written = tomllib.loads(plan.dump())
    assert written["attack"][0]["rows"] == "combined"
    assert written["defense"][1]["members"][0]["bound"] == 2.0
    assert written["audit"]["candidates"] == 100
    assert written["audit"]["budget"] == 120.0
    assert written["client"][0]["recipe"]["lr"] == 0.01
    assert written["client"][0]["model"]["seed"] == 0
    assert threat_of(plan).labels


def test_a_device_must_be_here():
    assert usable_device("cpu") == "cpu"
    for name, text in [("warp", "as torch names it"), ("cuda:9999", "no such device here"), ("meta", "no such device")]:
        with pytest.raises(ValueError, match=text):
            usable_device(name)
    with pytest.raises(BadConfig, match="no such device"):
        parse_plan(GOOD + 'device = "meta"\n')


def test_hash_follows_what_results_depend_on():
    plan = parse_plan(GOOD)
    same = [GOOD.replace("2min", "1h"), GOOD + "jobs = 1\n", GOOD + 'gallery = "none"\n', GOOD.replace('"t"', '"u"')]
    other = ["seed = 1\n" + GOOD, GOOD.replace("0.2", "0.3"), GOOD + "examples = 10\n", GOOD.replace("[8]", "[9]")]
    assert {parse_plan(text).hash for text in same} == {plan.hash}
    assert len({parse_plan(text).hash for text in other} | {plan.hash}) == 5


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({}, '"client" is missing'),
        ({"client": [], "attack": ["LinearBias"]}, "client"),
        ({"client": [{"name": "a"}], "attack": ["LinearBias"]}, "a client needs model and data"),
        ({"client": [{"name": "a", "target": "x:y", "model": "mlp"}], "attack": ["LinearBias"]}, "exclude each other"),
        ({"client": [{"name": "a", "update": "u.safetensors"}], "attack": ["LinearBias"]}, "needs model"),
        ({"client": [{"name": "a", "target": "x:y"}] * 2, "attack": ["LinearBias"]}, "a is listed twice"),
        ({"client": [{"name": "a", "target": "x:y"}], "attack": ["LinearBias"] * 2}, "LinearBias is listed twice"),
        ({"client": [{"name": "a", "target": "x:y", "loss": "no_such:loss"}], "attack": ["LinearBias"]}, "no module"),
        ({"client": 3, "attack": "LinearBias"}, "client"),
        ({"client": ["a"], "attack": [3]}, "spelled name"),
        ({"client": [{"name": "a", "target": "x:y"}], "attack": ["LinearBias"], "threat": {"labels": 1}}, "labels"),
        ({"client": [{"name": "a", "target": "x:y"}], "attack": ["LinearBias"], "threat": {"clients": 0}}, "clients"),
        (
            {
                "client": [{"name": "a", "target": "x:y"}],
                "attack": ["LinearBias"],
                "threat": {"clients": 3, "rounds": 2},
            },
            "observed in one round",
        ),
        ({"client": [{"name": "a", "target": "x:y"}], "attack": ["LinearBias"], "threat": {"rounds": 0}}, "rounds"),
    ],
)
def test_wrong_plans_are_refused(document, text):
    with pytest.raises(BadConfig) as caught:
        make_plan(document)
    assert text in str(caught.value)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"nothing.toml"):
        load_plan(tmp_path / "nothing.toml")
    broken = tmp_path / "broken.toml"
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="UTF-8"):
        load_plan(broken)
    broken.write_text("a = [")
    with pytest.raises(BadConfig, match="not valid TOML"):
        load_plan(broken)
    broken.write_text("a = " + "[" * 5000)
    with pytest.raises(BadConfig, match="not valid TOML"):
        load_plan(broken)


def test_durations():
    assert [seconds(text) for text in ("90", "90s", "1.5 min", "2h", 7)] == [90.0, 90.0, 90.0, 7200.0, 7]
    with pytest.raises(ValueError, match="duration"):
        seconds("soon")


scalars = st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(min_size=1), inner), max_leaves=8
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(min_size=1), values))
def test_toml_writer_is_read_back_by_the_standard_library(document):
    assert tomllib.loads(toml.dump(document)) == document


def test_a_client_chooses_among_attacks_and_defenses():
    document = {
        "client": [
            {"name": "a", "model": "mlp", "data": "digits", "attacks": ["LinearBias"], "defenses": [], "examples": 2},
            {"name": "b", "model": "mlp", "data": "digits", "defenses": ["Quantize"]},
        ],
        "attack": ["RowSum", "LinearBias"],
        "defense": ["Quantize", "Sign"],
        "audit": {"examples": 3},
    }
    setup = set_up(make_plan(document, source="test"))
    assert (setup.attacks_on("a"), setup.defenses_on("a")) == (["LinearBias"], ["none"])
    assert (setup.attacks_on("b"), setup.defenses_on("b")) == (["RowSum", "LinearBias"], ["none", "Quantize"])
    assert [len(victim.batches) for victim in setup.victims.values()] == [2, 3]
    trials = grid(setup)
    assert {t.defense for t in trials if t.client == "a"} == {"none"}
    assert not [t for t in trials if t.client == "a" and t.kind == "defense"]
    with pytest.raises(BadConfig):
        make_plan(document | {"attack": 3, "defense": 3}, source="test")
    document["client"][0] |= {"attacks": ["LinearBaas"], "defenses": ["Clip"]}
    with pytest.raises(BadConfig) as caught:
        make_plan(document, source="test")
    told = "\n".join(caught.value.problems)
    assert 'did you mean "LinearBias"' in told
    assert "no defense 'Clip'" in told
