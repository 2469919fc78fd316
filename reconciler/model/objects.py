"""Kubernetes objects, wanted and observed, and the three answers to every read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.source import JsonObject
from reconciler.model.units import Quantity

T_co = TypeVar("T_co", covariant=True)

FIELD_MANAGER = "reconciler"
HANDOVER_MANAGER = "reconciler-handover"
TRACKING_ANNOTATION = "agents.codevald.io/tracking-id"
"""`group/Kind:namespace/name:FLEET`, group "" for core; FLEET tells one installation from another."""
CONFIG_HASH_ANNOTATION = "agents.codevald.io/config-hash"
RESTARTED_ANNOTATION = "agents.codevald.io/restarted-at"
PORTS_ANNOTATION = "agents.codevald.io/ports"
"""On pods of a cluster that maps ports: JSON from a declared container port's number to the real one."""
ADDRESS_ANNOTATION = "agents.codevald.io/address"
"""On Services of a cluster without virtual addresses: JSON, each port by name and by number -> HOST:PORT."""
MAIN_CONTAINER_ANNOTATION = "kubectl.kubernetes.io/default-container"
"""On pods with several containers: the one that is meant where none is named, for kubectl and for us."""
AGENT_LABEL = "agents.codevald.io/agent"
API_VERSION = "agents.codevald.io/v1"

RENDERED_KINDS: tuple[tuple[str, str, str], ...] = (
    ("", "v1", "ServiceAccount"),
    ("", "v1", "ConfigMap"),
    ("", "v1", "Service"),
    ("apps", "v1", "Deployment"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler"),
)
"""(group, version, kind) that every cluster has, in the order of application; deletion runs backwards."""

OPTIONAL_KINDS: tuple[tuple[str, str, str], ...] = (("multicluster.x-k8s.io", "v1alpha1", "ServiceExport"),)
"""Kinds that we render only where ClusterIdentity.apis says that they are served; they come after the others."""

KIND_ORDER: tuple[tuple[str, str, str], ...] = RENDERED_KINDS + OPTIONAL_KINDS
"""All that we render, in the order of application."""


@dataclass(frozen=True, slots=True)
class Found(Generic[T_co]):
    value: T_co


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """The read was complete, and it is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """The read failed: whether it is there is unknown. Never treated as Absent.

    `refused` says that the fault lies between the two of us, not with the other: it answered and does not let us
    (credentials, permissions), or our own configuration names nobody to ask. Nothing follows from that of how it is.
    """

    reason: str
    refused: bool = False


Observation = Found[T_co] | Absent | Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One object that we want. `hash` is the hex SHA-256 of the canonical JSON of `body` (see render.canonical)."""

    ref: ObjectRef
    body: JsonObject
    hash: str
    agent: AgentName


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveObject:
    """One object as a cluster holds it. `body` is the whole of it, managedFields and status included."""

    ref: ObjectRef
    uid: str
    resource_version: str
    body: JsonObject = field(repr=False)

    @property
    def metadata(self) -> JsonObject:
        value: JsonObject = self.body.get("metadata", {})
        return value

    @property
    def status(self) -> JsonObject:
        value: JsonObject = self.body.get("status", {})
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What to observe: kinds (group, version, kind), namespaces and names (None: all), an optional label selector.

    An empty `kinds`, `namespaces` or `names` selects nothing. `names` are looked up in each of `namespaces`, which are
    named too then.
    """

    kinds: tuple[tuple[str, str, str], ...] = RENDERED_KINDS
    namespaces: frozenset[str] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    names: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSet:
    """A complete list of a scope, but for `unreadable`: (kind, namespace or "" for all) -> why it could not be read."""

    objects: Mapping[ObjectRef, LiveObject]
    unreadable: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MustBeAbsent:
    """Create: fails with PreconditionFailed when the object exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MustBe:
    """The object with this uid; with `resource_version`, unchanged since then as well."""

    uid: str
    resource_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyState:
    """No precondition. Only for effects that are right whatever is there."""


Precondition = MustBeAbsent | MustBe | AnyState


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterIdentity:
    """`uid` is the kube-system namespace's uid (embedded: the store's own).

    `apis` are those of OPTIONAL_KINDS that the cluster serves, as `group/version`.
    """

    uid: str
    version: str
    apis: frozenset[str] = frozenset()


def served_kinds(identity: ClusterIdentity) -> tuple[tuple[str, str, str], ...]:
    """All that we render that a cluster has."""
    return RENDERED_KINDS + tuple(kind for kind in OPTIONAL_KINDS if f"{kind[0]}/{kind[1]}" in identity.apis)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCapacity:
    """One node: `allocatable`, and what is left `free` after the pods placed on it. Keys: cpu, memory, pods, ..."""

    name: str
    allocatable: Mapping[str, Quantity]
    free: Mapping[str, Quantity]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """`nodes` that take new pods. `resting` counts those that are ready and take none (cordoned, tainted); None where
    that was not counted.
    """

    nodes: tuple[NodeCapacity, ...]
    resting: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodUsage:
    """`cpu` in cores, `memory` in bytes, measured over the platform's window."""

    cpu: float
    memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    pods: Mapping[ObjectRef, PodUsage]


def main_container(pod: JsonObject) -> str:
    """The container of a pod that is meant where none is named: the one that it says, else its first."""
    said = (pod.get("metadata", {}).get("annotations") or {}).get(MAIN_CONTAINER_ANNOTATION)
    names = [str(container["name"]) for container in pod["spec"]["containers"]]
    return str(said) if said in names else names[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """`tail` lines from the end (None: all that is kept); `previous` for the run before the last restart."""

    tail: int | None = None
    follow: bool = False
    previous: bool = False
