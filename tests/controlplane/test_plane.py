"""A control plane starts, does its work, and leaves nothing."""

from __future__ import annotations

import pytest

from tests.controlplane.plane import ControlPlane

pytestmark = pytest.mark.controlplane


def test_a_deployment_of_five_becomes_ready(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("-n", namespace, "create", "deployment", "web", "--image=web:1", "--replicas=5")
    control_plane.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=30s")
    assert control_plane.get("-n", namespace, "deployment", "web")["status"]["readyReplicas"] == 5
