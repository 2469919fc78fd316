"""The Service: one stable address in front of an agent's pods, where it listens at all."""

from __future__ import annotations

from typing import Any

from reconciler.model.agent import AgentSpec, Port
from reconciler.render.metadata import Names


def service(names: Names, spec: AgentSpec) -> dict[str, Any] | None:
    """Its type is said although it is the default: another opens the agent to the outside, or sends callers away.

    Unless it was there before the agent: then outside may be where its callers are.
    """
    if not spec.ports:
        return None
    return {
        **names.head("", "v1", "Service"),
        "spec": {
            **({} if spec.as_found else {"type": "ClusterIP"}),
            "selector": dict(names.selector),
            "ports": [
                {
                    "name": port.name,
                    "port": port.exposed,
                    "protocol": port.protocol,
                    "targetPort": _target(port, spec),
                }
                for port in spec.ports
            ],
        },
    }


def _target(port: Port, spec: AgentSpec) -> int | str:
    """What finds the port on pods of another revision too, which serve until the last of them is gone.

    They may know it by another name: before an adoption by none. Its number they have, for another one is another
    address for callers as well; but where the Service's is declared by itself, the pods' may change behind it.
    """
    return port.port if port.service_port is None or spec.deployment else port.name


def serving_port(spec: AgentSpec) -> Port | None:
    """Where the agent speaks A2A: its first TCP port."""
    return next((port for port in spec.ports if port.protocol == "TCP"), None)


def service_url(names: Names, port: Port) -> str:
    """The address inside the cluster; without a cluster domain, which pods' resolvers add."""
    return f"http://{names.service}.{names.namespace}.svc:{port.exposed}/"
