"""The ServiceExport: callers in other clusters find the agent behind one name (Kubernetes' multi-cluster Services API).

Only where that API is installed, for agents that run on several clusters or may.
Source: KEP-1645; a ServiceExport has the name of its Service and needs no spec.
"""

from __future__ import annotations

from typing import Any

from reconciler.model.agent import AgentSpec
from reconciler.render.metadata import Names


def service_export(names: Names, spec: AgentSpec) -> dict[str, Any] | None:
    if not spec.ports:
        return None
    return names.head("multicluster.x-k8s.io", "v1alpha1", "ServiceExport")
