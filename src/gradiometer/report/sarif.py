"""The report as SARIF 2.1.0 (OASIS Standard, 2020), for code-scanning dashboards."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from gradiometer.audit.schema import Finding, Result, Severity

from . import figures, words

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS: dict[Severity, str] = {"critical": "error", "high": "error", "medium": "warning", "low": "note", "none": "none"}
SCORES: dict[Severity, str] = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "2.0", "none": "0.0"}


def render_sarif(result: Result) -> str:
    """One rule a kind of finding, one result a finding. What broke down in the audit is told as notifications."""
    ids = list(dict.fromkeys(finding.id for finding in result.findings))
    run = {
        "tool": {
            "driver": {
                "name": "gradiometer",
                "version": result.version,
                "rules": [_rule(rule, result.findings) for rule in ids],
            }
        },
        "automationDetails": {"id": f"gradiometer/{result.plan_hash}/"},
        "invocations": [
            {
                "commandLine": result.command,
                "executionSuccessful": result.complete,
                "toolExecutionNotifications": _notifications(result),
            }
        ],
        "results": [_result(finding, ids.index(finding.id)) for finding in result.findings],
        "columnKind": "unicodeCodePoints",
        "properties": {
            "verdict": result.verdict,
            "level": result.level,
            "headline": result.headline,
            "title": result.title,
            "threat": result.threat.name,
            "rows": [
                {"client": row.client, "defense": words.defense_name(row.defense), "verdict": row.verdict}
                for row in result.rows
            ],
        },
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _rule(rule: str, findings: list[Finding]) -> dict[str, Any]:
    """The rule's level is that of its worst finding."""
    same = sorted((f for f in findings if f.id == rule), key=lambda finding: words.SEVERITIES.index(finding.severity))
    worst = same[0]
    return {
        "id": rule,
        "shortDescription": {"text": worst.title},
        "help": {"text": worst.fix or "Read the report's recommendation."},
        "defaultConfiguration": {"level": LEVELS[worst.severity]},
        "properties": {"security-severity": SCORES[worst.severity], "tags": ["security", "privacy"]},
    }


def _result(finding: Finding, rule: int) -> dict[str, Any]:
    place = [finding.client, words.defense_name(finding.defense), *([finding.attack] if finding.attack else [])]
    text = f"{finding.title}. {finding.detail}"
    properties: dict[str, Any] = {"severity": finding.severity}
    if finding.rate is not None:
        text += f" Leak rate {figures.share_interval(finding.rate)}."
        properties["rate"] = finding.rate.model_dump()
    if finding.fix:
        text += f" Fix: {finding.fix}"
    name = "/".join(part.replace("/", "\\/") for part in place)
    return {
        "ruleId": finding.id,
        "ruleIndex": rule,
        "kind": "fail" if finding.severity != "none" else "informational",
        "level": LEVELS[finding.severity],
        "message": {"text": text},
        "locations": [
            {
                # What is judged is a setting of the plan, and dashboards only show results that name a file.
                "physicalLocation": {"artifactLocation": {"uri": "plan.toml"}, "region": {"startLine": 1}},
                "logicalLocations": [{"name": place[0], "fullyQualifiedName": name, "kind": "member"}],
            }
        ],
        "partialFingerprints": {"gradiometer/v1": hashlib.sha256(f"{finding.id}/{name}".encode()).hexdigest()[:32]},
        "properties": properties,
    }


def _notifications(result: Result) -> list[dict[str, Any]]:
    told = [] if result.complete else ["the audit was stopped before it was complete"]
    told += [f"{c.attack} failed its positive control: {c.reason}" for c in result.controls if not c.passed]
    told += [f"{check.name} fired at {check.where}: {check.detail}" for check in result.checks if not check.ok]
    told += [
        f"{row.client}, {words.defense_name(row.defense)} is inconclusive: {'; '.join(row.reasons)}"
        for row in result.rows
        if row.verdict == "INCONCLUSIVE"
    ]
    return [{"level": "warning", "message": {"text": text}} for text in told]
