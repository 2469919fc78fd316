"""The ServiceAccount: an identity of its own for each agent, without a token in its pods."""

from __future__ import annotations

from typing import Any

from reconciler.model.agent import AgentSpec
from reconciler.render.metadata import Names


def service_account(names: Names, spec: AgentSpec) -> dict[str, Any] | None:
    """None where the pods run as one that is somebody else's."""
    if spec.deployment is not None and spec.deployment.service_account:
        return None
    return {**names.head("", "v1", "ServiceAccount"), "automountServiceAccountToken": False}
