"""Pods behave as their annotation says, and show it in the status that a kubelet would write."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
import yaml

from tests.controlplane.plane import ControlPlane

Pod = Callable[..., None]


@pytest.fixture
def pod(control_plane: ControlPlane, namespace: str) -> Pod:
    def make(behaviour: str | None = None, **annotations: str) -> None:
        told = {f"kwok.test/{key.replace('_', '-')}": value for key, value in annotations.items()}
        if behaviour:
            told["kwok.test/behaviour"] = behaviour
        containers = [{"name": "agent", "image": "agent:1"}, {"name": "sidecar", "image": "sidecar:1"}]
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "it", "annotations": told},
            "spec": {"containers": containers},
        }
        control_plane.kubectl("-n", namespace, "create", "-f", "-", input=yaml.safe_dump(manifest))

    return make


@pytest.fixture
def wait(control_plane: ControlPlane, namespace: str) -> Callable[[str], Any]:
    """Wait for a condition of the pod, and return the pod as it was when it met it."""

    def wait_for(condition: str) -> Any:
        asked = ("wait", "pod/it", f"--for={condition}", "--timeout=30s", "-o", "json")
        return json.loads(control_plane.kubectl("-n", namespace, *asked))

    return wait_for


def agent(pod: Any) -> Any:
    return next(each for each in pod["status"]["containerStatuses"] if each["name"] == "agent")


def first(path: str, value: object) -> str:
    return f"jsonpath={{.status.containerStatuses[0].{path}}}={value}"


def ready(pod: Any) -> str:
    return str(next(each["status"] for each in pod["status"]["conditions"] if each["type"] == "Ready"))


def test_a_pod_told_nothing_is_ready_with_an_address_on_a_node(pod: Pod, wait: Callable[[str], Any]) -> None:
    pod()
    seen = wait("condition=Ready")
    assert seen["status"]["phase"] == "Running"
    assert seen["status"]["podIP"].startswith("10.")
    assert seen["spec"]["nodeName"].startswith("node-")


def test_a_slow_pod_runs_before_it_is_ready(pod: Pod, wait: Callable[[str], Any]) -> None:
    pod("slow", ready_after="3s")
    seen = wait("condition=Ready")
    assert agent(seen)["ready"]
    began = datetime.fromisoformat(agent(seen)["state"]["running"]["startedAt"])
    ready_at = next(each for each in seen["status"]["conditions"] if each["type"] == "Ready")["lastTransitionTime"]
    waited_s = (datetime.fromisoformat(ready_at) - began).total_seconds()
    assert waited_s >= 2, "three seconds, between times that are told in whole seconds"


def test_a_pod_that_is_never_ready_runs_unready(pod: Pod, wait: Callable[[str], Any]) -> None:
    pod("never-ready")
    seen = wait("jsonpath={.status.phase}=Running")
    assert ready(seen) == "False"
    assert not agent(seen)["ready"]
    assert "running" in agent(seen)["state"]


@pytest.mark.parametrize(("told", "code", "reason"), [({}, 1, "Error"), ({"exit_code": "137"}, 137, "OOMKilled")])
def test_a_crash_loop_restarts_and_says_how_it_ended(
    pod: Pod, wait: Callable[[str], Any], told: dict[str, str], code: int, reason: str
) -> None:
    pod("crash-loop", restart_after="200ms", **told)
    assert "back-off" in agent(wait(first("state.waiting.reason", "CrashLoopBackOff")))["state"]["waiting"]["message"]
    seen = wait(first("restartCount", 2))
    last = agent(seen)["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (code, reason)
    assert ready(seen) == "False"
    assert seen["status"]["containerStatuses"][1]["restartCount"] == 0, "only the first container crashes"


def test_an_image_that_cannot_be_pulled_is_named(pod: Pod, wait: Callable[[str], Any]) -> None:
    pod("image-missing")
    assert "agent:1" in agent(wait(first("state.waiting.reason", "ErrImagePull")))["state"]["waiting"]["message"]
    seen = wait(first("state.waiting.reason", "ImagePullBackOff"))
    assert seen["status"]["phase"] == "Pending"
    assert ready(seen) == "False"


def test_a_deleted_pod_is_gone_at_once(
    control_plane: ControlPlane, namespace: str, pod: Pod, wait: Callable[[str], Any]
) -> None:
    pod()
    wait("condition=Ready")
    control_plane.kubectl("-n", namespace, "delete", "pod", "it", "--timeout=30s")
    assert control_plane.get("-n", namespace, "pods")["items"] == []


def test_a_deleted_pod_may_take_its_time(
    control_plane: ControlPlane, namespace: str, pod: Pod, wait: Callable[[str], Any]
) -> None:
    pod(ends_after="1h")
    wait("condition=Ready")
    control_plane.kubectl("-n", namespace, "delete", "pod", "it", "--wait=false")
    assert control_plane.get("-n", namespace, "pod", "it")["metadata"]["deletionTimestamp"]
    control_plane.kubectl("-n", namespace, "delete", "pod", "it", "--force", "--grace-period=0", "--timeout=30s")
    assert control_plane.get("-n", namespace, "pods")["items"] == []


def test_logs_are_there_of_this_run_and_of_the_one_before(
    control_plane: ControlPlane, namespace: str, pod: Pod, wait: Callable[[str], Any]
) -> None:
    pod("crash-loop", restart_after="200ms")
    wait(first("restartCount", 1))
    logs = ("-n", namespace, "logs", "it", "-c", "agent")
    assert "listening on 8080" in control_plane.kubectl(*logs)
    assert "refused the key" in control_plane.kubectl(*logs, "--previous", "--tail=1")
    assert control_plane.kubectl(*logs, "--tail=1").count("\n") == 1


def test_a_pod_too_big_for_every_node_says_what_is_missing(control_plane: ControlPlane, namespace: str) -> None:
    big = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "it"},
        "spec": {"containers": [{"name": "a", "image": "a", "resources": {"requests": {"cpu": "1k"}}}]},
    }
    control_plane.kubectl("-n", namespace, "create", "-f", "-", input=yaml.safe_dump(big))
    condition = "jsonpath={.status.conditions[?(@.type=='PodScheduled')].reason}=Unschedulable"
    control_plane.kubectl("-n", namespace, "wait", "pod/it", f"--for={condition}", "--timeout=30s")
    conditions = control_plane.get("-n", namespace, "pod", "it")["status"]["conditions"]
    assert "Insufficient cpu" in conditions[0]["message"]
