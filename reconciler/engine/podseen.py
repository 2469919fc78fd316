"""What a pod says of itself, taken apart once for as long as it does not change: sweeps look at the same ones again.

May live here: bodies in, facts out, and what follows from them for an agent. No I/O, no clock. What cannot be
understood is missing, and never bad.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from reconciler.engine.pods import trouble
from reconciler.health import probe_request
from reconciler.model.agent import Agent
from reconciler.model.health import Endpoint, PodResources, ProbeRequest
from reconciler.model.lazy import LazyJson
from reconciler.model.objects import AGENT_LABEL, PORTS_ANNOTATION, LiveObject, PodUsage
from reconciler.model.source import JsonObject
from reconciler.model.units import stored_amount

MAX_ANNOTATION = 16_384
Asked = tuple[str, str, ProbeRequest]
"""Check, pod, and what to ask it."""


class PodSaid:
    """One pod's facts. Two of one pod are two: they are compared by identity."""

    __slots__ = (
        "_asked", "_bounds", "_real", "agent", "host", "leaving", "name", "object", "ready", "restarts", "trouble"
    )  # fmt: skip

    def __init__(self, found: LiveObject, body: JsonObject) -> None:
        metadata, status = body.get("metadata") or {}, body.get("status") or {}
        self.object = found
        self.name = found.ref.name
        self.agent = _agent(body)
        self.leaving = bool(metadata.get("deletionTimestamp"))
        """It was told to go, and is none of the agent's any more."""
        self.ready = _ready(status)
        self.restarts = sum(_number(one, "restartCount", 0) for one in status.get("containerStatuses") or ())
        what = None if self.ready else trouble(body)
        self.trouble = f"{what.pod}: {what.text}" if what is not None else ""
        self.host = str(status.get("podIP") or "") if status.get("phase") == "Running" else ""
        """Where it listens; "" where it does not, or nobody knows."""
        self._real = _mapped(metadata) if self.host else {}
        containers = (body.get("spec") or {}).get("containers") or ()
        memory = _bound(containers, "memory")
        self._bounds = _bound(containers, "cpu"), None if memory is None else int(memory)
        self._asked: tuple[Agent, Sequence[Asked]] | None = None

    def endpoint(self, agent: Agent) -> Endpoint | None:
        """Its address, and for each declared port the real one; None when it has none."""
        if not self.host:
            return None
        ports = {port.name: self._real.get(str(port.port), port.port) for port in agent.spec.ports}
        return Endpoint(pod=self.name, host=self.host, ports=ports)

    def asked(self, agent: Agent) -> Sequence[Asked]:
        """What the checks of its agent ask of it."""
        if self._asked is None or self._asked[0] is not agent:
            self._asked = agent, _asked(agent, self.endpoint(agent))
        return self._asked[1]

    def resources(self, used: PodUsage) -> PodResources:
        """What it uses, beside its bounds."""
        cpu, most = self._bounds
        return PodResources(pod=self.name, cpu=used.cpu, memory=used.memory, cpu_bound=cpu, memory_bound=most)


class Wanted:
    """How many pods a Deployment wants."""

    __slots__ = ("agent", "object", "replicas")

    def __init__(self, found: LiveObject, body: JsonObject) -> None:
        self.object = found
        self.agent = _agent(body)
        self.replicas = _number(body.get("spec"), "replicas", 1)


class Other:
    """An object of nobody that we know."""

    __slots__ = ("object",)

    def __init__(self, found: LiveObject) -> None:
        self.object = found


def said_by(found: LiveObject) -> PodSaid | Wanted | Other:
    """What a pod or a Deployment says."""
    body = found.body
    if isinstance(body, LazyJson):  # read apart from it: what it reads itself it keeps, twenty mappings a pod
        body = msgspec.json.decode(body.data, type=dict[str, Any])
    if not _agent(body):
        return Other(found)
    return PodSaid(found, body) if found.ref.kind == "Pod" else Wanted(found, body)


def _agent(body: JsonObject) -> str:
    """Whose an object says it is; "" when it does not."""
    return str(((body.get("metadata") or {}).get("labels") or {}).get(AGENT_LABEL, ""))


def _asked(agent: Agent, endpoint: Endpoint | None) -> Sequence[Asked]:
    if endpoint is None:
        return ()
    checks = agent.spec.health.checks
    found = ((check.name, endpoint.pod, probe_request(check, agent.spec, endpoint)) for check in checks)
    return [(check, pod, request) for check, pod, request in found if request is not None]


def _number(item: object, key: str, default: int) -> int:
    value = item.get(key, default) if isinstance(item, Mapping) else default
    return value if isinstance(value, int) else default


def _ready(status: JsonObject) -> bool:
    return any(
        isinstance(one, dict) and one.get("type") == "Ready" and one.get("status") == "True"
        for one in status.get("conditions") or ()
    )


def _mapped(metadata: JsonObject) -> Mapping[str, int]:
    """The port mapping that the cluster says on a pod; none where it says none, or nothing that can be read."""
    text = str((metadata.get("annotations") or {}).get(PORTS_ANNOTATION, ""))
    if not 0 < len(text) <= MAX_ANNOTATION:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    items: Iterable[tuple[str, Any]] = value.items() if isinstance(value, dict) else ()
    return {key: port for key, port in items if type(port) is int and 0 < port < 65_536}


def _bound(containers: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The limit of a pod, else its request; None where a container has neither: then there is no bound."""
    total = 0.0
    for container in containers:
        given = container.get("resources") or {}
        text = (given.get("limits") or {}).get(name) or (given.get("requests") or {}).get(name)
        if text is None:
            return None
        try:
            total += _amount(str(text))
        except ValueError:
            return None
    return total if containers else None


@lru_cache(maxsize=4096)
def _amount(text: str) -> float:
    return float(stored_amount(text))
