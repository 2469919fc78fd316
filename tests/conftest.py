"""What holds for all tests: how hypothesis searches, and what is told at the end of a run."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.searching import FEW, at_most

pytest_plugins = ["tests.controlplane.fixtures", "tests.helm.fixtures", "pytester"]

# No deadlines: a test is not timed, and machines are shared. In CI the search is the same each time, so that a red run
# means a change; everywhere else it goes on looking.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True)
settings.register_profile("few", settings.get_profile("ci"), max_examples=at_most(100))
settings.load_profile("few" if FEW in os.environ else "ci" if os.environ.get("CI") else "here")


FAULTS = {"boundaries": "boundaries", "remedies": "boundaries of remedies"}
"""What the fault harness counts in memory, by the property that its tests say."""
PLANE_FAULTS = {
    "plane_writes": "applies with one fault at a write, all converged",
    "plane_reads": "applies with one fault at a read, all converged",
    "plane_storm": "faults by chance in the lives of fleets, all converged",
    "plane_events": "applies in which rights or a token ended or the server stopped, all converged",
    "plane_kills": "applies killed with SIGKILL, all gone on with",
}
"""What tests/faults counts on a control plane, by the property that its tests say."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many contract tests each back end passed, what hostile inputs cost, and how many faults were played."""
    passed = [
        (key, value)
        for report in terminalreporter.stats.get("passed", [])
        for key, value in getattr(report, "user_properties", [])
        if report.when == "call"
    ]
    for backend, count in sorted(Counter(value for key, value in passed if key == "backend").items()):
        terminalreporter.write_line(f"contract: {backend} passed {count} tests")
    runs = [json.loads(value) for key, value in passed if key == "hostile"]
    if runs:
        kinds = Counter(run["kind"] for run in runs if run["kind"])
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        most = max(run["cpu_s"] for run in runs), max(run["peak_mb"] for run in runs)
        terminalreporter.write_line(
            f"hostile and mistaken inputs: {kinds.total()} ({told}), each told with its place and harming nobody; "
            f"the most that one took: {most[0]:.2f} s of CPU, {most[1]:.0f} MB"
        )
    for told in (json.loads(value) for key, value in passed if key == "kills"):
        terminalreporter.write_line(
            f"registry: {told['rounds']} of 16 writers killed with SIGKILL, {told['writes']} writes whole, none lost"
        )
    for key, text in (("recovered", "recovery of real processes"), ("handed-over", "several daemons")):
        for value in sorted(value for name, value in passed if name == key):
            terminalreporter.write_line(f"{text}: {value}")
    judged = sum(key == "drift" for key, _ in passed)
    if judged:
        terminalreporter.write_line(f"drift: {judged} kinds of foreign change judged right on a real API server")
    settled = Counter(value for key, value in passed if key == "settled")
    for what, count in sorted(settled.items()):
        terminalreporter.write_line(f"no perpetual diff: {count} {what} found as they were applied")
    for line in _faults(terminalreporter, passed):
        terminalreporter.write_line(line)


def _faults(terminalreporter: pytest.TerminalReporter, passed: list[tuple[str, str]]) -> Iterator[str]:
    for key, text in PLANE_FAULTS.items():
        if count := sum(int(value) for name, value in passed if name == key):
            yield f"faults on a real API server: {count} {text}"
    if any("test_every_boundary" in item.nodeid for item in terminalreporter.stats.get("failed", [])):
        return
    for key, text in FAULTS.items():
        if played := sum(int(value) for name, value in passed if name == key):
            yield f"fault harness: {played // 5} {text} x 5 faults = {played} runs, all converged"
