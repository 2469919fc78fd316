"""ReplicaSets: how one is made from a Deployment's template, what its pods look like, and which come and go. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from reconciler.adapters.embedded.capacity import MACHINE_NODE
from reconciler.adapters.embedded.controllers import pods as pod_facts
from reconciler.model.errors import Rejected

Body = dict[str, Any]
HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_HASH_LENGTH = 10
MAX_REPLICAS = 10_000
"""What one ReplicaSet may make of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetState:
    """A ReplicaSet with its pods counted. `pods` are all of them, ending ones too."""

    body: Body
    pods: tuple[Body, ...]
    active: int
    ready: int
    available: int
    next_available: float | None
    """When the next ready pod becomes available, seconds since 1970."""

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def replicas(self) -> int:
        return int(self.body["spec"].get("replicas", 0))

    @property
    def revision(self) -> int:
        text = str(self.body["metadata"].get("annotations", {}).get(REVISION, "0"))
        return int(text) if text.isascii() and text.isdigit() else 0

    @property
    def age(self) -> tuple[str, int, str]:
        return str(self.body["metadata"].get("creationTimestamp", "")), self.revision, self.name


def measure(replica_set: Body, pods: list[Body], *, now: float) -> SetState:
    """Count the pods of a ReplicaSet. Availability is judged at `now` by the set's own minReadySeconds."""
    wait = int(replica_set["spec"].get("minReadySeconds", 0))
    active = [pod for pod in pods if pod_facts.is_active(pod)]
    times = [at for pod in active if (at := pod_facts.available_at(pod, wait)) is not None]
    later = [at for at in times if at > now]
    return SetState(
        body=replica_set,
        pods=tuple(pods),
        active=len(active),
        ready=len(times),
        available=len(times) - len(later),
        next_available=min(later, default=None),
    )


def template_hash(template: Body) -> str:
    """A short name for a pod template: equal templates, equal hashes. Letters that spell no words."""
    data = msgspec.json.encode(template, order="deterministic")
    number = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
    text = ""
    for _ in range(_HASH_LENGTH):
        number, index = divmod(number, len(_ALPHABET))
        text += _ALPHABET[index]
    return text


def same_template(replica_set: Body, template: Body) -> bool:
    """Whether a ReplicaSet was made from `template`: equal but for the hash label."""
    own = replica_set["spec"].get("template", {})
    metadata = dict(own.get("metadata", {}))
    labels = {key: value for key, value in metadata.get("labels", {}).items() if key != HASH_LABEL}
    wanted = template.get("metadata", {})
    return (
        bool(own.get("spec") == template.get("spec"))
        and labels == wanted.get("labels", {})
        and metadata.get("annotations", {}) == wanted.get("annotations", {})
    )


def make_set(deployment: Body, *, replicas: int, revision: int) -> Body:
    """The ReplicaSet for a Deployment's present template."""
    metadata, spec = deployment["metadata"], deployment["spec"]
    template = spec["template"]
    digest = template_hash(template)
    labels = {**template.get("metadata", {}).get("labels", {}), HASH_LABEL: digest}
    selector = spec.get("selector", {})
    made: Body = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{metadata['name'][: 253 - _HASH_LENGTH - 1]}-{digest}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": {REVISION: str(revision)},
            "ownerReferences": [_owner("Deployment", metadata)],
        },
        "spec": {
            "replicas": replicas,
            "selector": {**selector, "matchLabels": {**selector.get("matchLabels", {}), HASH_LABEL: digest}},
            "template": {**template, "metadata": {**template.get("metadata", {}), "labels": labels}},
        },
    }
    if spec.get("minReadySeconds"):
        made["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    return made


def make_pod(replica_set: Body) -> Body:
    """One more pod of a ReplicaSet, given to the node at once: there is only one."""
    metadata, template = replica_set["metadata"], replica_set["spec"]["template"]
    own = template.get("metadata", {})
    made: Body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{metadata['name'][:57]}-",
            "namespace": metadata["namespace"],
            "labels": own.get("labels", {}),
            "ownerReferences": [_owner("ReplicaSet", metadata)],
        },
        "spec": {**template["spec"], "nodeName": MACHINE_NODE},
    }
    if own.get("annotations"):
        made["metadata"]["annotations"] = own["annotations"]
    return made


def missing(state: SetState) -> int:
    """How many pods are to be made (positive) or deleted (negative). Raises Rejected when it is out of all measure."""
    if state.replicas > MAX_REPLICAS:
        raise Rejected(f"ReplicaSet {state.name} wants {state.replicas} pods; one machine is given {MAX_REPLICAS}")
    if pod_facts.is_terminating(state.body):
        return -state.active
    return state.replicas - state.active


def surplus(state: SetState, count: int) -> list[Body]:
    """The pods to delete first."""
    active = [pod for pod in state.pods if pod_facts.is_active(pod)]
    return sorted(active, key=pod_facts.deletion_rank)[:count]


def set_status(state: SetState, *, failure: str = "", now: str = "") -> Body:
    """A ReplicaSet's status as Kubernetes writes it; `failure` says why pods could not be made."""
    status: Body = {"replicas": state.active, "observedGeneration": state.body["metadata"].get("generation", 0)}
    counts = {"fullyLabeledReplicas": state.active, "readyReplicas": state.ready, "availableReplicas": state.available}
    status |= {key: value for key, value in counts.items() if value}
    if ending := sum(1 for pod in state.pods if pod_facts.is_terminating(pod)):
        status["terminatingReplicas"] = ending
    if failure:
        before = [entry for entry in state.body.get("status", {}).get("conditions", ()) if entry["message"] == failure]
        fresh = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": failure}
        status["conditions"] = before or [{**fresh, "lastTransitionTime": now}]
    return status


def _owner(kind: str, metadata: Body) -> Body:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
