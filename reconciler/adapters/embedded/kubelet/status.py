"""A pod's status as Kubernetes writes it, from what is known of its containers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reconciler.adapters.embedded.kubelet.ports import HOST
from reconciler.adapters.embedded.times import stamp

Body = dict[str, Any]
PORTS_ANNOTATION = "agents.codevald.io/ports"
"""On a pod: JSON, each declared port by name and by number -> the real port of this machine; `default` without any."""


@dataclass(slots=True, kw_only=True)
class ContainerFacts:
    """What is known of one container. `state` and `last` are as in containerStatuses."""

    name: str
    image: str
    state: Body = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last: Body = field(default_factory=dict)
    restarts: int = 0
    ready: bool = False
    started: bool = False
    identity: str = ""
    unwell: str = ""
    """Why it is not ready, in the words of its probe."""

    def status(self) -> Body:
        found: Body = {
            "name": self.name,
            "image": self.image,
            "imageID": "",
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "state": self.state,
        }
        if self.last:
            found["lastState"] = self.last
        if self.identity:
            found["containerID"] = self.identity
        return found

    @classmethod
    def restore(cls, name: str, image: str, status: Body | None) -> ContainerFacts:
        """What an earlier supervisor wrote down."""
        if not status:
            return cls(name=name, image=image)
        return cls(
            name=name,
            image=image,
            state=status.get("state", {}),
            last=status.get("lastState", {}),
            restarts=int(status.get("restartCount", 0)),
            ready=bool(status.get("ready")),
            started=bool(status.get("started")),
            identity=str(status.get("containerID", "")),
        )


def waiting(reason: str, message: str = "") -> Body:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def pod_status(
    pod: Body, facts: list[ContainerFacts], inits: list[ContainerFacts], *, terminating: bool, message: str, now: float
) -> Body:
    """The whole status of a pod; times are kept from its last one where nothing changed."""
    before: Body = pod.get("status", {})
    phase = _phase(pod, facts, inits)
    initialized = all(_succeeded(each.state) for each in inits)
    ready = bool(facts) and initialized and not terminating and all(each.ready for each in facts)
    unready = [each for each in facts if not each.ready]
    text = f"containers with unready status: [{' '.join(each.name for each in unready)}]" if unready else ""
    text += "".join(f"; {each.name}: {each.unwell}" for each in unready if each.unwell)
    if terminating:
        text = "the pod is being ended"
    not_ready = "" if ready else ("PodCompleted" if phase == "Succeeded" else "ContainersNotReady")
    conditions = [
        _condition(before, "PodScheduled", True, "", "", now),
        _condition(before, "Initialized", initialized, "" if initialized else "ContainersNotInitialized", "", now),
        _condition(before, "ContainersReady", ready, not_ready, text, now),
        _condition(before, "Ready", ready, not_ready, text, now),
    ]
    status: Body = {
        "phase": phase,
        "conditions": conditions,
        "containerStatuses": [each.status() for each in facts],
        "hostIP": HOST,
        "podIP": HOST,
        "podIPs": [{"ip": HOST}],
        "startTime": before.get("startTime") or stamp(now),
    }
    if inits:
        status["initContainerStatuses"] = [each.status() for each in inits]
    if message:
        status["message"] = message
    return status


def _phase(pod: Body, facts: list[ContainerFacts], inits: list[ContainerFacts]) -> str:
    """Source: getPhase in pkg/kubelet/kubelet_pods.go."""
    policy = pod["spec"].get("restartPolicy", "Always")
    if policy == "Never" and any("terminated" in each.state and not _succeeded(each.state) for each in inits):
        return "Failed"
    if any("waiting" in each.state and not each.last for each in facts) or not facts:
        return "Pending"
    if all("terminated" in each.state for each in facts) and policy != "Always":
        if all(_succeeded(each.state) for each in facts):
            return "Succeeded"
        return "Failed" if policy == "Never" else "Running"
    return "Running"


def _succeeded(state: Body) -> bool:
    return "terminated" in state and state["terminated"].get("exitCode") == 0


def _condition(before: Body, kind: str, value: bool, reason: str, message: str, now: float) -> Body:  # noqa: FBT001 - as the type, a field of the condition
    text = "True" if value else "False"
    old = next((entry for entry in before.get("conditions", ()) if entry["type"] == kind), None)
    moved = old["lastTransitionTime"] if old and old["status"] == text else stamp(now)
    found: Body = {"type": kind, "status": text, "lastTransitionTime": moved}
    return found | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})
