"""What makes the spec of a pod invalid, wherever it stands: containers, ports, variables, amounts, probes.

Pure: a spec and its path in, problems out. Rare combinations of fields are not checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from reconciler.adapters.embedded import validation_leaves as leaf
from reconciler.model.units import stored_amount

Body = dict[str, Any]

_ENV_NAME = re.compile(r"[ -<>-~]+\Z")
_RESTART = frozenset({"Always", "OnFailure", "Never"})


def pod_spec(pod: Body, path: str) -> Iterator[str]:
    containers = pod.get("containers", [])
    if not containers:
        yield f"{path}.containers: Required value"
    volumes = {volume.get("name") for volume in pod.get("volumes", ())}
    for volume in pod.get("volumes", ()):
        yield from leaf.dns_label(volume.get("name"), f"{path}.volumes.name")
        if len(set(volume) - {"name"}) > 1:
            yield f"{path}.volumes[{volume.get('name')}]: Forbidden: may not specify more than 1 volume type"
    for name in ("containers", "initContainers"):
        for index, container in enumerate(pod.get(name, ())):
            yield from _container(container, volumes, f"{path}.{name}[{index}]")
    if pod.get("restartPolicy") not in _RESTART:
        yield f"{path}.restartPolicy: Unsupported value: {pod.get('restartPolicy')!r}"
    yield from leaf.not_negative(pod.get("terminationGracePeriodSeconds"), f"{path}.terminationGracePeriodSeconds")


def _container(container: Body, volumes: set[Any], path: str) -> Iterator[str]:
    yield from leaf.dns_label(container.get("name"), f"{path}.name")
    if not container.get("image", "").strip():
        yield f"{path}.image: Required value"
    yield from _container_ports(container.get("ports", ()), f"{path}.ports")
    for index, variable in enumerate(container.get("env", ())):
        yield from _variable(variable, f"{path}.env[{index}]")
    for index, mount in enumerate(container.get("volumeMounts", ())):
        if mount.get("name") not in volumes:
            yield f"{path}.volumeMounts[{index}].name: Not found: {mount.get('name')!r}"
    yield from _resources(container.get("resources", {}), f"{path}.resources")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            yield from _probe(container[name], f"{path}.{name}", settles=name == "readinessProbe")


def _container_ports(ports: Sequence[Body], path: str) -> Iterator[str]:
    names: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        yield from leaf.port(port.get("containerPort"), f"{where}.containerPort")
        yield from leaf.protocol(port.get("protocol"), f"{where}.protocol")
        name = port.get("name", "")
        if name and not leaf.PORT_NAME.match(name):
            yield f"{where}.name: Invalid value: {name[:80]!r}: at most 15 of a-z, 0-9 and '-', one of them a letter"
        if name and name in names:
            yield f"{where}.name: Duplicate value: {name!r}"
        names.add(name)


def _variable(variable: Body, path: str) -> Iterator[str]:
    if not _ENV_NAME.match(variable.get("name", "")):
        yield f"{path}.name: Invalid value: {variable.get('name', '')[:80]!r}: printable ASCII without '='"
    source = variable.get("valueFrom")
    if source is None:
        return
    if variable.get("value"):
        yield f"{path}.valueFrom: Invalid value: may not be specified when `value` is not empty"
    if len(source) != 1:
        yield f"{path}.valueFrom: Invalid value: must specify exactly one of its sources"


def _resources(resources: Body, path: str) -> Iterator[str]:
    limits = resources.get("limits", {})
    for group in ("requests", "limits"):
        for name, text in resources.get(group, {}).items():
            if text.startswith("-"):
                yield f"{path}.{group}[{name}]: Invalid value: {text!r}: must be greater than or equal to 0"
            if _is_promised_once(name) and stored_amount(text).denominator > 1:
                yield f"{path}.{group}[{name}]: Invalid value: {text!r}: must be an integer"
    for name, text in resources.get("requests", {}).items():
        limit = limits.get(name)
        if _is_promised_once(name) and (limit is None or stored_amount(text) != stored_amount(limit)):
            yield f"{path}.limits: Required value: Limit must be set for non overcommitable resources, to the request"
        if limit is not None and stored_amount(text) > stored_amount(limit):
            yield f"{path}.requests: Invalid value: {text!r}: must be less than or equal to {name} limit of {limit}"


def _is_promised_once(name: str) -> bool:
    """Whether no more of a resource is promised than there is: devices, huge pages."""
    return name.startswith("hugepages-") or ("/" in name and "kubernetes.io/" not in name)


def _probe(probe: Body, path: str, *, settles: bool) -> Iterator[str]:
    handlers = [name for name in ("exec", "grpc", "httpGet", "tcpSocket") if name in probe]
    if len(handlers) != 1:
        problem = "Required value: must specify a handler type" if not handlers else "Forbidden: one handler type only"
        yield f"{path}: {problem}"
    for name in ("failureThreshold", "initialDelaySeconds", "periodSeconds", "successThreshold", "timeoutSeconds"):
        yield from leaf.not_negative(probe.get(name), f"{path}.{name}")
    if not settles and probe.get("successThreshold", 1) != 1:
        yield f"{path}.successThreshold: Invalid value: {probe['successThreshold']}: must be 1"
