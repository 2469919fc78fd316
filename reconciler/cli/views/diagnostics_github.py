"""Findings as GitHub Actions workflow commands (docs.github.com, "Workflow commands for GitHub Actions")."""

from __future__ import annotations

from reconciler.cli.views.diagnostics import Report, summary
from reconciler.model.source import Diagnostic, Severity

MAX_ANNOTATIONS = 10
"""What GitHub shows of one step for each severity; the rest would be dropped without a word."""


def render(report: Report) -> str:
    """Annotations, errors before warnings, at most ten in all; the rest are counted in a notice."""
    ordered = sorted(report.findings, key=lambda finding: finding.severity is not Severity.ERROR)
    lines = [_annotation(report, finding) for finding in ordered[:MAX_ANNOTATIONS]]
    left = len(ordered) - MAX_ANNOTATIONS
    if left > 0:
        lines.append(f"{left} more are not annotated; `reconciler validate --output-format sarif` has all of them.")
    return "\n".join([*lines, _data(summary(report))])


def _annotation(report: Report, finding: Diagnostic) -> str:
    place = finding.position
    message = finding.message + (f" ({finding.hint})" if finding.hint else "")
    properties = {
        "file": report.repository_path(finding),
        "line": str(place.line),
        "col": str(place.column),
        "endColumn": str(place.column + place.length),
        "title": f"reconciler: {finding.code}",
    }
    told = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{finding.severity} {told}::{_data(message)}"


def _data(text: str) -> str:
    """Escape a command's message, as @actions/core does."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escape a command's property, as @actions/core does."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
