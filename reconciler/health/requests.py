"""Which probes an agent's checks ask for, at the endpoints that its pods have. Pure."""

from __future__ import annotations

from reconciler.model.agent import AgentSpec, Dimension, ExecTarget, GrpcTarget, HealthCheck, HttpTarget, TcpTarget
from reconciler.model.health import CardProbe, Endpoint, HttpProbe, ProbeRequest, TcpProbe

DEFAULT_TIMEOUT_MS = 2000


def probe_request(check: HealthCheck, spec: AgentSpec, endpoint: Endpoint) -> ProbeRequest | None:
    """The probe that `check` asks for at one pod; None for checks that need none, and where the port is not there.

    A gRPC target is only connected to: whether it answers calls is left to the cluster's own gRPC probe.
    """
    timeout_ms = check.timeout.ms if check.timeout else DEFAULT_TIMEOUT_MS
    if check.dimension is Dimension.CARD:
        serving = next((port.name for port in spec.ports if port.protocol == "TCP"), None)
        port = endpoint.ports.get(serving) if serving else None
        return CardProbe(host=endpoint.host, port=port, timeout_ms=timeout_ms) if port else None
    match check.target:
        case HttpTarget(path=path, port=wanted, scheme=scheme):
            if port := _actual(wanted, spec, endpoint):
                return HttpProbe(host=endpoint.host, port=port, path=path, scheme=scheme.lower(), timeout_ms=timeout_ms)
        case TcpTarget(port=wanted) | GrpcTarget(port=wanted):
            if port := _actual(wanted, spec, endpoint):
                return TcpProbe(host=endpoint.host, port=port, timeout_ms=timeout_ms)
        case ExecTarget() | None:
            pass
    return None


def _actual(wanted: str | int, spec: AgentSpec, endpoint: Endpoint) -> int | None:
    """A declared port, by name or number, as the number that the pod really listens on."""
    for port in spec.ports:
        if wanted in {port.name, port.port}:
            return endpoint.ports.get(port.name)
    return None
