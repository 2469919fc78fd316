"""Findings as a GitLab Code Quality report (docs.gitlab.com, "Code Quality report format")."""

from __future__ import annotations

import hashlib
import json

from reconciler.cli.views.diagnostics import Report
from reconciler.model.source import Severity


def render(report: Report) -> str:
    """A list of issues; a fingerprint stays the same while the finding does, whatever line it moves to."""
    seen: dict[str, int] = {}
    issues = []
    for finding in report.findings:
        path = report.repository_path(finding)
        key = f"{path}\0{finding.code}\0{finding.message}"
        seen[key] = seen.get(key, 0) + 1
        issues.append(
            {
                "description": finding.message + (f" ({finding.hint})" if finding.hint else ""),
                "check_name": finding.code,
                "fingerprint": hashlib.sha256(f"{key}\0{seen[key]}".encode("utf-8", "replace")).hexdigest(),
                "severity": "major" if finding.severity is Severity.ERROR else "minor",
                "location": {"path": path, "lines": {"begin": finding.position.line}},
            }
        )
    return json.dumps(issues, indent=2, ensure_ascii=False)
