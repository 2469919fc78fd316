"""A fleet in a namespace of its own on the plane that a worker's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.controlplane.plane import ControlPlane
from tests.kubernetes.fleets import PlaneFleet


@pytest.fixture
def fleet(tmp_path: Path, control_plane: ControlPlane, namespace: str) -> PlaneFleet:
    return PlaneFleet(tmp_path / "fleet", control_plane, namespace)
