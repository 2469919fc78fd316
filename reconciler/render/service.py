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
                    # Pods from before an adoption may have no name for it, and serve until the last of them is gone.
                    "targetPort": port.port if spec.deployment else port.name,
                }
                for port in spec.ports
            ],
        },
    }


def serving_port(spec: AgentSpec) -> Port | None:
    """Where the agent speaks A2A: its first TCP port."""
    return next((port for port in spec.ports if port.protocol == "TCP"), None)


def service_url(names: Names, port: Port) -> str:
    """The address inside the cluster; without a cluster domain, which pods' resolvers add."""
    return f"http://{names.service}.{names.namespace}.svc:{port.exposed}/"
