"""Where a soak happens: agents as processes of this machine, or as pods of a real control plane whose nodes KWOK plays.

What runs is read past the reconciler: from the store of the embedded cluster, or from the API server.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from reconciler.adapters.embedded import lifecycle
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.model.objects import AGENT_LABEL
from tests.controlplane.plane import ControlPlane

NAMESPACE = "soak"
_PROCESS = re.compile(r"process://([0-9]{1,10})/")
Body = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One agent as it runs: its marker, the counts of its Deployment, and what runs of it (pids, or uids of pods).

    `generation` counts how often its Deployment was changed: what came and went between two looks is seen by it.
    """

    marker: str
    wanted: int
    ready: int
    current: bool
    running: frozenset[str]
    generation: int

    @property
    def well(self) -> bool:
        return self.current and self.ready == self.wanted


class Ground(Protocol):
    """One place."""

    name: str
    says: str
    cluster: str
    """The cluster's entry in fleet.yaml."""

    def look(self) -> dict[str, Seen]:
        """All agents, by name."""

    def kill(self, running: str) -> None:
        """End one of what runs, as a crash or a drain would."""

    def command(self, number: int) -> str:
        """What an agent runs, as YAML below `spec`, indented by two."""

    def bad(self) -> tuple[str, str]:
        """Annotations, and what to run: so that it never works."""

    def beside(self) -> dict[str, int]:
        """Processes of ours to watch beside the daemon, by name."""

    def close(self) -> None: ...


class Embedded:
    """Processes of this machine: most of them only wait, some serve HTTP."""

    name = "embedded"
    says = "the embedded cluster; agents are processes, killed with SIGKILL"
    cluster = "{name: local, embedded: {run: processes}}"

    def __init__(self, root: Path) -> None:
        self._state = root / ".reconciler"
        self._store: ObjectStore | None = None

    def look(self) -> dict[str, Seen]:
        if self._store is None:
            if not (self._state / "cluster.db").exists():
                return {}
            self._store = ObjectStore.open(self._state / "cluster.db")
        return _seen(self._store.list("apps", "Deployment")[0], self._store.list("", "Pod")[0], _pids)

    def kill(self, running: str) -> None:
        with suppress(ProcessLookupError):
            os.kill(int(running), signal.SIGKILL)

    def command(self, number: int) -> str:
        if number % 4:
            return "  command: [sleep, infinity]\n"
        serves = "exec python3 -m http.server --bind 127.0.0.1 $PORT >/dev/null 2>&1"
        return (
            f"  command: [sh, -c, '{serves}']\n  ports: [{{name: http, port: 8080}}]\n"
            "  probes: {readiness: {http: {path: /, port: http}, period: 1s}}\n"
            "  health: {checks: [{name: answers, connectivity: {http: {path: /, port: http}, timeout: 2s}}]}\n"
        )

    def bad(self) -> tuple[str, str]:
        return "{}", "  command: [sh, -c, 'exit 3']\n"

    def beside(self) -> dict[str, int]:
        said = lifecycle.read_said(self._state)
        return {"supervisor": said.pid} if said is not None else {}

    def close(self) -> None:
        if self._store is not None:
            self._store.close()


class RealPlane:
    """A control plane of its own, ended with the soak."""

    name = "playground"
    says = "a real control plane, whose nodes KWOK plays; pods are deleted, and no container runs in them"

    def __init__(self, folder: Path) -> None:
        self._plane = ControlPlane.start(folder, name="soak", nodes=3)
        self._plane.create_namespace(NAMESPACE)
        self.cluster = f"{{name: real, kubernetes: {{context: soak, kubeconfig: {self._plane.kubeconfig}}}}}"

    def look(self) -> dict[str, Seen]:
        deployments = self._plane.api.json("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments")["items"]
        pods = self._plane.api.json("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
        return _seen(deployments, pods, lambda pod: [pod["metadata"]["name"]])

    def kill(self, running: str) -> None:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{running}"
        self._plane.api.ask("DELETE", path, {"gracePeriodSeconds": 0})

    def command(self, number: int) -> str:
        return f"  ports: [{{name: http, port: {8080 + number}}}]\n"

    def bad(self) -> tuple[str, str]:
        return '{kwok.test/behaviour: crash-loop, kwok.test/exit-code: "3"}', self.command(0)

    def beside(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        self._plane.stop()


def _seen(deployments: Iterable[Body], pods: Iterable[Body], running: Any) -> dict[str, Seen]:
    by_agent: dict[str, list[str]] = {}
    for pod in pods:
        label = pod["metadata"].get("labels", {}).get(AGENT_LABEL, "")
        if not pod["metadata"].get("deletionTimestamp"):
            by_agent.setdefault(label, []).extend(running(pod))
    return {name: _one(body, by_agent.get(name, [])) for body in deployments if (name := body["metadata"]["name"])}


def _one(body: Body, running: list[str]) -> Seen:
    spec, status = body["spec"], body.get("status", {})
    wanted = int(spec.get("replicas", 1))
    env = spec["template"]["spec"]["containers"][0].get("env", ())
    return Seen(
        marker=next((str(item.get("value", "")) for item in env if item["name"] == "MARKER"), ""),
        wanted=wanted,
        ready=int(status.get("readyReplicas", 0)),
        current=status.get("observedGeneration", 0) >= body["metadata"].get("generation", 1)
        and int(status.get("updatedReplicas", 0)) == wanted == int(status.get("replicas", 0)),
        running=frozenset(running),
        generation=int(body["metadata"].get("generation", 0)),
    )


def _pids(pod: Body) -> list[str]:
    """Pids of a pod's containers that run and are ready."""
    return [
        match[1]
        for container in pod.get("status", {}).get("containerStatuses", ())
        if container.get("ready") and (match := _PROCESS.match(str(container.get("containerID", ""))))
    ]
