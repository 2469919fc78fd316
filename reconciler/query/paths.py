"""What a query may name: the paths of a record's facts, and of which kind the values there are.

Paths of the spec are those of the authoring schema, a list's items standing for the list; a test holds both together.
A path is text: its keys joined by dots, a key that holds a dot in double quotes.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

MAX_PATH = 512
"""Characters of a path. What stands deeper in a spec is no fact, and cannot be asked for."""


class Kind(StrEnum):
    """What stands at a path, said as people call it."""

    TEXT = "text"
    NUMBER = "a number"
    FLAG = "true or false"
    TIME = "a time"
    """Kept as Unix milliseconds."""
    QUANTITY = "a quantity"
    """Kept as a number of base units: cores, bytes."""
    DURATION = "a duration"
    """Kept as milliseconds."""
    PERCENT = "a percentage"
    """Kept as the number before the sign."""
    ANY = "any value"
    """As JSON has it."""


_FIELDS: dict[Kind, str] = {
    Kind.TEXT: """
        alerts.alertmanager.tokenEnv alerts.alertmanager.urlEnv alerts.apprise.urlEnv alerts.email.from
        alerts.email.smtpEnv alerts.email.to alerts.group.by alerts.match.name alerts.match.namespace
        alerts.match.severity alerts.message.text alerts.message.title alerts.name alerts.pagerduty.routingKeyEnv
        alerts.pagerduty.urlEnv alerts.slack.urlEnv alerts.webhook.secretEnv alerts.webhook.urlEnv args
        autoscaling.behavior.scaleDown.selectPolicy autoscaling.behavior.scaleUp.selectPolicy
        autoscaling.metrics.external.name autoscaling.metrics.object.name autoscaling.metrics.object.object.apiVersion
        autoscaling.metrics.object.object.kind autoscaling.metrics.object.object.name autoscaling.metrics.pods.name
        command dependsOn deployment.container deployment.serviceAccount description env.name env.secret.key
        env.secret.name env.value health.checks.connectivity.grpc.service health.checks.connectivity.http.path
        health.checks.connectivity.http.scheme health.checks.name health.checks.performance.http.path
        health.checks.performance.http.scheme health.checks.plugin.name image modelConfig.baseUrl modelConfig.model
        modelConfig.provider modelConfig.secret.key modelConfig.secret.name placement.clusters.matchExpressions.key
        placement.clusters.matchExpressions.operator placement.clusters.matchExpressions.values
        placement.clusters.names placement.policy ports.name ports.protocol probes.liveness.exec.command
        probes.liveness.grpc.service probes.liveness.http.path probes.liveness.http.scheme
        probes.readiness.exec.command probes.readiness.grpc.service probes.readiness.http.path
        probes.readiness.http.scheme probes.startup.exec.command probes.startup.grpc.service probes.startup.http.path
        probes.startup.http.scheme recovery.ladder rollout.onFailure skills.description skills.examples skills.id
        skills.name skills.tags systemMessage tools.agent.name tools.mcpServer.name tools.mcpServer.toolNames
        tools.mcpServer.url tools.requireApproval
    """,
    Kind.NUMBER: """
        autoscaling.behavior.scaleDown.policies.percent autoscaling.behavior.scaleDown.policies.pods
        autoscaling.behavior.scaleUp.policies.percent autoscaling.behavior.scaleUp.policies.pods autoscaling.max
        autoscaling.min deployment.runAsUser health.failureThreshold health.successThreshold ports.port
        ports.servicePort probes.liveness.failureThreshold probes.liveness.successThreshold
        probes.readiness.failureThreshold probes.readiness.successThreshold probes.startup.failureThreshold
        probes.startup.successThreshold
        recovery.attempts recovery.backoff.factor replicas wave
    """,
    Kind.PERCENT: """
        autoscaling.metrics.cpu autoscaling.metrics.cpu.utilization autoscaling.metrics.memory
        autoscaling.metrics.memory.utilization health.checks.performance.errorRate health.checks.resources.cpu
        health.checks.resources.memory
    """,
    Kind.QUANTITY: """
        autoscaling.metrics.cpu.average autoscaling.metrics.external.average autoscaling.metrics.external.value
        autoscaling.metrics.memory.average autoscaling.metrics.object.average autoscaling.metrics.object.value
        autoscaling.metrics.pods.average
    """,
    Kind.DURATION: """
        alerts.group.interval alerts.group.wait alerts.repeat
        autoscaling.behavior.scaleDown.policies.period autoscaling.behavior.scaleDown.stabilization
        autoscaling.behavior.scaleUp.policies.period autoscaling.behavior.scaleUp.stabilization
        health.checks.connectivity.timeout health.checks.performance.p50 health.checks.performance.p95
        health.checks.performance.p99 health.checks.performance.timeout health.interval placement.failbackAfter
        placement.failoverAfter probes.liveness.initialDelay probes.liveness.period probes.liveness.timeout
        probes.readiness.initialDelay probes.readiness.period probes.readiness.timeout probes.startup.initialDelay
        probes.startup.period probes.startup.timeout recovery.backoff.initial recovery.backoff.max rollout.settle
        rollout.terminationGrace rollout.timeout
    """,
    Kind.ANY: """
        disruption.maxUnavailable disruption.minAvailable health.checks.connectivity.grpc.port
        health.checks.connectivity.http.port health.checks.connectivity.tcp.port health.checks.performance.http.port
        probes.liveness.grpc.port probes.liveness.http.port probes.liveness.tcp.port probes.readiness.grpc.port
        probes.readiness.http.port probes.readiness.tcp.port probes.startup.grpc.port probes.startup.http.port
        probes.startup.tcp.port rollout.maxSurge rollout.maxUnavailable
    """,
    Kind.FLAG: "adopt alerts.resolved deployment.asFound health.checks.critical protect suspend",
}

SPEC: dict[str, Kind] = {f"spec.{path}": kind for kind, text in _FIELDS.items() for path in text.split()}
"""Fields of a resolved spec that hold values."""

MAPS: dict[str, Kind] = {
    "labels": Kind.TEXT,
    "spec.alerts.match.labels": Kind.TEXT,
    "spec.autoscaling.metrics.external.selector": Kind.TEXT,
    "spec.deployment.selector": Kind.TEXT,
    "spec.placement.clusters.matchLabels": Kind.TEXT,
    "spec.placement.weights": Kind.NUMBER,
    "spec.resources.limits": Kind.QUANTITY,
    "spec.resources.requests": Kind.QUANTITY,
}
"""Mappings with keys of the user's. All that follows in a path is one key, whatever dots it has."""

OPEN = ("spec.config", "spec.health.checks.plugin.config", "spec.modelConfig.parameters")
"""Where any JSON may stand."""

RECORD: dict[str, Kind] = {
    "behind": Kind.TEXT,
    "cluster": Kind.TEXT,
    "commit": Kind.TEXT,
    "created": Kind.TIME,
    "health.quarantine.reason": Kind.TEXT,
    "health.quarantine.since": Kind.TIME,
    "home": Kind.TEXT,
    "id": Kind.TEXT,
    "lastSeen": Kind.TIME,
    "message": Kind.TEXT,
    "name": Kind.TEXT,
    "namespace": Kind.TEXT,
    "override.author": Kind.TEXT,
    "override.reason": Kind.TEXT,
    "override.replicas": Kind.NUMBER,
    "override.since": Kind.TIME,
    "override.until": Kind.TIME,
    "protect": Kind.FLAG,
    "replicas": Kind.NUMBER,
    "revision": Kind.NUMBER,
    "source": Kind.TEXT,
    "state": Kind.TEXT,
    "suspended": Kind.FLAG,
    "template": Kind.TEXT,
    "updated": Kind.TIME,
}
"""What a record says of itself, beside its labels and its spec."""

SHORT = {"resources": "spec.resources"}
"""Short forms, which checking writes out: facts have the long one only."""

_LEAVES = SPEC | RECORD
_ABOVE = frozenset(
    ".".join(path.split(".")[:end])
    for path in (*_LEAVES, *MAPS, *OPEN)
    for end in range(1, len(path.split(".")) + (path in OPEN or path in MAPS))
) | {"spec.health.checks.lifecycle", "spec.health.checks.dependencies", "spec.health.checks.a2aCard"}


def joined(keys: Iterable[str]) -> str:
    """The path of keys."""
    return ".".join(f'"{key.replace(chr(34), chr(34) * 2)}"' if _needs_quotes(key) else key for key in keys)


def _needs_quotes(key: str) -> bool:
    return "." in key or '"' in key or not key


def canonical(keys: tuple[str, ...]) -> tuple[str, ...]:
    """The keys of a path as facts have it: short forms written out, and one key where a mapping's keys begin."""
    if keys[0] in SHORT:
        keys = (*SHORT[keys[0]].split("."), *keys[1:])
    for end in range(1, min(len(keys), 6)):
        if ".".join(keys[:end]) in MAPS:
            return (*keys[:end], ".".join(keys[end:]))
    return keys


def kind_of(keys: tuple[str, ...]) -> Kind | None:
    """Of what kind values at a path (canonical keys) are; None where no value can stand, or the path is not known."""
    path = joined(keys)
    kind = _LEAVES.get(path)
    if kind is not None:
        return kind
    if len(keys) > 1 and (kind := MAPS.get(joined(keys[:-1]))) is not None:
        return kind
    return Kind.ANY if any(path.startswith(f"{root}.") for root in OPEN) else None


def is_known(keys: tuple[str, ...]) -> bool:
    """Whether values can stand at a path (canonical keys) or below it."""
    return kind_of(keys) is not None or joined(keys) in _ABOVE


def below(path: str) -> tuple[str, ...]:
    """Known paths right below one that holds no values itself, for hints."""
    prefix = f"{path}."
    found = {name[len(prefix) :].split(".")[0] for name in (*_LEAVES, *MAPS, *OPEN) if name.startswith(prefix)}
    return tuple(prefix + name for name in sorted(found))


def names() -> tuple[str, ...]:
    """All known paths, for "did you mean"."""
    return tuple(sorted({*_LEAVES, *_ABOVE, *SHORT}))
