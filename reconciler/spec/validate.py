"""Completeness: what can be judged of an agent after its templates are merged, and of agents among each other.

May live here: rules over a whole resolved body or a whole fleet. Must not: know how files are read or values placed.
Each rule yields Problems with the path of the field; whoever calls finds the file and line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from reconciler.model.agent import AgentSpec, ClusterSelector, ExecTarget, Expression, ProbeTarget
from reconciler.model.fleet import ClusterDeclaration
from reconciler.model.identity import FieldPath
from reconciler.model.objects import API_VERSION
from reconciler.model.source import JsonObject
from reconciler.spec.authoring import AgentBody
from reconciler.spec.documents import item_name
from reconciler.spec.nearest import did_you_mean
from reconciler.spec.servers import taken_by_servers
from reconciler.spec.shape import Problem

_SECRET_WORD = re.compile(r"(?:^|[^a-z])(?:token|secret|password|passwd|key|credentials?)(?:$|[^a-z])")
_OWN_LABELS = f"{API_VERSION.partition('/')[0]}/"
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@lru_cache(maxsize=4096)
def looks_secret(name: str) -> bool:
    """Whether a name says that its value is a secret (TOKEN, SECRET, PASSWORD, KEY as a word of it)."""
    return bool(_SECRET_WORD.search(_CAMEL.sub("_", name).lower()))


def complete(body: AgentBody) -> Iterator[Problem]:
    """Rules over an agent's merged body, before it becomes a spec."""
    if not body.image:
        yield Problem(code="missing-field", message="'image' is missing", path=(), hint="say it here or in a template")
    if body.replicas is not None and body.autoscaling is not None:
        message = "'replicas' and 'autoscaling' exclude each other"
        yield Problem(code="replicas-and-autoscaling", message=message, path=("replicas",), key=True)
    if body.autoscaling and body.autoscaling.min > body.autoscaling.max:
        message = f"min {body.autoscaling.min} is more than max {body.autoscaling.max}"
        yield Problem(code="out-of-range", message=message, path=("autoscaling", "min"))
    rollout = body.rollout
    if rollout.max_surge in (0, "0%") and rollout.max_unavailable in (0, "0%"):
        message = "maxSurge and maxUnavailable are both 0: no pod could ever be replaced"
        yield Problem(code="out-of-range", message=message, path=("rollout", "maxSurge"))
    yield from _twice("env", [item.name for item in body.env])
    yield from _twice("ports", [item.name for item in body.ports])
    yield from _twice("skills", [item.id for item in body.skills])
    yield from _twice("alerts", [item.name for item in body.alerts])
    for problem in _twice("checks", [item.name for item in body.health.checks]):
        yield Problem(code=problem.code, message=problem.message, path=("health", *problem.path))
    yield from _tools(body)


def _twice(field: str, names: Sequence[str]) -> Iterator[Problem]:
    if len(set(names)) == len(names):
        return
    for name, count in Counter(names).items():
        if count > 1:
            message = f"{name!r} stands {count} times in {field}"
            yield Problem(code="duplicate-name", message=message, path=(field, f"[{name}]"))


def _tools(body: AgentBody) -> Iterator[Problem]:
    for tool in body.tools:
        server = tool.mcp_server
        for name in tool.require_approval if server and server.tool_names else ():
            if server and name not in server.tool_names:
                path: FieldPath = ("tools", f"[mcpServer:{server.name}]", "requireApproval")
                message = f"requireApproval names {name!r}, which is not among the toolNames"
                yield Problem(
                    code="unknown-tool", message=message, path=path, hint=did_you_mean(name, server.tool_names)
                )


def coherent(spec: AgentSpec) -> Iterator[Problem]:
    """Rules over the finished spec: ports that exist, requests within limits, metrics that can be computed."""
    yield from _ports(spec)
    for key in spec.deployment.selector if spec.deployment else ():
        if key.startswith(_OWN_LABELS):
            message = f"{key} is a label that agents get by themselves"
            yield Problem(code="reserved-label", message=message, path=("deployment", "selector", key), key=True)
    for name, request in spec.resources.requests.items():
        limit = spec.resources.limits.get(name)
        if limit is not None and request > limit:
            message = f"the request of {request} {name} is over the limit of {limit}"
            yield Problem(code="request-over-limit", message=message, path=("resources", "requests", name))
    yield from taken_by_servers(spec)
    for index, metric in enumerate(spec.autoscaling.metrics if spec.autoscaling else ()):
        if metric.utilization is not None and metric.type not in spec.resources.requests:
            message = f"a percentage of {metric.type} needs a request of {metric.type}"
            path = ("autoscaling", "metrics", f"[{index}]")
            yield Problem(
                code="missing-request", message=message, path=path, hint=f"say resources.requests.{metric.type}"
            )


def _ports(spec: AgentSpec) -> Iterator[Problem]:
    names = [port.name for port in spec.ports]
    numbers = {port.port for port in spec.ports}
    yield from _numbered_twice(spec)

    def judge(target: ProbeTarget | None, path: FieldPath) -> Iterator[Problem]:
        if target is None or isinstance(target, ExecTarget):
            return
        if target.port not in names and target.port not in numbers:
            wrong = str(target.port)
            hint = did_you_mean(wrong, names) or (
                f"declared are {', '.join(names)}" if names else "declare it in ports"
            )
            yield Problem(code="unknown-port", message=f"unknown port {wrong!r}", path=path, hint=hint)

    for kind in ("startup", "readiness", "liveness"):
        probe = getattr(spec.probes, kind)
        if probe is not None:
            yield from judge(probe.target, ("probes", kind, _target_field(probe.target), "port"))
    for check in spec.health.checks:
        if check.target is not None:
            field = _target_field(check.target)
            yield from judge(check.target, ("health", "checks", f"[{check.name}]", str(check.dimension), field, "port"))


def _numbered_twice(spec: AgentSpec) -> Iterator[Problem]:
    if len(spec.ports) < 2:
        return
    listened = Counter((port.port, port.protocol) for port in spec.ports)
    exposed = Counter((port.exposed, port.protocol) for port in spec.ports)
    for port in spec.ports:
        if listened[port.port, port.protocol] > 1:
            message = f"the port {port.port} is declared more than once"
            yield Problem(code="duplicate-port", message=message, path=("ports", f"[{port.name}]", "port"))
            break
        if port.service_port is not None and exposed[port.exposed, port.protocol] > 1:
            message = f"the Service would have the port {port.exposed} more than once"
            yield Problem(code="duplicate-port", message=message, path=("ports", f"[{port.name}]", "servicePort"))
            break


def _target_field(target: ProbeTarget) -> str:
    return type(target).__name__.removesuffix("Target").lower()


def secrets(document: JsonObject) -> Iterator[tuple[FieldPath, tuple[str, ...]]]:
    """Paths of literal values of an agent's document whose names look secret, each with all texts at and below it.

    They are shown nowhere, and better given by reference. What holds no text and no number is none.
    """
    for item in document.get("env") or ():
        if item.get("value") and looks_secret(item["name"]):
            yield ("env", f"[{item['name']}]", "value"), (item["value"],)
    yield from _secret_keys(document.get("config"), ("config",))
    parameters = (document.get("modelConfig") or {}).get("parameters")
    yield from _secret_keys(parameters, ("modelConfig", "parameters"))


def _secret_keys(value: object, path: FieldPath) -> Iterator[tuple[FieldPath, tuple[str, ...]]]:
    if isinstance(value, dict):
        named = path[-1].startswith("[") and looks_secret(path[-1])
        for key, item in value.items():
            if not (looks_secret(key) or (named and key == "value")):
                yield from _secret_keys(item, (*path, key))
            elif texts := tuple(texts_of(item)):
                yield (*path, key), texts
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _secret_keys(item, (*path, f"[{item_name(item) or index}]"))


def texts_of(value: object) -> Iterator[str]:
    """All texts at and below a value, numbers as they are written: what is to be found again where it may be shown."""
    if isinstance(value, dict):
        for item in value.values():
            yield from texts_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_of(item)
    elif value not in (None, "") and not isinstance(value, bool):
        yield str(value)


def selects(selector: ClusterSelector, cluster: ClusterDeclaration) -> bool:
    """Whether a placement's selector takes a cluster in. An empty selector selects nothing."""
    if selector.everything:
        return True
    if not (selector.names or selector.match_labels or selector.match_expressions):
        return False
    if selector.names and cluster.name not in selector.names:
        return False
    labels = cluster.labels
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _holds(expression, labels) for expression in selector.match_expressions
    )


def _holds(expression: Expression, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression.key)
    match expression.operator:
        case "In":
            return value in expression.values
        case "NotIn":
            return value not in expression.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
