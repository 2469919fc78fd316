"""Findings as JUnit XML: one test case a file that has findings, one failure a finding."""

from __future__ import annotations

import re
from itertools import groupby
from xml.sax.saxutils import escape, quoteattr

from reconciler.cli.views.diagnostics import Report, finding_text
from reconciler.model.source import Severity

# What XML 1.0 cannot hold, escaped or not (W3C XML 1.0, production Char).
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Report) -> str:
    """A `testsuites` element. Warnings are told in `system-out` of a case that passes."""
    cases = []
    ordered = sorted(report.findings, key=lambda finding: finding.position)
    for path, group in groupby(ordered, key=lambda finding: finding.position.path):
        findings = list(group)
        body = []
        for finding in findings:
            told = _text(finding_text(finding, color=False))
            if finding.severity is Severity.ERROR:
                message, code = _attribute(finding.message), _attribute(finding.code)
                body.append(f"      <failure message={message} type={code}>{told}</failure>")
        warned = [finding_text(f, color=False) for f in findings if f.severity is Severity.WARNING]
        if warned:
            body.append(f"      <system-out>{_text(chr(10).join(warned))}</system-out>")
        place = f"{report.prefix}/{path}" if report.prefix else path
        cases.append(
            "\n".join([f"    <testcase classname='reconciler' name={_attribute(place)}>", *body, "    </testcase>"])
        )
    failed = {f.position.path for f in report.findings if f.severity is Severity.ERROR}
    clean = report.files - len({f.position.path for f in report.findings})
    if clean > 0:
        cases.append(f"    <testcase classname='reconciler' name='{clean} files without findings'/>")
    counts = f"tests='{len(cases)}' failures='{len(failed)}' errors='0'"
    return "\n".join(
        [
            "<?xml version='1.0' encoding='utf-8'?>",
            f"<testsuites {counts}>",
            f"  <testsuite name='reconciler validate' {counts}>",
            *cases,
            "  </testsuite>",
            "</testsuites>",
        ]
    )


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))


def _attribute(text: str) -> str:
    return quoteattr(_NOT_XML.sub("\ufffd", text))
