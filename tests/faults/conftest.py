"""A plane that is prepared for faults; and one of a module's own, for faults of the server itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.controlplane.fixtures import require_programs
from tests.faults.plane_world import Harness, PlaneWorld, harness, plane_world


@pytest.fixture
async def shared(control_plane, tmp_path: Path) -> AsyncIterator[Harness]:
    """The plane that all tests of a worker share."""
    async with harness(control_plane, tmp_path / "harness") as made:
        yield made


@pytest.fixture
async def world(shared: Harness, namespace_name: str, tmp_path: Path) -> AsyncIterator[PlaneWorld]:
    """A world on the shared plane, behind a proxy that ends TLS."""
    async with plane_world(shared, namespace_name, tmp_path / "state") as made:
        yield made


@pytest.fixture
def namespace_name(tmp_path: Path) -> str:
    return f"faults-{abs(hash(str(tmp_path))):x}"


@pytest.fixture(scope="module")
def own_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A plane whose server may be paused and killed: nobody else is on it."""
    require_programs()
    from tests.controlplane.plane import ControlPlane

    with ControlPlane.start(tmp_path_factory.mktemp("own"), durable=True) as plane:
        yield plane


@pytest.fixture
async def own_world(own_plane, namespace_name: str, tmp_path: Path) -> AsyncIterator[PlaneWorld]:
    async with (
        harness(own_plane, tmp_path / "harness") as made,
        plane_world(made, namespace_name, tmp_path / "s") as one,
    ):
        yield one
