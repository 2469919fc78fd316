"""What tests ask for: `control_plane`, one a worker process; `namespace`, a fresh one in it; `bare_plane`, one without
controllers; `control_planes`, planes of a test's own. Where the programs are missing these tests are skipped, and one
line at the end says what to type; in CI they fail.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.controlplane import binaries

if TYPE_CHECKING:  # what a plane needs is imported by the fixtures: most runs of tests ask for none
    from tests.controlplane.plane import ControlPlane
    from tests.doubles.metrics_api import MetricsApi

ControlPlanes: TypeAlias = "Callable[..., list[ControlPlane]]"
NO_PLANE = "no control plane"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for a plane, so that `-m controlplane` selects them all and nobody has to remember."""
    for item in items:
        if {"control_plane", "bare_plane", "control_planes"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("controlplane")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let every skip for want of a plane stand in one place, so that the summary folds them into one."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and report.longrepr[2] == f"Skipped: {NO_PLANE}":
        report.longrepr = (__file__, 1, report.longrepr[2])
    return report


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one loud line how much was not tested, and what to type."""
    skipped = sum(NO_PLANE in str(report.longrepr) for report in terminalreporter.stats.get("skipped", []))
    found = binaries.find()
    if skipped and isinstance(found, binaries.Missing):
        text = f"NOT TESTED ON A REAL CONTROL PLANE: {skipped} tests skipped. {found}"
        terminalreporter.write_line(text, red=True, bold=True)


def require_programs() -> None:
    """Skip where the programs of a control plane are missing; in CI fail."""
    found = binaries.find()
    if isinstance(found, binaries.Missing):
        if os.environ.get("CI"):
            pytest.fail(f"{NO_PLANE} in CI: {found}", pytrace=False)
        pytest.skip(NO_PLANE)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A plane that the tests of one worker share; each keeps to namespaces of its own."""
    require_programs()
    from tests.controlplane.plane import ControlPlane

    with ControlPlane.start(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


@pytest.fixture(scope="session")
def bare_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real API server without controllers, so that nobody but the test writes; shared by the tests of one worker."""
    require_programs()
    from tests.controlplane.plane import ControlPlane

    with ControlPlane.start(tmp_path_factory.mktemp("bare"), controllers=False) as plane:
        yield plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace that nothing has been in, in which pods may start."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    control_plane.create_namespace(name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def metrics_api(control_plane: ControlPlane) -> Iterator[MetricsApi]:
    """The three metrics APIs at the shared plane, with values that tests set for their own namespaces."""
    from tests.controlplane.metrics import served

    with served(control_plane) as double:
        yield double


@pytest.fixture
def control_planes(tmp_path: Path) -> Iterator[ControlPlanes]:
    """Start planes for this test alone, side by side: `one, two = control_planes(2)`. Options are those of `start`."""
    require_programs()
    from tests.controlplane.plane import ControlPlane

    numbers = itertools.count(1)
    with ExitStack() as started, ThreadPoolExecutor(max_workers=4) as side_by_side:

        def start(count: int, **options: object) -> list[ControlPlane]:
            names = [f"plane-{next(numbers)}" for _ in range(count)]

            def one(name: str) -> ControlPlane:
                return started.enter_context(ControlPlane.start(tmp_path / name, name=name, **options))  # type: ignore[arg-type]

            return list(side_by_side.map(one, names))

        yield start
