"""What a cluster can take, and what is used of it: from nodes, pods and metrics as servers write them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from reconciler.adapters.kubernetes import room
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import Capacity, Found, NodeCapacity, Observation, PodUsage, Scope, Unreadable, Usage
from tests.adapters.kubernetes.conftest import Reach
from tests.adapters.kubernetes.objects import listed
from tests.doubles.scripted_server import Answer, ScriptedServer, said, status

NODES, PODS = "/api/v1/nodes", "/api/v1/pods"
METRICS = "/apis/metrics.k8s.io/v1beta1"
READY = [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}]


def node(name: str = "n", *, spec: Any = None, conditions: Any = READY, **allocatable: str) -> Any:
    amounts = {"cpu": "4", "memory": "8Gi", "pods": "10", "ephemeral-storage": "100Gi", **allocatable}
    metadata = {"name": name, "uid": name, "resourceVersion": "1"}
    return {"metadata": metadata, "spec": spec or {}, "status": {"allocatable": amounts, "conditions": conditions}}


def pod(*containers: Any, on: str = "n", phase: str = "Running", init: Any = (), **spec: Any) -> Any:
    body = {"nodeName": on, "containers": list(containers), "initContainers": list(init), **spec}
    return {"metadata": {"name": "p", "namespace": "team"}, "spec": body, "status": {"phase": phase}}


def asking(*, sidecar: bool = False, **requests: str) -> Any:
    """A container."""
    return {"name": "c", "resources": {"requests": requests}, **({"restartPolicy": "Always"} if sidecar else {})}


def free_of(nodes: list[Any], pods: list[Any]) -> dict[str, dict[str, str]]:
    """What is free, as text, by node."""
    made = room.capacity(msgspec.convert(nodes, list[room.Node]), msgspec.convert(pods, list[room.Pod]))
    return {one.name: {key: amount.canonical() for key, amount in one.free.items()} for one in made.nodes}


def test_an_empty_node_is_free():
    assert free_of([node()], []) == {"n": {"cpu": "4", "memory": "8Gi", "pods": "10"}}


@pytest.mark.parametrize(
    "closed",
    [
        node(conditions=[{"type": "Ready", "status": "False"}]),
        node(conditions=[{"type": "Ready", "status": "Unknown"}]),
        node(conditions=[]),
        node(spec={"unschedulable": True}),
        node(spec={"taints": [{"key": "a", "effect": "NoSchedule"}]}),
        node(spec={"taints": [{"key": "a", "effect": "PreferNoSchedule"}, {"key": "b", "effect": "NoExecute"}]}),
    ],
)
def test_a_node_that_takes_no_pods_has_no_room(closed: Any):
    assert free_of([closed], []) == {}


def test_a_node_that_is_only_better_left_alone_has_room():
    assert set(free_of([node(spec={"taints": [{"key": "a", "effect": "PreferNoSchedule"}]})], [])) == {"n"}


@pytest.mark.parametrize(
    ("one", "cpu", "memory"),
    [
        (pod(asking(cpu="500m", memory="1Gi"), asking(cpu="250m")), "3250m", "7Gi"),
        (pod(), "4", "8Gi"),
        (pod({"name": "c"}), "4", "8Gi"),
        (pod(asking(cpu="500m"), phase="Pending"), "3500m", "8Gi"),
        (pod(asking(cpu="500m"), phase="Succeeded"), "4", "8Gi"),
        (pod(asking(cpu="500m"), phase="Failed"), "4", "8Gi"),
        (pod(asking(cpu="500m"), on=""), "4", "8Gi"),
        (pod(asking(cpu="500m"), on="elsewhere"), "4", "8Gi"),
        # the largest of what starts one after another, or all that runs at once
        (pod(asking(cpu="1"), init=[asking(cpu="3"), asking(cpu="2", memory="1Gi")]), "1", "7Gi"),
        (pod(asking(cpu="3"), init=[asking(cpu="2")]), "1", "8Gi"),
        # a sidecar runs beside the others, and beside what starts after it
        (pod(asking(cpu="1"), init=[asking(cpu="500m", sidecar=True)]), "2500m", "8Gi"),
        (pod(asking(cpu="1"), init=[asking(cpu="1", sidecar=True), asking(cpu="2")]), "1", "8Gi"),
        (pod(asking(cpu="1"), init=[asking(cpu="2"), asking(cpu="1", sidecar=True)]), "2", "8Gi"),
        # what is asked for the pod as a whole goes before what its containers ask
        (pod(asking(cpu="1", memory="1Gi"), resources={"requests": {"cpu": "2"}}), "2", "7Gi"),
        (pod(asking(cpu="1"), overhead={"cpu": "250m", "memory": "1Gi"}), "2750m", "7Gi"),
        (pod(asking(cpu="9", memory="90Gi")), "0", "0"),
        (pod(asking(cpu="what", memory="1_000")), "4", "8Gi"),
    ],
)
def test_a_pod_takes_what_the_scheduler_counts(one: Any, cpu: str, memory: str):
    free = free_of([node()], [one])["n"]
    assert (free["cpu"], free["memory"]) == (cpu, memory)


def test_each_pod_takes_one_of_the_pods():
    assert free_of([node(pods="3")], [pod(), pod(), pod(phase="Failed")])["n"]["pods"] == "1"


def test_nodes_are_in_order_and_what_they_do_not_have_is_not_there():
    made = room.capacity(msgspec.convert([node("b"), node("a")], list[room.Node]), [])
    assert [one.name for one in made.nodes] == ["a", "b"]
    assert set(made.nodes[0].allocatable) == {"cpu", "memory", "pods"}


def capacity_of(answer: Observation[Capacity]) -> tuple[NodeCapacity, ...]:
    assert isinstance(answer, Found)
    return answer.value.nodes


async def test_room_is_read_from_nodes_and_running_pods(server: ScriptedServer, reach: Reach):
    server.on(f"GET {NODES}", said(listed(node(), kind="NodeList")))
    server.on(f"GET {PODS}", said(listed(pod(asking(cpu="1")), kind="PodList")))
    (one,) = capacity_of(await reach().capacity())
    assert one.free["cpu"].canonical() == "3"
    assert "status.phase!=Failed" in next(seen.query["fieldSelector"] for seen in server.seen if seen.path == PODS)


@pytest.mark.parametrize(
    ("nodes", "pods"),
    [
        (status(403, 'User "us" cannot list resource "nodes"'), said(listed(kind="PodList"))),
        (said(listed(node(), kind="NodeList")), status(500)),
        (said(listed(node(), kind="NodeList")), said(listed({"spec": 5}, kind="PodList"))),
        (said(listed({"metadata": []}, kind="NodeList")), said(listed(kind="PodList"))),
        (said("<html></html>", code=404), said(listed(kind="PodList"))),
    ],
)
async def test_room_that_cannot_be_read_is_unreadable(
    server: ScriptedServer, reach: Reach, nodes: Answer, pods: Answer
):
    server.on(f"GET {NODES}", nodes)
    server.on(f"GET {PODS}", pods)
    assert isinstance(await reach().capacity(), Unreadable)


def measured(name: str, namespace: str = "team", *containers: Any) -> Any:
    return {"metadata": {"name": name, "namespace": namespace}, "containers": [{"usage": each} for each in containers]}


def used(answer: Observation[Usage]) -> Any:
    assert isinstance(answer, Found)
    return {(ref.namespace, ref.name): one for ref, one in answer.value.pods.items()}


async def test_what_pods_use_is_their_containers_together(server: ScriptedServer, reach: Reach):
    here = measured("p", "team", {"cpu": "250m", "memory": "64Mi"}, {"cpu": "12345678n", "memory": "1Ki"}, {})
    server.on(f"GET {METRICS}/pods", said({"kind": "PodMetricsList", "items": [here, measured("q", "other")]}))
    answer = await reach().usage(Scope())
    assert used(answer) == {
        ("team", "p"): PodUsage(cpu=0.262345678, memory=64 * 2**20 + 1024),
        ("other", "q"): PodUsage(cpu=0.0, memory=0),
    }
    assert isinstance(answer, Found)
    assert next(iter(answer.value.pods)) == ObjectRef(group="", kind="Pod", namespace="team", name="p")


async def test_pods_of_which_nothing_was_measured_hide_no_others(server: ScriptedServer, reach: Reach):
    young = {**measured("young"), "containers": None}
    half = {**measured("half"), "containers": [{"usage": None}, {"usage": {"cpu": "1"}}]}
    server.on(f"GET {METRICS}/pods", said({"items": [young, half]}), said({"items": None}))
    cluster = reach()
    assert used(await cluster.usage(Scope())) == {
        ("team", "young"): PodUsage(cpu=0.0, memory=0),
        ("team", "half"): PodUsage(cpu=1.0, memory=0),
    }
    assert used(await cluster.usage(Scope())) == {}


async def test_what_pods_use_is_asked_for_where_it_is_wanted(server: ScriptedServer, reach: Reach):
    server.on(f"GET {METRICS}/namespaces/team/pods", said({"items": [measured("p")]}))
    server.on(f"GET {METRICS}/pods", said({"items": [measured("p"), measured("q", "x"), measured("r", "y")]}))
    cluster = reach()
    assert set(used(await cluster.usage(Scope(namespaces=frozenset({"team"}))))) == {("team", "p")}
    assert set(used(await cluster.usage(Scope(namespaces=frozenset({"team", "x"}))))) == {("team", "p"), ("x", "q")}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (said("404 page not found", code=404), "install metrics-server"),
        (status(503, "the server is currently unable to handle the request"), "unable to handle"),
        (status(403, 'User "us" cannot list resource "pods"'), "grant it in RBAC"),
        (said({"kind": "PodMetricsList"}), "cannot be understood"),
        (said({"items": [5]}), "cannot be understood"),
        (said({"items": [{"metadata": {"name": "p"}, "containers": 5}]}), "cannot be understood"),
    ],
)
async def test_without_metrics_usage_is_unreadable_and_says_why(
    server: ScriptedServer, reach: Reach, answer: Answer, words: str
):
    server.on(f"GET {METRICS}/pods", answer)
    read = await reach().usage(Scope())
    assert isinstance(read, Unreadable)
    assert words in read.reason
