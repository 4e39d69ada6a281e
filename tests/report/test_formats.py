"""Terminal, Markdown, SARIF and JUnit say the same as the result, in forms that their readers accept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from jsonschema import Draft7Validator

from gradiometer.audit.schema import Result
from gradiometer.core import Unsupported
from gradiometer.report import FORMATS, render

MESSAGE = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
INDEX = {"type": "integer", "minimum": 0}
SARIF: dict[str, Any] = {  # what the 2.1.0 schema requires of the parts that we write
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "additionalProperties": False,
                "properties": {
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name", "rules"],
                                "properties": {
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "type": "object",
                                            "required": ["id", "shortDescription", "help", "defaultConfiguration"],
                                            "properties": {
                                                "shortDescription": MESSAGE,
                                                "help": MESSAGE,
                                                "defaultConfiguration": {"properties": {"level": LEVEL}},
                                                "properties": {
                                                    "required": ["security-severity", "tags"],
                                                    "properties": {"security-severity": {"type": "string", "pattern": r"^\d+\.\d$"}},
                                                },
                                            },
                                        },
                                    }
                                },
                            }
                        },
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["ruleId", "ruleIndex", "kind", "level", "message", "locations", "partialFingerprints"],
                            "additionalProperties": False,
                            "properties": {
                                "ruleId": {"type": "string"},
                                "ruleIndex": INDEX,
                                "kind": {"enum": ["fail", "informational"]},
                                "level": LEVEL,
                                "message": MESSAGE,
                                "locations": {
                                    "type": "array",
                                    "minItems": 1,
                                    "items": {
                                        "required": ["physicalLocation"],
                                        "properties": {
                                            "physicalLocation": {
                                                "required": ["artifactLocation"],
                                                "properties": {"artifactLocation": {"required": ["uri"]}},
                                            }
                                        },
                                    },
                                },
                                "partialFingerprints": {"type": "object", "additionalProperties": {"type": "string"}},
                                "properties": {"type": "object"},
                            },
                        },
                    },
                    "invocations": {
                        "type": "array",
                        "items": {
                            "required": ["executionSuccessful"],
                            "properties": {
                                "executionSuccessful": {"type": "boolean"},
                                "toolExecutionNotifications": {
                                    "type": "array",
                                    "items": {"required": ["message"], "properties": {"message": MESSAGE, "level": LEVEL}},
                                },
                            },
                        },
                    },
                    "automationDetails": {"type": "object", "required": ["id"]},
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "properties": {"type": "object"},
                },
            },
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_renders_every_variant(
    make_result: Callable[..., Result], tiny_result: Result, format: str
) -> None:
    for result in (
        tiny_result,
        make_result(defenses=1),
        make_result(clients=2),
        make_result(defenses=20, pictures=False),
    ):
        text = render(result, format)
        assert text.endswith("\n") or format == "html"
        assert "\x1b" not in text


def test_an_unknown_format_is_refused_with_a_hint(result: Result) -> None:
    with pytest.raises(Unsupported, match='did you mean "sarif"'):
        render(result, "serif")


@pytest.mark.parametrize("form", ["terminal", "md", "html"])
def test_the_ranking_stands_under_the_recommendation(result: Result, form: str) -> None:
    told = render(result, form, width=120)
    assert -1 < told.find("What to do") < told.find("held, leak rate 0%") < told.find("leaks, leak rate 93%")


def test_sarif_meets_the_schema(make_result: Callable[..., Result], tiny_result: Result) -> None:
    for result in (make_result(clients=2), tiny_result):
        document = json.loads(render(result, "sarif"))
        assert [error.message for error in Draft7Validator(SARIF).iter_errors(document)] == []
        run = document["runs"][0]
        rules = run["tool"]["driver"]["rules"]
        assert all(rules[found["ruleIndex"]]["id"] == found["ruleId"] for found in run["results"])
        assert all((found["kind"] == "fail") != (found["level"] == "none") for found in run["results"])
        fingerprints = [found["partialFingerprints"]["gradiometer/v1"] for found in run["results"]]
        assert len(set(fingerprints)) == len(fingerprints) == len(result.findings)
        assert run["invocations"][0]["executionSuccessful"] is result.complete


def test_sarif_levels_follow_severity_and_rules_their_worst_finding(result: Result) -> None:
    run = json.loads(render(result, "sarif"))["runs"][0]
    assert [found["level"] for found in run["results"]] == ["note", "error", "warning"]
    levels = {rule["id"]: rule["defaultConfiguration"]["level"] for rule in run["tool"]["driver"]["rules"]}
    assert levels == {"leaks-labels": "note", "leaks-images": "error"}
    told = [note["message"]["text"] for note in run["invocations"][0]["toolExecutionNotifications"]]
    assert any("SeeThrough failed its positive control" in text for text in told)
    assert any("Prune is inconclusive" in text for text in told)


def test_junit_fails_leaks_and_never_passes_what_is_open(result: Result) -> None:
    suites = ET.fromstring(render(result, "junit").split("\n", 1)[1])
    cases = {case.get("name"): case for case in suites.iter("testcase")}
    assert {row.defense for row in result.rows if row.verdict == "LEAKS"} == {
        "none" if name == "no defense" else name for name, case in cases.items() if case.find("failure") is not None
    }
    assert cases["Prune"].find("skipped") is not None
    assert len(cases["GaussianNoise"]) == 0
    assert cases["SeeThrough"].find("error") is not None
    assert suites.get("tests") == str(len(cases))
    for suite in suites:
        for plural, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert suite.get(plural) == str(sum(case.find(tag) is not None for case in suite))


def test_junit_marks_a_broken_audit_as_error(result: Result, tiny_result: Result) -> None:
    rows = [row.model_copy(update={"verdict": "INCONCLUSIVE", "more_examples": None}) for row in result.rows]
    suites = ET.fromstring(render(result.model_copy(update={"rows": rows}), "junit").split("\n", 1)[1])
    assert len(suites.findall("testsuite[1]/testcase/error")) == len(rows)
    unfinished = ET.fromstring(render(tiny_result, "junit").split("\n", 1)[1])
    assert unfinished.get("errors") == "1"


def test_markdown_tables_have_as_many_columns_in_every_line(make_result: Callable[..., Result]) -> None:
    text = render(make_result(clients=2), "md")
    for block in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        lines = [re.sub(r"\\\|", "", line).count("|") for line in block.strip().splitlines()]
        assert len(lines) > 2
        assert len(set(lines)) == 1


@pytest.mark.parametrize("width", [50, 60, 80, 100, 140])
def test_terminal_keeps_to_its_width(make_result: Callable[..., Result], width: int) -> None:
    lines = render(make_result(clients=2), "terminal", width=width).splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(lines)
    for word in ("LEAKS", "HOLDS", "INCONCLUSIVE", "What to do", "Findings", "How sure are we"):
        assert word in text


def test_terminal_colors_only_when_asked(result: Result) -> None:
    assert "\x1b[" in render(result, "terminal", color=True)
    assert "\x1b[" not in render(result, "terminal")
