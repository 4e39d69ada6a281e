"""Audits of graphs: what leaks is scored, drawn, hidden where private, and told with its cause where nothing was read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gradiometer.audit import audit, scan
from gradiometer.audit.criteria import graph_level
from gradiometer.audit.modality import modality
from gradiometer.audit.plan import load_plan
from gradiometer.audit.quick import scan_plan
from gradiometer.audit.run import preview
from gradiometer.audit.schema import Result
from gradiometer.audit.setup import set_up
from gradiometer.audit.template import init_files
from gradiometer.core import (
    BadInput,
    Client,
    Data,
    DataCard,
    Recipe,
    derive,
    graph_cross_entropy,
    play,
    save_update,
)
from gradiometer.data import grown
from gradiometer.models import gcn
from gradiometer.report import render


@pytest.fixture(scope="module")
def data() -> Data:
    return grown(8, count=80)


def client_of(data: Data) -> Client:
    model = gcn(data.layout["nodes"].shape[1], width=96)
    return Client(model=model, layout=data.layout, loss=graph_cross_entropy, recipe=Recipe())


@pytest.fixture(scope="module")
def result(data: Data) -> Result:
    return audit(
        client=client_of(data),
        data=data,
        attacks=["GRAIN"],
        defenses=["Clip:bound=0.01", "GaussianNoise:std=0.01"],
        settings={"examples": 4},
        utility={"rounds": 1},
    )


def test_graphs_leak_and_a_clip_does_not_help(result: Result) -> None:
    bare, clipped, _ = result.rows
    assert (bare.verdict, bare.level, bare.examples) == ("LEAKS", "critical", "graphs")
    assert (clipped.verdict, clipped.rate and clipped.rate.value) == ("LEAKS", 1.0)
    cell = next(cell for cell in result.cells if cell.defense == "none")
    assert cell.exact is not None
    assert cell.equivalent is not None
    assert cell.exact + cell.equivalent == 4
    assert cell.gsm
    assert cell.blind_gsm
    assert cell.blind_gsm.value < cell.gsm.value == 1.0
    assert result.findings[0].id == "recovered-graphs"
    assert all(control.passed for control in result.controls)
    assert all(row.cost.bytes for row in result.rows)


def test_a_refusal_is_no_proof_and_has_a_cause(result: Result) -> None:
    assert result.rows[2].verdict == "INCONCLUSIVE"
    noised = [cell for cell in result.cells if cell.defense.startswith("GaussianNoise")]
    assert noised
    for cell in noised:
        assert sum(cell.causes.values()) == 4
        assert next(iter(cell.causes)) in cell.reason


def test_every_report_draws_what_came_back(result: Result) -> None:
    drawing = next(one for one in result.drawings if one.defense == "none")
    true, guessed, common = drawing.edges
    assert drawing.truth
    assert not drawing.masked
    assert sorted(drawing.truth.names) == sorted(drawing.guess.names)
    assert true == guessed == common == len(drawing.truth.edges)
    assert {(drawing.places[i], drawing.places[j]) for i, j in drawing.guess.edges} <= {
        edge for i, j in drawing.truth.edges for edge in ((i, j), (j, i))
    }
    for format in ("html", "md", "terminal"):
        assert f"{true} of {true} edges" in render(result, format)
    assert "<svg class=" in render(result, "html")


def test_private_graphs_are_kept_as_counts_alone(data: Data, tmp_path: Path) -> None:
    first, again = (
        audit(
            client=client_of(data),
            data=replace(data, card=DataCard(name="chemist")),
            attacks=["GRAIN"],
            settings={"examples": 2, "controls": False},
            utility={"rounds": 0},
            folder=tmp_path / "run",
        )
        for _ in range(2)  # the second reads what the first wrote
    )
    assert first.cells == again.cells
    assert again.drawings
    for drawing in again.drawings:
        assert drawing.masked
        assert drawing.truth
        assert not drawing.truth.edges
        assert not drawing.guess.edges
        assert set(drawing.truth.names) == {""}
        assert drawing.edges[0] > 0
    lines = map(json.loads, (tmp_path / "run" / "results.jsonl").read_text().splitlines())
    kept = [one for line in lines for one in line.get("drawings", ())]
    assert kept
    assert all(not one[side]["edges"] and not any(one[side]["names"]) for one in kept for side in ("truth", "guess"))
    assert "left out before it was stored" in render(again, "html")


def test_a_captured_update_is_scanned_and_its_claims_explain_it(data: Data, tmp_path: Path, monkeypatch) -> None:
    update = play(client_of(data), data.private.take([3]), rng=derive(0))
    save_update(update, tmp_path / "update.safetensors")
    (tmp_path / "captured_graph_model.py").write_text(
        "from gradiometer.models import gcn\n\n\ndef model(features, classes=2):\n"
        "    return gcn(features, classes, width=96)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    result = scan(tmp_path / "update.safetensors", model="captured_graph_model:model")
    reasons = " ".join(result.rows[0].reasons)
    assert "GRAIN claims labels" in reasons
    assert "1 graphs" in reasons
    assert len(result.drawings) == 1
    assert result.drawings[0].truth is None
    assert "claims" in render(result, "html")


def test_names_alone_are_scanned_as_what_they_are() -> None:
    for target in ("gcn", "grown", "gat/grown"):
        plan = scan_plan(target)
        assert "GRAIN" in [one["name"] if isinstance(one, dict) else one for one in plan.attack]
        assert modality(set_up(plan).victims[target].client.layout).many == "graphs"


def test_a_file_of_smiles_or_of_sentences_is_scanned_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    alcohols = [{"smiles": "C" * n + "O", "toxic": n % 2} for n in range(1, 12)]
    (tmp_path / "mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in alcohols))
    (tmp_path / "mine.csv").write_text("smiles,toxic\n" + "".join(f"{r['smiles']},{r['toxic']}\n" for r in alcohols))
    for name in ("mine.jsonl", "mine.csv"):
        plan = scan_plan(tmp_path / name)
        victim = set_up(plan).victims[name]
        assert modality(victim.client.layout).many == "graphs"
        assert victim.data
        assert {victim.data.symbols[int(row[:54].argmax())] for row in victim.data.private["nodes"][0][:2]} <= {
            "C",
            "O",
        }


def test_a_file_of_sentences_is_scanned_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text("".join(f'{{"text": "patient {n} is well"}}\n' for n in range(20)))
    assert (
        modality(set_up(scan_plan(tmp_path / "notes.jsonl")).victims["notes.jsonl"].client.layout).many == "sentences"
    )
    with pytest.raises(BadInput, match="does not exist"):
        scan_plan(tmp_path / "other.csv")


def test_a_graph_leaks_whole_or_not_at_all() -> None:
    whole = {"exact": True, "equivalent": False, "gain": 0.1}
    assert graph_level(whole) == "critical"
    assert graph_level(whole | {"exact": False, "equivalent": True}) == "high"
    assert graph_level(whole | {"exact": False}) == "none"
    assert graph_level(whole | {"gain": 0.0}) == "none"


def test_the_graph_template_is_ready(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    files = init_files(graphs=True)
    (tmp_path / "graph_client.py").write_text(files["client.py"])
    (tmp_path / "plan.toml").write_text(files["plan.toml"].replace("client:make", "graph_client:make"))
    setup = set_up(load_plan(tmp_path / "plan.toml"))
    assert list(setup.attacks) == ["RowSum", "GRAIN"]
    assert len(preview(setup)) > 30
    assert modality(setup.victims["chemist"].client.layout).many == "graphs"
