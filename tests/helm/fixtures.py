"""What tests of charts ask for: `helm`. Where the program is missing they are skipped, and one line at the end says
what to type; in CI they fail.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helm.helm import Helm, program

NO_HELM = "no Helm"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for Helm, so that `-m helm` selects them all and nobody has to remember."""
    for item in items:
        if "helm" in getattr(item, "fixturenames", ()):
            item.add_marker("helm")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one loud line how much was not tested, and what to type."""
    skipped = sum(NO_HELM in str(report.longrepr) for report in terminalreporter.stats.get("skipped", []))
    if skipped:
        text = f"NOT TESTED WITH REAL HELM: {skipped} tests skipped. {program()} is not there: type `make helm`"
        terminalreporter.write_line(text, red=True, bold=True)


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm without a cluster."""
    if not os.access(program(), os.X_OK):
        if os.environ.get("CI"):
            pytest.fail(f"{NO_HELM} in CI: {program()} is not there: type `make helm`", pytrace=False)
        pytest.skip(NO_HELM)
    home: Path = tmp_path_factory.mktemp("helm")
    return Helm(home)
