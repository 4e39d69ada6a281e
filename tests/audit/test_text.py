"""Audits of sentences: what leaks is scored, shown, masked where private, and told plainly where no attack applies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gradiometer.audit import audit, scan
from gradiometer.audit.criteria import sentence_level
from gradiometer.audit.modality import MODALITIES, modality
from gradiometer.audit.plan import load_plan, make_plan
from gradiometer.audit.quick import scan_plan
from gradiometer.audit.run import preview
from gradiometer.audit.schema import Result
from gradiometer.audit.setup import set_up
from gradiometer.audit.template import init_files
from gradiometer.core import (
    BadConfig,
    Client,
    Data,
    DataCard,
    Recipe,
    derive,
    image_layout,
    next_token_cross_entropy,
    play,
    save_update,
    sequence_cross_entropy,
)
from gradiometer.data import notes
from gradiometer.models import gpt
from gradiometer.report import render


@pytest.fixture(scope="module")
def data() -> Data:
    return notes()


def client_of(data: Data, examples: int = 2) -> Client:
    model = gpt(data.layout["input_ids"].classes or 0, 20, 2, width=64, depth=2)
    return Client(model=model, layout=data.layout, loss=sequence_cross_entropy, recipe=Recipe(examples=examples))


@pytest.fixture(scope="module")
def result(data: Data) -> Result:
    return audit(
        client=client_of(data),
        data=data,
        attacks=["DAGER", "BagOfWords"],
        defenses=["Clip:bound=0.01", "GaussianNoise:std=0.01"],
        settings={"examples": 4},
        utility={"rounds": 1},
    )


def test_sentences_leak_and_a_clip_does_not_help(result: Result) -> None:
    bare, clipped, _ = result.rows
    assert (bare.verdict, bare.level, bare.examples) == ("LEAKS", "critical", "sentences")
    assert (clipped.verdict, clipped.rate and clipped.rate.value) == ("LEAKS", 1.0)
    cell = next(cell for cell in result.cells if (cell.attack, cell.defense) == ("DAGER", "none"))
    assert cell.exact == 4
    for name in ("rouge1", "rouge2", "rouge_l", "accuracy"):
        assert getattr(cell, name).value == 1.0
    assert cell.blind_rouge_l
    assert 0 < cell.blind_rouge_l.value < 1
    assert cell.gain
    assert cell.gain.value == pytest.approx(1 - cell.blind_rouge_l.value)
    assert result.findings[0].id == "recovered-sentences"
    assert all(control.passed for control in result.controls)


def test_behind_noise_the_naive_attacker_refuses_and_the_informed_one_reads_on(result: Result) -> None:
    noised = result.rows[2]
    naive, informed = (
        next(
            cell
            for cell in result.cells
            if (cell.attack, cell.defense, cell.informed) == ("DAGER", noised.defense, who)
        )
        for who in (False, True)
    )
    assert naive.status == "not_applicable"
    assert "shows no end of its span" in naive.reason
    assert informed.status == "ok", informed.reason
    assert noised.verdict == "INCONCLUSIVE"  # none of four sentences is no proof


def test_both_attackers_meet_every_defense(result: Result) -> None:
    met = {(cell.attack, cell.defense, cell.informed) for cell in result.cells}
    assert ("DAGER", "GaussianNoise", True) in {(a, d.partition("(")[0], i) for a, d, i in met}
    assert any(
        "BagOfWords informed of" in told for told in result.not_tried
    )  # it has no informed form, and that is said


def test_words_are_scored_against_the_commonest_ones(result: Result) -> None:
    cell = next(cell for cell in result.cells if (cell.attack, cell.defense) == ("BagOfWords", "none"))
    assert cell.words
    assert cell.blind_words
    assert cell.words.value == 1.0 > cell.blind_words.value
    assert cell.rate is None


def test_costs_and_the_meter_are_told(result: Result) -> None:
    assert all(row.cost.bytes for row in result.rows)
    assert result.rows[0].cost.seconds is not None
    meter = result.clients[0].meter
    assert meter
    assert (meter.verdict, meter.attack) == ("exact", "DAGER")
    assert meter.noise
    assert 1e-8 < meter.noise[0] < meter.noise[1] < 1


def test_every_report_quotes_what_came_back(result: Result) -> None:
    quote = next(quote for quote in result.quotes if quote.defense == "none")
    said = " ".join(token.text for token in quote.truth)
    assert quote.exact
    assert not quote.masked
    assert said == " ".join(token.text for token in quote.guess)
    assert said.endswith(".")
    for format in ("html", "md", "terminal"):
        assert quote.truth[0].text in render(result, format)
    assert "DAGER" in render(result, "terminal")


def test_private_sentences_are_masked_before_they_are_written(data: Data, tmp_path: Path) -> None:
    private = replace(data, card=DataCard(name="clinic"))
    first, result = (
        audit(
            client=client_of(data),
            data=private,
            attacks=["DAGER"],
            settings={"examples": 2, "controls": False},
            utility={"rounds": 0},
            folder=tmp_path / "run",
        )
        for _ in range(2)  # the second reads what the first wrote
    )
    assert first.cells == result.cells
    assert result.quotes
    assert all(quote.masked for quote in result.quotes)
    assert {token.text for quote in result.quotes for token in (*quote.truth, *quote.guess)} == {"•••"}
    assert data.tokenizer
    words = {word for row in data.private["input_ids"][:50] for word in data.tokenizer.decode(row.tolist()).split()}
    kept = (tmp_path / "run" / "results.jsonl").read_text()
    assert not any(f'"{word}"' in kept for word in words if len(word) > 3)
    assert json.loads(kept.splitlines()[-1])["masked"]


def test_a_language_model_is_audited_without_labels(data: Data) -> None:
    layout = {name: field for name, field in data.layout.items() if name != "y"}
    bare = replace(data, layout=layout, private=data.private.take(slice(0, 40)))
    model = gpt(layout["input_ids"].classes or 0, 20, width=64, depth=2)
    client = Client(model=model, layout=layout, loss=next_token_cross_entropy, recipe=Recipe(examples=1))
    settings = {"examples": 2, "controls": False}
    row = audit(client=client, data=bare, attacks=["DAGER"], settings=settings, utility={"rounds": 0}).rows[0]
    assert row.verdict == "LEAKS"


def test_a_captured_update_is_scanned_and_its_claims_explain_it(data: Data, tmp_path: Path, monkeypatch) -> None:
    client = client_of(data)
    save_update(play(client, data.private.take([3, 5]), rng=derive(0)), tmp_path / "update.safetensors")
    (tmp_path / "captured_model.py").write_text(
        "from gradiometer.models import gpt\n\n\ndef model(vocabulary, length, classes=None):\n"
        "    return gpt(vocabulary, length, classes, width=64, depth=2)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    result = scan(tmp_path / "update.safetensors", model="captured_model:model")
    assert {cell.attack for cell in result.cells} == {"RowSum", "BagOfWords", "DAGER"}
    reasons = " ".join(result.rows[0].reasons)
    assert "DAGER claims labels" in reasons
    assert "2 sentences" in reasons
    assert result.clients[0].meter
    assert result.clients[0].meter.verdict == "exact"
    assert len(result.quotes) == 2
    assert "not judged" in render(result, "html")


def test_names_alone_are_scanned_as_what_they_are() -> None:
    for target in ("gpt", "notes", "bert/notes"):
        plan = scan_plan(target)
        assert "DAGER" in [one["name"] if isinstance(one, dict) else one for one in plan.attack]
        assert modality(set_up(plan).victims[target].client.layout).many == "sentences"


def test_a_model_of_pictures_does_not_read_sentences() -> None:
    with pytest.raises(BadConfig, match="shape"):
        set_up(make_plan({"client": [{"name": "text", "model": "mlp", "data": "notes"}], "attack": ["RowSum"]}))


def test_a_sentence_leaks_only_above_blind_and_among_others() -> None:
    exact = {"identified": True, "gain": 0.1, "exact": True, "rouge_l": 1.0}
    assert sentence_level(exact) == "critical"
    assert sentence_level(exact | {"gain": 0.0}) == "none"
    assert sentence_level(exact | {"identified": False}) == "none"
    assert sentence_level(exact | {"exact": False}) == "none"
    assert sentence_level(exact | {"exact": False, "gain": 0.3}) == "high"


def test_a_layout_has_one_modality() -> None:
    assert modality(image_layout((1, 4, 4), 2)).many == "pictures"
    assert len({row.quality for row in MODALITIES}) == len(MODALITIES)


def test_the_text_template_is_ready(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    files = init_files(text=True)
    (tmp_path / "text_client.py").write_text(files["client.py"])
    (tmp_path / "plan.toml").write_text(files["plan.toml"].replace("client:make", "text_client:make"))
    setup = set_up(load_plan(tmp_path / "plan.toml"))
    assert list(setup.attacks) == ["RowSum", "BagOfWords", "DAGER"]
    assert len(preview(setup)) > 30
    assert modality(setup.victims["clinic"].client.layout).many == "sentences"
