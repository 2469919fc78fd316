"""What a hand edit left beside our fields and a server would refuse ours for: found, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.plan.obstacles import obstacles

POD = "spec.template.spec"


def pod(**fields: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": fields}}}


def container(**fields: Any) -> dict[str, Any]:
    return pod(containers=[{"name": "agent", **fields}])


def env(**fields: Any) -> dict[str, Any]:
    return container(env=[{"name": "LEVEL", **fields}])


def found(wanted: dict[str, Any], live: dict[str, Any]) -> list[str]:
    return [".".join(item.shown).replace(".[", "[") for item in obstacles(wanted, live)]


SECRET = {"secretKeyRef": {"name": "s", "key": "k"}}
FIELD = {"fieldRef": {"fieldPath": "metadata.name"}}
HTTP = {"httpGet": {"port": 1}}
TCP = {"tcpSocket": {"port": 1}}
AGENT = f"{POD}.containers[agent]"
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "a source beside a value": (env(value="x"), env(valueFrom=FIELD), [f"{AGENT}.env[LEVEL].valueFrom"]),
    "a source beside an empty value": (env(value=""), env(valueFrom=FIELD), [f"{AGENT}.env[LEVEL].valueFrom"]),
    "a value beside a source": (env(valueFrom=SECRET), env(value="x"), [f"{AGENT}.env[LEVEL].value"]),
    "another source": (env(valueFrom=SECRET), env(valueFrom=FIELD), [f"{AGENT}.env[LEVEL].valueFrom.fieldRef"]),
    "another handler of a probe": (
        container(readinessProbe={"periodSeconds": 5, **HTTP}),
        container(readinessProbe={"periodSeconds": 5, **TCP}),
        [f"{AGENT}.readinessProbe.tcpSocket"],
    ),
    "another handler of a hook": (
        container(lifecycle={"preStop": {"sleep": {"seconds": 5}}}),
        container(lifecycle={"preStop": {"exec": {"command": ["x"]}}}),
        [f"{AGENT}.lifecycle.preStop.exec"],
    ),
    "a limit below ours, as servers keep some texts": (
        container(resources={"requests": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"}}),
        container(resources={"limits": {"cpu": "+0500m", "memory": "-1", "nvidia.com/gpu": "0" * 40 + "1"}}),
        [f"{AGENT}.resources.limits.cpu", f"{AGENT}.resources.limits.memory"],
    ),
    "a limit that is no amount": (
        container(resources={"requests": {"cpu": "1"}}),
        container(resources={"limits": {"cpu": "much"}}),
        [],
    ),
    "another source of a volume": (
        pod(volumes=[{"name": "config", "configMap": {"name": "x"}}]),
        pod(volumes=[{"name": "config", "emptyDir": {}}, {"name": "theirs", "emptyDir": {}}]),
        [f"{POD}.volumes[config].emptyDir"],
    ),
    "a source of a volume that wants none": (
        pod(volumes=[{"name": "scratch"}]),
        pod(volumes=[{"name": "scratch", "emptyDir": {}}]),
        [],
    ),
    "a container port of the same name": (
        container(ports=[{"name": "http", "containerPort": 80}]),
        container(ports=[{"name": "http", "containerPort": 81}, {"name": "theirs", "containerPort": 82}]),
        [f"{AGENT}.ports[81]"],
    ),
    "a Service's port of the same name": (
        {"spec": {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}},
        {"spec": {"ports": [{"name": "http", "port": 80, "protocol": "UDP"}]}},
        ["spec.ports[80]"],
    ),
    "the other bound of a disruption budget": (
        {"spec": {"maxUnavailable": 1}},
        {"spec": {"minAvailable": 1}},
        ["spec.minAvailable"],
    ),
    "a profile of the node": (
        pod(securityContext={"seccompProfile": {"type": "RuntimeDefault"}}),
        pod(securityContext={"seccompProfile": {"type": "Localhost", "localhostProfile": "a"}}),
        [f"{POD}.securityContext.seccompProfile.localhostProfile"],
    ),
    "privileges": (
        container(securityContext={"allowPrivilegeEscalation": False}),
        container(securityContext={"privileged": True, "capabilities": {"add": ["CAP_SYS_ADMIN"]}}),
        [f"{AGENT}.securityContext.privileged", f"{AGENT}.securityContext.capabilities.add"],
    ),
    "a limit below our request": (
        container(resources={"requests": {"cpu": "1", "memory": "1Gi"}}),
        container(resources={"limits": {"cpu": "999m", "memory": "1Gi"}}),
        [f"{AGENT}.resources.limits.cpu"],
    ),
    "a request above our limit": (
        container(resources={"limits": {"memory": "1Gi"}}),
        container(resources={"requests": {"memory": "2Gi", "cpu": "9"}}),
        [f"{AGENT}.resources.requests.memory"],
    ),
    "ranges of a load balancer": (
        {"spec": {"type": "ClusterIP"}},
        {"spec": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"]}},
        ["spec.loadBalancerSourceRanges"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("wanted", "live", "expected"), CASES.values(), ids=CASES.keys())
def test_it_is_found(wanted: dict[str, Any], live: dict[str, Any], expected: list[str]) -> None:
    assert found(wanted, live) == expected
    assert found(wanted, wanted) == []


@pytest.mark.parametrize(
    ("wanted", "live"),
    [
        (container(image="a"), pod(containers=[{"name": "agent"}, {"name": "sidecar", "ports": [{"name": "http"}]}])),
        (container(resources={"requests": {"cpu": "1"}}), container(resources={"limits": {"cpu": "1000m"}})),
        (
            container(securityContext={"allowPrivilegeEscalation": True}),
            container(securityContext={"privileged": True}),
        ),
        (
            container(securityContext={"allowPrivilegeEscalation": False}),
            container(securityContext={"privileged": False}),
        ),
        (container(env=[{"name": "A", "value": "x"}]), container(env=[{"name": "B", "valueFrom": FIELD}])),
        ({"metadata": {"labels": {"exec": "1"}}}, {"metadata": {"labels": {"exec": "1", "grpc": "2"}}}),
        ({"data": {"value": "1"}}, {"data": {"value": "1", "valueFrom": "2"}}),
        ({"spec": {"type": "LoadBalancer"}}, {"spec": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}),
        ({"spec": {"selector": {"value": "1"}}}, {"spec": {"selector": {"valueFrom": "2"}}}),
        ({"spec": {"ports": [{"port": 80}]}}, {"spec": {"ports": [{"port": 81}]}}),
        ({"spec": {"template": {"spec": {}}}}, {"spec": None}),
    ],
)
def test_what_only_stands_beside_is_none(wanted: dict[str, Any], live: dict[str, Any]) -> None:
    assert found(wanted, live) == []


def test_its_path_is_that_of_managed_fields() -> None:
    wanted, live, _ = CASES["a container port of the same name"]
    (item,) = obstacles(wanted, live)
    assert item.fields == (
        "f:spec",
        "f:template",
        "f:spec",
        "f:containers",
        'k:{"name":"agent"}',
        "f:ports",
        'k:{"containerPort":81,"protocol":"TCP"}',
    )
    assert item.live == {"name": "http", "containerPort": 81}
