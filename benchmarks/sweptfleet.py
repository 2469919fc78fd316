"""A fleet whose agents have a pod each, at ports of loopback, in a cluster that is remembered as watches keep one.

For the benchmarks of health sweeps (`benchmarks.sweep`, `benchmarks.sweepparts`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmarks import fleets
from reconciler.adapters.kubernetes.copies import Copy
from reconciler.adapters.kubernetes.listing import live_object
from reconciler.adapters.kubernetes.resources import Resource
from reconciler.model.agent import Agent
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import (
    AGENT_LABEL,
    PORTS_ANNOTATION,
    Capacity,
    ClusterIdentity,
    Found,
    LiveObject,
    LiveSet,
    Observation,
    PodUsage,
    Scope,
    Usage,
)
from reconciler.model.source import Blob, Revision
from reconciler.spec import read_fleet


def agents_of(number: int) -> dict[AgentName, Agent]:
    """The fleet of the other benchmarks, read; every agent has a connectivity check and one of its memory."""
    texts = {"fleet.yaml": fleets.FLEET}
    for name, text in (("base", fleets.BASE), ("chat", fleets.CHAT), ("rare", fleets.RARE)):
        texts[f"templates/{name}.yaml"] = text
    for one in range(number):
        texts[f"agents/space-{one % 50:02d}/agent-{one:05d}.yaml"] = fleets.agent(one)
    blobs = {path: Blob(id=f"{at:040x}", data=text.encode()) for at, (path, text) in enumerate(texts.items())}
    return dict(read_fleet(Revision(commit="c" * 40), blobs).agents)


POD = Resource(group="", version="v1", kind="Pod", plural="pods")
DEPLOYMENT = Resource(group="apps", version="v1", kind="Deployment", plural="deployments")


def pod(name: AgentName, port: int) -> LiveObject:
    """The one pod of an agent, as an API server shows it, listening at a port of loopback."""
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{name.name}-7c9d", "namespace": name.namespace, "uid": f"pod-{name}", "resourceVersion": "1",
            "labels": {AGENT_LABEL: name.name, "app.kubernetes.io/managed-by": "reconciler"},
            "annotations": {PORTS_ANNOTATION: json.dumps({"8080": port})},
            "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {"f:phase": {}}}}],
        },
        "spec": {
            "containers": [
                {
                    "name": "agent", "image": "ghcr.io/acme/agent:1.0.0", "ports": [{"containerPort": 8080}],
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                }
            ]
        },
        "status": {
            "phase": "Running", "podIP": "127.0.0.1",
            "conditions": [{"type": kind, "status": "True"} for kind in ("PodScheduled", "Initialized", "Ready")],
            "containerStatuses": [{"name": "agent", "ready": True, "restartCount": 0, "state": {"running": {}}}],
        },
    }  # fmt: skip
    return live_object(json.dumps(body).encode(), POD)


def deployment(name: AgentName) -> LiveObject:
    """An agent's Deployment, as far as a sweep looks at it."""
    metadata = {
        "name": name.name, "namespace": name.namespace, "uid": f"deployment-{name}", "resourceVersion": "1",
        "labels": {AGENT_LABEL: name.name},
    }  # fmt: skip
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": 1}}
    return live_object(json.dumps(body).encode(), DEPLOYMENT)


class RememberedCluster:
    """Stands in for a cluster that is watched: lists are answered out of copies in memory, as then they are."""

    name = "local"
    reaches_pods = True

    def __init__(self, ports: Mapping[AgentName, int]) -> None:
        self.copies = {"Pod": Copy(), "Deployment": Copy()}
        for name, port in ports.items():
            self.copies["Pod"].put(pod(name, port))
            self.copies["Deployment"].put(deployment(name))

    async def identity(self) -> Observation[ClusterIdentity]:
        return Found(ClusterIdentity(uid="u", version="v1.36.3"))

    async def capacity(self) -> Observation[Capacity]:
        return Found(Capacity(nodes=()))

    async def observe(self, scope: Scope) -> Observation[LiveSet]:
        objects: dict[ObjectRef, LiveObject] = {}
        for _group, _version, kind in scope.kinds:
            for namespace in sorted(scope.namespaces or ()):
                objects.update(self.copies[kind].selected(namespace, {}))
        return Found(LiveSet(objects=objects))

    async def usage(self, _scope: Scope) -> Observation[Usage]:
        used = PodUsage(cpu=0.01, memory=64 << 20)
        return Found(Usage(pods=dict.fromkeys(self.copies["Pod"].objects(), used)))

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(name)
