"""The report as JUnit XML: one test case a verdict, for what shows test results."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from gradiometer.audit.schema import Result, Row

from . import figures, words


def render_junit(result: Result) -> str:
    """LEAKS fails. INCONCLUSIVE is skipped where more examples would settle it, and an error where the audit broke down.

    A failed control is an error of its own: the evaluation cannot be trusted there.
    """
    suites = ET.Element("testsuites", name=_text(result.title))
    for client in dict.fromkeys(row.client for row in result.rows):
        rows = [row for row in result.rows if row.client == client]
        _suite(suites, client, [_case(row) for row in rows], result)
    controls = [_control(control.attack, control.passed, control.reason) for control in result.controls]
    if controls:
        _suite(suites, "positive controls", controls, result)
    if not result.complete:
        case = ET.Element("testcase", classname="gradiometer", name="the audit is complete")
        ET.SubElement(case, "error", message="the audit was stopped before it was complete")
        _suite(suites, "audit", [case], result)
    for count in ("tests", "failures", "errors", "skipped"):
        suites.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def _suite(suites: ET.Element, name: str, cases: list[ET.Element], result: Result) -> None:
    counts = {
        plural: str(sum(case.find(tag) is not None for case in cases))
        for plural, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
    }
    told = {"name": _text(name), "tests": str(len(cases)), **counts, "timestamp": _text(result.created)}
    suite = ET.SubElement(suites, "testsuite", told)
    suite.extend(cases)


def _case(row: Row) -> ET.Element:
    case = ET.Element("testcase", classname=_text(row.client), name=_text(words.defense_name(row.defense)))
    told = f"{words.verdict_words(row)}, leak rate {figures.share_interval(row.rate)}"
    if row.worst_attack:
        told += f", worst attack {words.worst_words(row)}"
    details = "\n".join([told, *row.reasons])
    if row.verdict == "LEAKS":
        ET.SubElement(case, "failure", type=row.level, message=_text(told)).text = _text(details)
    elif row.verdict == "INCONCLUSIVE" and row.more_examples:
        more = f"{told}; {row.more_examples} more examples would settle it"
        ET.SubElement(case, "skipped", message=_text(more))
    elif row.verdict == "INCONCLUSIVE":
        ET.SubElement(case, "error", type="inconclusive", message=_text(told)).text = _text(details)
    return case


def _control(attack: str, passed: bool, reason: str) -> ET.Element:
    case = ET.Element("testcase", classname="positive controls", name=_text(attack))
    if not passed:
        ET.SubElement(case, "error", type="control", message=_text(reason or "the attack fails on an easy victim too"))
    return case


def _text(value: str) -> str:
    """Without the characters that XML 1.0 cannot hold."""
    return re.sub("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", words.clean(value))
