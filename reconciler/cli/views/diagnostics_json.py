"""Findings as JSON, for programs."""

from __future__ import annotations

import json
from typing import Any

from reconciler.cli.views.diagnostics import Report
from reconciler.model.source import Diagnostic, Severity

FORMAT_VERSION = 1


def render(report: Report) -> str:
    """One object: `format_version`, counts, and `findings` in order of place."""
    value = {
        "format_version": FORMAT_VERSION,
        "valid": not report.count(Severity.ERROR),
        "files": report.files,
        "agents": report.agents,
        "errors": report.count(Severity.ERROR),
        "warnings": report.count(Severity.WARNING),
        "findings": [plain(finding) for finding in report.findings],
    }
    return json.dumps(value, indent=2, ensure_ascii=False)


def plain(finding: Diagnostic) -> dict[str, Any]:
    """One finding as JSON values."""
    return {
        "severity": str(finding.severity),
        "code": finding.code,
        "message": finding.message,
        "path": finding.position.path,
        "line": finding.position.line,
        "column": finding.position.column,
        "length": finding.position.length,
        "hint": finding.hint,
        "snippet": finding.snippet,
        "chain": list(finding.chain),
    }
