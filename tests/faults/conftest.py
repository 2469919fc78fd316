"""Counts what the fault harness has played, and says so at the end."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """`fault harness: N boundaries x 5 faults = M runs, all converged`."""
    played = [
        int(value)
        for report in terminalreporter.stats.get("passed", [])
        for key, value in getattr(report, "user_properties", [])
        if key == "boundaries" and report.when == "call"
    ]
    failed = [item for item in terminalreporter.stats.get("failed", []) if "test_every_boundary" in item.nodeid]
    if played and not failed:
        runs = sum(played)
        terminalreporter.write_line(f"fault harness: {runs // 5} boundaries x 5 faults = {runs} runs, all converged")
