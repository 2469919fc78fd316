"""The autoscaler: usage against targets, held by windows, policies and bounds. A real store, a clock of the test's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.embedded.controllers.autoscaler import wish
from reconciler.adapters.embedded.controllers.loop import Controllers
from reconciler.adapters.embedded.controllers.view import View
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.adapters.embedded.times import stamp
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import PodUsage

Body = dict[str, Any]
START = 1_000_000.0
TARGET = ObjectRef(group="apps", kind="Deployment", namespace="ns", name="a")
SCALER = ObjectRef(group="autoscaling", kind="HorizontalPodAutoscaler", namespace="ns", name="a")


class Cluster:
    """Store and controllers, with pods that are ready and use what a test says."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.store = ObjectStore.open(folder / "cluster.db", clock=lambda: self.now)
        self.controllers = Controllers(self.store, View(), clock=lambda: self.now)

    def scaler(self, **spec: Any) -> None:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}
        metrics = [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
            }
        ]
        whole = {"minReplicas": 2, "maxReplicas": 10, "metrics": metrics, "scaleTargetRef": target, **spec}
        head = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
        self.store.apply({**head, "metadata": {"name": "a", "namespace": "ns"}, "spec": whole}, manager="test")

    def deployment(self) -> None:
        container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}
        template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [container]}}
        spec = {"selector": {"matchLabels": {"app": "a"}}, "template": template}
        head = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "ns"}}
        self.store.apply({**head, "spec": spec}, manager="test")

    def use(self, cores: float, *, seconds: float) -> int:
        """Time goes on while every pod is ready and uses `cores`; the replicas then."""
        for _ in range(int(seconds // 5)):
            self.now += 5
            self.controllers.run()
            for pod in self.store.list("", "Pod")[0]:
                ref = ObjectRef(group="", kind="Pod", namespace="ns", name=pod["metadata"]["name"])
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": stamp(START)}
                if pod["metadata"].get("deletionTimestamp"):
                    self.store.remove(ref, pod["metadata"]["uid"])
                    continue
                self.store.patch_status(ref, {"phase": "Running", "conditions": [ready]}, manager="kubelet")
                self.store.put_usage(ref, cores, 1 << 20)
            self.controllers.run()
        return self.replicas()

    def replicas(self) -> int:
        body = self.store.get(TARGET)
        assert body is not None
        return int(body["spec"]["replicas"])

    def condition(self, kind: str) -> Body:
        body = self.store.get(SCALER) or {}
        return next((each for each in body.get("status", {}).get("conditions", ()) if each["type"] == kind), {})


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.store.close()


def test_it_holds_the_minimum_at_once_and_owns_the_replicas(here: Cluster) -> None:
    here.deployment()
    here.scaler()
    here.controllers.run()
    assert here.replicas() == 2
    body = here.store.get(TARGET)
    assert body is not None
    managers = {(entry["manager"], entry.get("subresource")) for entry in body["metadata"]["managedFields"]}
    assert ("horizontal-pod-autoscaler", "scale") in managers


def test_load_brings_more_and_quiet_brings_fewer_after_the_window(here: Cluster) -> None:
    here.deployment()
    here.scaler()
    assert here.use(0.05, seconds=30) == 2
    assert here.condition("ScalingActive")["status"] == "True"
    assert here.use(0.2, seconds=60) == 10
    assert here.condition("ScalingLimited")["reason"] == "TooManyReplicas"
    assert here.use(0.001, seconds=120) == 10
    assert here.use(0.001, seconds=300) == 2


def test_behaviour_slows_or_forbids_a_direction(here: Cluster) -> None:
    here.deployment()
    one = {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}], "selectPolicy": "Min"}
    here.scaler(behavior={"scaleUp": one, "scaleDown": {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}})
    here.use(0.05, seconds=15)
    assert here.use(0.2, seconds=10) in {3, 4}
    most = here.use(0.2, seconds=100)
    assert here.use(0.001, seconds=60) == most == 10


def test_a_target_at_zero_is_left_there(here: Cluster) -> None:
    here.deployment()
    here.controllers.run()
    body = here.store.get(TARGET)
    assert body is not None
    body["spec"]["replicas"] = 0
    here.store.update(body, manager="somebody", subresource="scale")
    here.scaler()
    assert here.use(1.0, seconds=20) == 0
    assert here.condition("ScalingActive")["reason"] == "ScalingDisabled"


def test_a_target_that_is_not_there_is_said(here: Cluster) -> None:
    here.scaler()
    here.controllers.run()
    assert here.condition("AbleToScale")["reason"] == "FailedGetScale"


def pod(name: str, requests: Body) -> Body:
    ready = {"type": "Ready", "status": "True"}
    container = {"name": "c", "resources": {"requests": requests}}
    return {
        "metadata": {"namespace": "ns", "name": name},
        "spec": {"containers": [container]},
        "status": {"conditions": [ready]},
    }


def asked(target: Body, *, name: str = "memory", requests: Body | None = None) -> Any:
    metrics = [{"type": "Resource", "resource": {"name": name, "target": target}}]
    pods = [pod("a", requests or {}), pod("b", requests or {})]
    usage = {
        ObjectRef(group="", kind="Pod", namespace="ns", name=each): PodUsage(cpu=0.5, memory=100) for each in ("a", "b")
    }
    return wish({"spec": {"metrics": metrics}}, current=2, pods=pods, usage=usage)


def test_an_average_value_needs_no_requests() -> None:
    assert asked({"type": "AverageValue", "averageValue": "50"}).replicas == 4
    assert asked({"type": "AverageValue", "averageValue": "250m"}, name="cpu").replicas == 4


@pytest.mark.parametrize(
    ("target", "name", "problem"),
    [
        ({"averageUtilization": 50}, "memory", "missing request for memory in pod a"),
        ({"averageUtilization": 50}, "gpu", "resource gpu is not measured here"),
        ({"averageValue": "many"}, "cpu", "not a quantity"),
    ],
)
def test_what_cannot_be_measured_is_said(target: Body, name: str, problem: str) -> None:
    found = asked(target, name=name)
    assert found.replicas is None
    assert problem in found.problem


def test_it_goes_on_when_the_clock_was_set_back(here: Cluster) -> None:
    here.deployment()
    here.scaler(behavior={"scaleDown": {"stabilizationWindowSeconds": 60}})
    here.use(0.05, seconds=30)
    assert here.use(0.2, seconds=60) == 10
    here.now -= 3600
    assert here.use(0.01, seconds=90) == 2
