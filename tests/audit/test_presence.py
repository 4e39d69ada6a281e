"""Attacks that answer whether something is there: AUC over batches, a finding, and a control that they can pass."""

from __future__ import annotations

import pytest

from gradiometer import Client, Recipe, Threat, audit, data, models
from gradiometer.attacks.inference import PropertyInference, RareClass
from gradiometer.audit import control
from gradiometer.audit.checks import examine
from gradiometer.audit.evidence import Case, Evidence
from gradiometer.audit.modality import MODALITIES

PROPERTY = PropertyInference(labels="read", rounds=20, trees=10)


def test_an_audit_tells_what_presence_attacks_know() -> None:
    tiles = data.scanners(size=16, contrast=0.4, brightness=0.2)
    client = Client(model=models.mlp((3, 16, 16), 5, widths=(32,)), layout=tiles.layout, recipe=Recipe())
    result = audit(
        client=client,
        data=tiles,
        attacks=[PROPERTY, RareClass(label=4)],
        settings={"examples": 24, "controls": False},
        utility={"rounds": 0},
    )
    scanner, rare = result.cells
    assert scanner.auc is not None
    assert rare.auc is not None
    assert scanner.auc.n == rare.auc.n == 24
    assert scanner.auc.value > 0.7
    assert rare.auc.value == 1.0  # of a single picture, the class is read off exactly
    assert rare.labels is not None
    assert rare.labels.value == 1.0
    assert "told-presence" in {finding.id for finding in result.findings}


def test_property_inference_passes_its_control_under_any_name() -> None:
    told = control.positive(
        PropertyInference(mark="site", rounds=40, trees=20), Recipe(), Threat(), 0, "cpu", MODALITIES[0]
    )
    assert told["passed"], told


@pytest.mark.parametrize(("batches", "sound"), [(1, True), (2, True), (7, False), (20, False)])
def test_one_lucky_guess_from_noise_is_no_knowledge(batches: int, sound: bool) -> None:
    record = {"status": "ok", "probe": None, "curve": [], "ignores": False, "unaltered": True}
    labels = {"labels": {}, "noise_labels": {"overlap": 1.0, "blind": 0.0, "exact": True}}
    case = Case("tiny", "none", "RowSum", False)
    evidence = Evidence({case: {i: {**record, **labels} for i in range(batches)}}, {case: batches})
    assert (case not in examine(evidence, Threat(), controls=False).unsound) == sound
