"""Which probes an agent's checks ask for, at the endpoints that its pods have. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.model.agent import (
    Agent,
    AgentSpec,
    Dimension,
    ExecTarget,
    GrpcTarget,
    HealthCheck,
    HttpTarget,
    TcpTarget,
)
from reconciler.model.health import CardProbe, Endpoint, GrpcProbe, HttpProbe, PluginProbe, ProbeRequest, TcpProbe

DEFAULT_TIMEOUT_MS = 2000
MOST_TIMEOUT_MS = 60_000
"""Whatever a check declares: an agent is measured to its end within a minute and its turn."""


def probe_request(check: HealthCheck, spec: AgentSpec, endpoint: Endpoint) -> ProbeRequest | None:
    """The probe that `check` asks for at one pod; None for checks that need none, and where the port is not there."""
    timeout_ms = min(check.timeout.ms if check.timeout else DEFAULT_TIMEOUT_MS, MOST_TIMEOUT_MS)
    if check.dimension is Dimension.CARD:
        serving = next((port.name for port in spec.ports if port.protocol == "TCP"), None)
        port = endpoint.ports.get(serving) if serving else None
        return CardProbe(host=endpoint.host, port=port, timeout_ms=timeout_ms) if port else None
    match check.target:
        case HttpTarget(path=path, port=wanted, scheme=scheme):
            if port := _actual(wanted, spec, endpoint):
                return HttpProbe(host=endpoint.host, port=port, path=path, scheme=scheme.lower(), timeout_ms=timeout_ms)
        case TcpTarget(port=wanted):
            if port := _actual(wanted, spec, endpoint):
                return TcpProbe(host=endpoint.host, port=port, timeout_ms=timeout_ms)
        case GrpcTarget(port=wanted, service=service):
            if port := _actual(wanted, spec, endpoint):
                return GrpcProbe(host=endpoint.host, port=port, service=service, timeout_ms=timeout_ms)
        case ExecTarget() | None:
            pass
    return None


def plugin_request(check: HealthCheck, agent: Agent, endpoints: Sequence[Endpoint]) -> PluginProbe | None:
    """What a plugin is asked, once for all pods; None for checks that are no plugin's."""
    if check.dimension is not Dimension.PLUGIN:
        return None
    return PluginProbe(plugin=check.plugin, agent=agent.name, endpoints=tuple(endpoints), config=check.config)


def _actual(wanted: str | int, spec: AgentSpec, endpoint: Endpoint) -> int | None:
    """A declared port, by name or number, as the number that the pod really listens on."""
    for port in spec.ports:
        if wanted in {port.name, port.port}:
            return endpoint.ports.get(port.name)
    return None
