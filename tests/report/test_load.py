"""A damaged result is refused in one sentence that names the file; whatever is read can be rendered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradiometer.audit.schema import Result
from gradiometer.core import BadInput
from gradiometer.report import FORMATS, load_result, render
from gradiometer.report.load import parse_result


def test_round_trip_from_folder_and_file(result: Result, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(render(result, "json"))
    assert load_result(tmp_path) == load_result(tmp_path / "result.json") == result


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda text: text[: len(text) // 2], "not JSON"),
        (lambda text: "", "not JSON"),
        (lambda text: "[" * 100_000, "not JSON"),
        (lambda text: "\x00\x01", "not JSON"),
        (lambda text: "[]", "not the result of an audit"),
        (lambda text: '{"tool": "other"}', "not the result of an audit"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 99'), "schema version 99"),
        (lambda text: text.replace('"verdict": "LEAKS"', '"verdict": "SAFE"', 1), "verdict"),
        (lambda text: text.replace('"headline"', '"headlines"'), "headlines: Extra inputs"),
        (lambda text: text.replace('"seed": 0', '"seed": NaN'), "seed"),
        (lambda text: text.replace('"truth": "iVBOR', '"truth": "!!!OR', 1), "gallery.0.truth is no base64 PNG"),
        (lambda text: text.replace('"guess": "iVBOR', '"guess": "QUJDRA', 1), "gallery.0.guess is no base64 PNG"),
    ],
)
def test_every_damage_names_the_file_and_the_fault(
    result: Result, tmp_path: Path, damage: Callable[[str], str], fault: str
) -> None:
    path = tmp_path / "result.json"
    path.write_text(damage(render(result, "json")))
    with pytest.raises(BadInput) as caught:
        load_result(path)
    assert str(path) in caught.value.message
    assert fault in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.fix


@pytest.mark.parametrize("name", ["nothing", "nothing/result.json"])
def test_missing_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="no such file"):
        load_result(tmp_path / name)


def test_a_folder_without_a_result(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no result\.json"):
        load_result(tmp_path)


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(BadInput, match="not JSON"):
        load_result(tmp_path)


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(10**30), max_value=10**30),
    st.floats(),
    st.sampled_from([0, -1, 1e308, -1e308, 5e-324, 10**400]),
    st.text(max_size=20),
    st.just([]),
    st.just({}),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_results_are_refused_or_rendered(make_result: Callable[..., Result], data: st.DataObject) -> None:
    document = json.loads(render(make_result(defenses=6, pictures=False), "json"))
    known = places(document)[1:]
    for path in data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=4)):
        value = data.draw(ODD)
        target = document
        for key in path[:-1]:
            inside = (isinstance(target, dict) and key in target) or (
                isinstance(target, list) and isinstance(key, int) and key < len(target)
            )
            target = target[key] if inside else None
        if isinstance(target, dict) or (
            isinstance(target, list) and isinstance(path[-1], int) and path[-1] < len(target)
        ):
            target[path[-1]] = value
    raw = json.dumps(document).encode()
    try:
        result = parse_result(raw, Path("run/result.json"))
    except BadInput as error:
        assert error.message.startswith("run/result.json: ")  # noqa: PT017
        return
    for format in FORMATS:
        assert render(result, format)
