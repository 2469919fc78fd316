"""Findings as SARIF 2.1.0 (OASIS sarif-v2.1.0), for code scanning."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

from reconciler import __version__
from reconciler.cli.views.diagnostics import Report
from reconciler.model.source import Diagnostic, Severity

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render(report: Report) -> str:
    """One run with all findings, paths relative to the Git root."""
    codes = sorted({finding.code for finding in report.findings})
    index = {code: number for number, code in enumerate(codes)}
    run = {
        "tool": {
            "driver": {
                "name": "reconciler",
                "semanticVersion": __version__,
                "rules": [{"id": code, "shortDescription": {"text": code.replace("-", " ")}} for code in codes],
            }
        },
        "columnKind": "unicodeCodePoints",
        "results": [_result(report, finding, index[finding.code]) for finding in report.findings],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _result(report: Report, finding: Diagnostic, rule: int) -> dict[str, Any]:
    place = finding.position
    path = report.repository_path(finding)
    region: dict[str, Any] = {
        "startLine": place.line,
        "startColumn": place.column,
        "endColumn": place.column + place.length,
    }
    if finding.snippet:
        region["snippet"] = {"text": finding.snippet}
    told = "\n".join([finding.message, *([finding.hint] if finding.hint else []), *finding.chain])
    same = hashlib.sha256(f"{path}\0{finding.code}\0{finding.message}".encode("utf-8", "replace")).hexdigest()
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": "error" if finding.severity is Severity.ERROR else "warning",
        "message": {"text": told},
        "locations": [
            {"physicalLocation": {"artifactLocation": {"uri": quote(path, errors="replace")}, "region": region}}
        ],
        "partialFingerprints": {"reconciler/v1": same},
    }
