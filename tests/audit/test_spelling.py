"""Spelling: every exported attack and defense survives the way to TOML and back; every fault is told at once."""

from __future__ import annotations

import tomllib

import pytest

from gradiometer.attacks import inference
from gradiometer.attacks.image import DLG, InvertingGradients, LinearBias
from gradiometer.audit import toml
from gradiometer.audit.naming import catalogue
from gradiometer.audit.spelling import build, spell
from gradiometer.audit.written import label, parse
from gradiometer.core import BadConfig, Defense
from gradiometer.defenses import Chain, Clip, GaussianNoise, Prune, Quantize
from gradiometer.numerics.priors import TotalVariation

ALL = [(kind, cls) for kind in ("attack", "defense") for cls in catalogue(kind).values()]


@pytest.mark.parametrize(("kind", "cls"), ALL, ids=[cls.__name__ for _, cls in ALL])
def test_everything_exported_survives_toml(kind, cls):
    thing = cls()
    written = toml.dump({kind: [spell(thing)]})
    assert build(tomllib.loads(written)[kind][0], kind) == thing


def test_parts_of_a_whole_are_spelled_inside_it():
    attack = InvertingGradients(iterations=7, priors=(TotalVariation(weight=0.5),), labels=inference.RowSum())
    spec = spell(attack)
    assert spec["priors"][0]["weight"] == 0.5
    assert spec["labels"]["name"] == "RowSum"
    assert "channel" not in spec
    assert build(spec, "attack") == attack
    chain = Chain(members=(Clip(bound=2.0), GaussianNoise(std=0.5)))
    assert build(spell(chain), "defense") == chain


def test_command_line_spelling():
    assert build("Quantize:bits=4,scheme=symmetric", "defense") == Quantize(bits=4, scheme="symmetric")
    attack = build("InvertingGradients:priors=[{name='TotalVariation',weight=0.1}],labels=RowSum", "attack")
    assert attack == InvertingGradients(priors=(TotalVariation(weight=0.1),), labels=inference.RowSum())
    assert parse("mylab.attacks:Mine:a=1,b=[1, 2],c='x,y'") == {
        "name": "mylab.attacks:Mine",
        "a": 1,
        "b": [1, 2],
        "c": "x,y",
    }
    assert build("Prune", "defense") == Prune()


def test_a_start_is_a_word_or_an_attack():
    assert build("DLG:start=gray", "attack").start == "gray"
    made = build({"name": "Matching", "start": {"name": "LinearBias"}}, "attack")
    assert made.start == LinearBias()
    assert build(spell(made), "attack") == made
    with pytest.raises(BadConfig, match="gray"):
        build("DLG:start=grey", "attack")


def test_labels_tell_settings_apart():
    assert label(LinearBias()) == "LinearBias"
    assert label(Quantize(bits=4)) == "Quantize(bits=4)"
    assert label(DLG(iterations=10, labels=inference.RowSum())) == "DLG(iterations=10, labels=RowSum)"
    assert label(Chain(members=(Clip(), GaussianNoise(std=0.5)))) == "Clip + GaussianNoise(std=0.5)"


@pytest.mark.parametrize(
    ("spec", "kind", "texts"),
    [
        ("Quantise", "defense", ['did you mean "Quantize"']),
        ("Quantize:bit=4", "defense", ['no setting "bit"; did you mean "bits"']),
        ("DLG:iterations=2.5,start=foo", "attack", ["valid integer, got 2.5", "'randn'", "got 'foo'"]),
        ("DLG:iterations=0,restarts=0", "attack", ["iterations must be at least 1", "restarts must be at least 1"]),
        ({"name": "DLG", "optimizer": {"name": "LBFGS", "lr": "x"}, "boxed": 1}, "attack", ["optimizer.lr", "boxed"]),
        ({"name": "DLG", "priors": [{"name": "TotalVaration"}]}, "attack", ['did you mean "TotalVariation"']),
        ({"name": "DLG", "labels": "RowSumm"}, "attack", ['did you mean "RowSum"']),
        ({"iterations": 3}, "attack", ['name = "..."']),
        (7, "attack", ['name = "..."']),
        ("DLG:iterations", "attack", ["no key=value"]),
        ("gradiometer.core:Batch", "attack", ["is no attack"]),
        ("gradiometer.nothing:Mine", "attack", ["no module"]),
        ("gradiometer.core:Attak", "attack", ['did you mean "Attack"']),
        ("gradiometer.core:Attack", "attack", ["is no attack"]),
    ],
)
def test_faults_are_told(spec, kind, texts):
    with pytest.raises(BadConfig) as caught:
        build(spec, kind)
    for text in texts:
        assert text in str(caught.value)


def test_third_party_classes_need_no_registration(tmp_path, monkeypatch):
    (tmp_path / "mylab_spelling.py").write_text(
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "from gradiometer import Defense, Card\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Mine(Defense):\n"
        "    card: ClassVar[Card] = Card(summary='mine')\n"
        "    strength: float = 1.0\n"
    )
    monkeypatch.chdir(tmp_path)
    mine = build("mylab_spelling:Mine:strength=2", "defense")
    assert isinstance(mine, Defense)
    assert spell(mine) == {"name": "mylab_spelling:Mine", "strength": 2}
    assert build(spell(mine), "defense") == mine


def test_a_member_must_be_spelled() -> None:
    with pytest.raises(BadConfig) as caught:
        build({"name": "Chain", "members": [3, {"name": "Clip", "bound": 1.0}]}, "defense")
    assert "members.0" in str(caught.value.problems)
    with pytest.raises(BadConfig, match="no defense") as caught:
        build({"name": "Chain", "members": {"name": "Quantize"}}, "defense")
    assert "write a list" in str(caught.value.problems)
