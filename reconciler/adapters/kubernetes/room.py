"""What a cluster can take: its nodes less what pods on them request, and what pods use. Without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

import msgspec

from reconciler.model.identity import ObjectRef
from reconciler.model.objects import Capacity, NodeCapacity, PodUsage, Usage
from reconciler.model.units import Quantity, stored_amount

_KEEPS_OFF = frozenset({"NoSchedule", "NoExecute"})
_COUNTED = ("cpu", "memory", "pods")
_NONE = Fraction(0)


class _Name(msgspec.Struct):
    name: str = ""
    namespace: str = ""


class _Taint(msgspec.Struct):
    effect: str = ""


class _NodeSpec(msgspec.Struct):
    unschedulable: bool = False
    taints: list[_Taint] = []


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""


class _NodeStatus(msgspec.Struct):
    allocatable: dict[str, str] = {}
    conditions: list[_Condition] = []


class Node(msgspec.Struct):
    """As much of a Node as its room depends on."""

    metadata: _Name
    spec: _NodeSpec = msgspec.field(default_factory=_NodeSpec)
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)

    def is_ready(self) -> bool:
        """Whether its kubelet says that it is."""
        return any(one.type == "Ready" and one.status == "True" for one in self.status.conditions)

    def takes_pods(self) -> bool:
        """Whether pods without tolerations can be scheduled there."""
        kept_off = self.spec.unschedulable or any(one.effect in _KEEPS_OFF for one in self.spec.taints)
        return self.is_ready() and not kept_off


class _Amounts(msgspec.Struct):
    requests: dict[str, str] = {}


class _Container(msgspec.Struct):
    resources: _Amounts = msgspec.field(default_factory=_Amounts)
    restartPolicy: str = ""  # noqa: N815 - the name on the wire


class _PodSpec(msgspec.Struct):
    nodeName: str = ""  # noqa: N815 - the name on the wire
    containers: list[_Container] = []
    initContainers: list[_Container] = []  # noqa: N815
    resources: _Amounts = msgspec.field(default_factory=_Amounts)
    overhead: dict[str, str] = {}


class _PodStatus(msgspec.Struct):
    phase: str = ""


class Pod(msgspec.Struct):
    """As much of a Pod as what it takes depends on."""

    spec: _PodSpec
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


def capacity(nodes: Iterable[Node], pods: Iterable[Pod]) -> Capacity:
    """Nodes that take pods, by name, with what is free on each. Pods that have ended count nothing."""
    free: dict[str, dict[str, Fraction]] = {}
    allocatable: dict[str, dict[str, Quantity]] = {}
    resting = 0
    for node in sorted(nodes, key=lambda one: one.metadata.name):
        resting += node.is_ready() and not node.takes_pods()
        if node.takes_pods():
            amounts = {key: _quantity(text) for key, text in node.status.allocatable.items() if key in _COUNTED}
            allocatable[node.metadata.name] = amounts
            free[node.metadata.name] = {key: amount.value for key, amount in amounts.items()}
    for pod in pods:
        left = free.get(pod.spec.nodeName)
        if left is None or pod.status.phase in ("Succeeded", "Failed"):
            continue
        for key, amount in _requests(pod).items():
            if key in left:
                left[key] -= amount
    return Capacity(
        nodes=tuple(
            NodeCapacity(
                name=name,
                allocatable=allocatable[name],
                free={key: _quantity_of(key, max(amount, Fraction(0))) for key, amount in left.items()},
            )
            for name, left in free.items()
        ),
        resting=resting,
    )


def _requests(pod: Pod) -> dict[str, Fraction]:
    """As the scheduler counts: containers and sidecars together, or what starts before them where that is more.

    Source: Kubernetes, "Init Containers" and "Sidecar Containers", sections on resource sharing; "Pod-level resources"
    go before what containers ask; "Pod Overhead" comes on top.
    """
    spec = pod.spec
    running: dict[str, Fraction] = {}
    starting: dict[str, Fraction] = {}
    for container in spec.initContainers:
        if container.restartPolicy == "Always":
            _add(running, container.resources.requests)
        peak = dict(running)
        if container.restartPolicy != "Always":
            _add(peak, container.resources.requests)
        starting = {key: max(amount, starting.get(key, amount)) for key, amount in (starting | peak).items()}
    for container in spec.containers:
        _add(running, container.resources.requests)
    total = {key: max(running.get(key, _NONE), starting.get(key, _NONE)) for key in running | starting}
    total |= {key: _amount(text) for key, text in spec.resources.requests.items()}
    _add(total, spec.overhead)
    return {**total, "pods": Fraction(1)}


def _add(total: dict[str, Fraction], amounts: Mapping[str, str]) -> None:
    for key, text in amounts.items():
        total[key] = total.get(key, _NONE) + _amount(text)


def _amount(text: str) -> Fraction:
    """An amount as servers write it: metrics come in billionths. What is none counts nothing."""
    try:
        return stored_amount(text)
    except ValueError:
        return _NONE


def _quantity(text: str) -> Quantity:
    try:
        return Quantity.parse(text)
    except ValueError:
        return Quantity.parse("0")


def _quantity_of(key: str, amount: Fraction) -> Quantity:
    """Memory in whole Ki, all else in thousandths."""
    return Quantity.parse(f"{int(amount) // 1024}Ki" if key == "memory" else f"{int(amount * 1000)}m")


class _UsedBy(msgspec.Struct):
    usage: dict[str, str] | None = None


class PodMetrics(msgspec.Struct):
    """One item of metrics.k8s.io."""

    metadata: _Name
    containers: list[_UsedBy] | None = None


def usage(measured: Iterable[PodMetrics], namespaces: frozenset[str] | None) -> Usage:
    """What pods use, their containers added up. Servers write null where there are none, or nothing is used."""
    pods: dict[ObjectRef, PodUsage] = {}
    for one in measured:
        where = one.metadata.namespace
        if namespaces is None or where in namespaces:
            ref = ObjectRef(group="", kind="Pod", namespace=where, name=one.metadata.name)
            used = [each.usage or {} for each in one.containers or ()]
            pods[ref] = PodUsage(
                cpu=float(sum(_used(each, "cpu") for each in used)),
                memory=int(sum(_used(each, "memory") for each in used)),
            )
    return Usage(pods=pods)


def _used(amounts: Mapping[str, str], key: str) -> Fraction:
    return _amount(amounts.get(key, "0"))
