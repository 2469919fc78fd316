"""The one container of an agent's pods: environment, ports, probes, resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.model.agent import (
    Agent,
    AgentSpec,
    EnvVar,
    ExecTarget,
    GrpcTarget,
    HttpTarget,
    Probe,
    ProbeTarget,
    SecretRef,
    TcpTarget,
)
from reconciler.model.units import Quantity
from reconciler.render.configmap import AGENT_FILE, CARD_FILE, MODEL_KEY_ENV

CONTAINER = "agent"
CONFIG_DIR = "/etc/agent"
CONFIG_VOLUME = "agent-config"
TMP_VOLUME = "agent-tmp"
"""Names that no volume of a Deployment has by chance which is taken over."""
HARDENED: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def container(agent: Agent, *, pre_stop_s: int) -> dict[str, Any]:
    """The container. Of what an API server does not store (empty, zero, false defaults) only that is said which an
    agent declares: said, it is ours, and who writes another value there is found.
    """
    spec = agent.spec
    body: dict[str, Any] = {
        "name": container_name(spec),
        "image": spec.image,
        "env": environment(agent),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": CONFIG_VOLUME, "mountPath": CONFIG_DIR, "readOnly": True}],
    }
    if not spec.as_found:
        body["securityContext"] = dict(HARDENED)
        body["volumeMounts"].append({"name": TMP_VOLUME, "mountPath": "/tmp"})  # noqa: S108 - an emptyDir of the pod
    if spec.command:
        body["command"] = list(spec.command)
    if spec.args:
        body["args"] = list(spec.args)
    if spec.ports:
        body["ports"] = [
            {"name": port.name, "containerPort": port.port, "protocol": port.protocol} for port in spec.ports
        ]
    if resources := _resources(spec):
        body["resources"] = resources
    if pre_stop_s:
        body["lifecycle"] = {"preStop": {"sleep": {"seconds": pre_stop_s}}}
    for key, probe in (
        ("startupProbe", spec.probes.startup),
        ("readinessProbe", spec.probes.readiness),
        ("livenessProbe", spec.probes.liveness),
    ):
        if probe is not None:
            body[key] = _probe(probe, spec, many_successes=key == "readinessProbe")
    return body


def container_name(spec: AgentSpec) -> str:
    """What the agent's container is called."""
    return (spec.deployment.container if spec.deployment else "") or CONTAINER


def environment(agent: Agent) -> list[dict[str, Any]]:
    """What the process finds in its environment: ours first, in a fixed order; what the spec sets is the spec's."""
    spec = agent.spec
    own = {
        "AGENT_NAME": agent.name.name,
        "AGENT_NAMESPACE": agent.name.namespace,
        "AGENT_CONFIG": f"{CONFIG_DIR}/{AGENT_FILE}",
        "AGENT_CARD": f"{CONFIG_DIR}/{CARD_FILE}",
    }
    if spec.ports and not spec.as_found:
        own["HOST"] = "0.0.0.0"  # noqa: S104 - inside a pod: all of the pod's addresses
        own["PORT"] = str(spec.ports[0].port)
        own |= {f"PORT_{port.name.upper().replace('-', '_')}": str(port.port) for port in spec.ports}
    entries: dict[str, dict[str, Any]] = {name: {"name": name, "value": value} for name, value in own.items()}
    if spec.model_config is not None and spec.model_config.secret is not None:
        entries[MODEL_KEY_ENV] = _from_secret(MODEL_KEY_ENV, spec.model_config.secret)
    for variable in spec.env:
        entries[variable.name] = env_entry(variable)
    return list(entries.values())


def env_entry(variable: EnvVar) -> dict[str, Any]:
    """One variable of a container."""
    if variable.secret is not None:
        return _from_secret(variable.name, variable.secret)
    return {"name": variable.name, "value": variable.value or ""}


def _from_secret(name: str, secret: SecretRef) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}}}


def _resources(spec: AgentSpec) -> dict[str, Any]:
    both = {"requests": _amounts(spec.resources.requests), "limits": _amounts(spec.resources.limits)}
    return {key: amounts for key, amounts in both.items() if amounts}


def _amounts(quantities: Mapping[str, Quantity]) -> dict[str, str]:
    return {name: quantity.canonical() for name, quantity in quantities.items()}


def _probe(probe: Probe, spec: AgentSpec, *, many_successes: bool) -> dict[str, Any]:
    """Whole seconds, at least one; only a readiness probe may ask for more than one success."""
    return {
        **_target(probe.target, spec),
        "initialDelaySeconds": probe.initial_delay.whole_seconds(),
        "periodSeconds": max(1, probe.period.whole_seconds()),
        "timeoutSeconds": max(1, probe.timeout.whole_seconds()),
        "failureThreshold": probe.failure_threshold,
        "successThreshold": probe.success_threshold if many_successes else 1,
    }


def _target(target: ProbeTarget, spec: AgentSpec) -> dict[str, Any]:
    match target:
        case HttpTarget():
            return {"httpGet": {"path": target.path, "port": target.port, "scheme": target.scheme}}
        case TcpTarget():
            return {"tcpSocket": {"port": target.port}}
        case GrpcTarget():
            return {"grpc": {"port": port_number(target.port, spec), "service": target.service}}
        case ExecTarget():
            return {"exec": {"command": list(target.command)}}


def port_number(port: str | int, spec: AgentSpec) -> int:
    """The number of a port given by name or number. Raises LookupError for a name that the agent does not have."""
    if isinstance(port, int):
        return port
    for declared in spec.ports:
        if declared.name == port:
            return declared.port
    raise LookupError(f"no port is named {port!r}")
