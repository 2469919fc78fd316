"""The two clusters that manifests settle on: the embedded one, and a real API server on which nobody else writes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.embedded.cluster import EmbeddedCluster
from reconciler.adapters.kubernetes.cluster import KubernetesCluster
from reconciler.adapters.kubernetes.connection import Login
from reconciler.ports import Cluster
from tests.controlplane.plane import ControlPlane

NAMESPACE = "settling"


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Cluster]:
    cluster = EmbeddedCluster.open("local", tmp_path, run="processes", ensure_supervisor=lambda _: None)
    yield cluster
    await cluster.close()


@pytest.fixture(scope="session")
def settling_plane(bare_plane: ControlPlane) -> ControlPlane:
    bare_plane.kubectl("create", "namespace", NAMESPACE)
    return bare_plane


@pytest.fixture
async def real(settling_plane: ControlPlane) -> AsyncIterator[Cluster]:
    cluster = KubernetesCluster("real", Login(kubeconfig=str(settling_plane.kubeconfig)), SystemClock())
    yield cluster
    await cluster.close()
