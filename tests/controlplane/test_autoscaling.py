"""The real autoscaler scales a Deployment by what the metrics API double says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.controlplane.plane import ControlPlane
from tests.doubles.metrics_api import MetricsApi

Autoscaled = Callable[[dict[str, Any]], None]
Settled = Callable[[int], None]
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}


@pytest.fixture
def autoscaled(control_plane: ControlPlane, namespace: str) -> Autoscaled:
    """A Deployment of two, and an autoscaler that holds it between two and ten by one metric, without hesitation."""

    def make(metric: dict[str, Any]) -> None:
        labels = {"app": "web"}
        container = {"name": "web", "image": "web:1", "resources": {"requests": {"cpu": "100m"}}}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
        }
        at_once = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 10, "periodSeconds": 1}]}
        autoscaler = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web"},
            "spec": {
                "scaleTargetRef": TARGET,
                "minReplicas": 2,
                "maxReplicas": 10,
                "metrics": [metric],
                "behavior": {"scaleUp": at_once, "scaleDown": at_once},
            },
        }
        objects = yaml.safe_dump_all([deployment, autoscaler])
        control_plane.kubectl("-n", namespace, "apply", "-f", "-", input=objects)

    return make


@pytest.fixture
def settled(control_plane: ControlPlane, namespace: str) -> Settled:
    """Wait until so many are ready."""

    def wait(replicas: int) -> None:
        condition = f"jsonpath={{.status.readyReplicas}}={replicas}"
        control_plane.kubectl("-n", namespace, "wait", "deployment/web", f"--for={condition}", "--timeout=60s")

    return wait


def test_by_a_metric_of_its_pods_up_and_down(
    metrics_api: MetricsApi, namespace: str, autoscaled: Autoscaled, settled: Settled
) -> None:
    metrics_api.pods(namespace, "web", "queue_depth", "60")
    target = {"type": "AverageValue", "averageValue": "30"}
    autoscaled({"type": "Pods", "pods": {"metric": {"name": "queue_depth"}, "target": target}})
    settled(10)  # every pod says 60 of 30, however many there are
    metrics_api.pods(namespace, "web", "queue_depth", "1")
    settled(2)


def test_by_a_metric_of_another_object(
    metrics_api: MetricsApi, namespace: str, autoscaled: Autoscaled, settled: Settled
) -> None:
    metrics_api.object(namespace, "services", "web", "requests", "50")
    described = {"apiVersion": "v1", "kind": "Service", "name": "web"}
    target = {"type": "AverageValue", "averageValue": "10"}
    autoscaled(
        {"type": "Object", "object": {"describedObject": described, "metric": {"name": "requests"}, "target": target}}
    )
    settled(5)


def test_by_something_outside_of_the_cluster(
    metrics_api: MetricsApi, namespace: str, autoscaled: Autoscaled, settled: Settled
) -> None:
    metrics_api.external(namespace, "messages", "400")
    target = {"type": "AverageValue", "averageValue": "100"}
    autoscaled({"type": "External", "external": {"metric": {"name": "messages"}, "target": target}})
    settled(4)


def test_by_cpu(metrics_api: MetricsApi, namespace: str, autoscaled: Autoscaled, settled: Settled) -> None:
    metrics_api.use(namespace, "web", cpu="95m", memory="64Mi")
    target = {"type": "Utilization", "averageUtilization": 50}
    autoscaled({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    settled(10)


def test_a_value_that_nobody_set_scales_nothing_and_is_told(
    control_plane: ControlPlane, metrics_api: MetricsApi, namespace: str, autoscaled: Autoscaled, settled: Settled
) -> None:
    target = {"type": "AverageValue", "averageValue": "30"}
    autoscaled({"type": "Pods", "pods": {"metric": {"name": "unknown"}, "target": target}})
    reason = "jsonpath={.status.conditions[?(@.type=='ScalingActive')].reason}=FailedGetPodsMetric"
    control_plane.kubectl("-n", namespace, "wait", "hpa/web", f"--for={reason}", "--timeout=60s")
    settled(2)
    assert any("/pods/*/unknown" in asked for asked in metrics_api.asked)


def test_usage_is_read_as_any_client_reads_it(
    control_plane: ControlPlane, metrics_api: MetricsApi, namespace: str
) -> None:
    metrics_api.use(namespace, "web", cpu="95m", memory="64Mi")
    control_plane.kubectl("-n", namespace, "create", "deployment", "web", "--image=web:1", "--replicas=2")
    control_plane.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    rows = control_plane.kubectl("-n", namespace, "top", "pods", "--no-headers").splitlines()
    assert [row.split()[1:] for row in rows] == [["95m", "64Mi"]] * 2
    path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods"
    everywhere = json.loads(control_plane.api.ask("GET", "/apis/metrics.k8s.io/v1beta1/pods"))["items"]
    assert len([each for each in everywhere if each["metadata"]["namespace"] == namespace]) == 2
    metrics_api.forget(namespace)
    assert json.loads(control_plane.api.ask("GET", path))["items"] == []
