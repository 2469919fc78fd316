"""Ports of an agent, from what the container says, what the Service leads to and what probes ask.

May live here: which numbers and names an agent's ports have. Must not: know anything else of a container.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.importing.families import Family
from reconciler.importing.notes import Draft
from reconciler.importing.reading import mapping, maps, text, whole
from reconciler.spec.fields import PORT_NAME

_NAME = re.compile(PORT_NAME[:-1] + r"\Z", re.ASCII)
MAX_NAME = 15
_Key = tuple[int, str]
"""Number and protocol."""


def ports(draft: Draft, family: Family, container: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    """The ports, in the container's order, then those that only a Service or a probe knows."""
    names: dict[_Key, str] = {}
    for port in maps(container.get("ports")):
        number, protocol = whole(port.get("containerPort")), text(port.get("protocol")) or "TCP"
        if number is None or protocol not in ("TCP", "UDP"):
            draft.left(f"{path}.ports", f"a port of {protocol}; an agent's are TCP or UDP")
            continue
        if port.get("hostPort"):
            draft.left(f"{path}.ports[{number}].hostPort", "an agent takes no port of its node")
        names.setdefault((number, protocol), text(port.get("name")))
    exposed = _exposed(draft, family, names)
    for key in [*exposed, *((number, "TCP") for number in _probed(container))]:
        names.setdefault(key, "")
    return _named(draft, names, exposed)


def _exposed(draft: Draft, family: Family, names: Mapping[_Key, str]) -> dict[_Key, list[Mapping[str, Any]]]:
    """The ports of the Service by the container's port that each leads to."""
    numbers = {name: key[0] for key, name in names.items() if name}
    found: dict[_Key, list[Mapping[str, Any]]] = {}
    for port in maps(mapping(family.service.body if family.service else {}, "spec").get("ports")):
        target = port.get("targetPort") or port.get("port")
        number = numbers.get(target) if isinstance(target, str) else whole(target)
        protocol = text(port.get("protocol")) or "TCP"
        if number is not None and whole(port.get("port")) is not None and protocol in ("TCP", "UDP"):
            found.setdefault((number, protocol), []).append(port)
        else:
            lost = f"it leads to {target} ({protocol}), and the agent's container has no such port"
            draft.left(f"Service spec.ports[{port.get('port')}]", lost)
    return found


def _probed(container: Mapping[str, Any]) -> Iterator[int]:
    """Numbers that probes ask."""
    for key in ("startupProbe", "readinessProbe", "livenessProbe"):
        for handler in ("httpGet", "tcpSocket", "grpc"):
            number = whole(mapping(container, key, handler).get("port"))
            if number is not None:
                yield number


def _named(
    draft: Draft, names: Mapping[_Key, str], exposed: Mapping[_Key, list[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """The ports with a name each. One that the Service has takes over the Service's own."""
    taken = {name for name in names.values() if name}
    found: list[dict[str, Any]] = []
    for key, said in names.items():
        number, protocol = key
        fronts = exposed.get(key, [])
        front = next((port for port in fronts if port.get("name") == said), fronts[0] if fronts else None)
        name = said or _free(text(front.get("name")) if front else "", number, taken)
        taken.add(name)
        made: dict[str, Any] = {"name": name, "port": number}
        if protocol != "TCP":
            made["protocol"] = protocol
        if front is not None and front["port"] != number:
            made["servicePort"] = front["port"]
        found.append(made)
        for other in fronts:
            if other is not front:
                draft.left(f"Service spec.ports[{other['port']}]", f"a second port that leads to {number}")
    return found


def _free(wish: str, number: int, taken: set[str]) -> str:
    for name in (wish, "http", f"port-{number}"):
        if _NAME.match(name) and len(name) <= MAX_NAME and name not in taken:
            return name
    return f"p{number}-{len(taken)}"[:MAX_NAME]
