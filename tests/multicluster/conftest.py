"""Two control planes that the tests of this folder share, each with a namespace of its own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.controlplane.fixtures import require_programs

if TYPE_CHECKING:
    from tests.controlplane.plane import ControlPlane
    from tests.multicluster.fleets import TwoPlanes


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ControlPlane]]:
    require_programs()
    from tests.controlplane.plane import ControlPlane

    folder = tmp_path_factory.mktemp("pair")
    with (
        ControlPlane.start(folder / "one", name="eu-1") as one,
        ControlPlane.start(folder / "two", name="us-1") as two,
    ):
        yield [one, two]


@pytest.fixture
async def fleet(tmp_path: Path, pair: list[ControlPlane]) -> AsyncIterator[TwoPlanes]:
    from tests.multicluster.fleets import two_planes

    async with two_planes(tmp_path / "fleet", pair, f"test-{uuid.uuid4().hex[:12]}") as opened:
        yield opened
