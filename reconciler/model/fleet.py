"""The Fleet kind, complete and typed, and what reading a whole revision results in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from reconciler.model.agent import Agent, AlertRoute
from reconciler.model.identity import AgentName
from reconciler.model.source import Diagnostic, JsonObject, Revision
from reconciler.model.units import Quantity
from reconciler.model.window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedCluster:
    """`run` "processes" starts each pod as a process of this machine; "nothing" starts none."""

    run: Literal["processes", "nothing"] = "processes"


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesCluster:
    """`context` of the kubeconfig (default: $KUBECONFIG or ~/.kube/config); "" with `in_cluster`."""

    context: str = ""
    kubeconfig: str = ""
    in_cluster: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDeclaration:
    name: str
    backend: EmbeddedCluster | KubernetesCluster
    labels: Mapping[str, str] = field(default_factory=dict)
    weight: int = 1

    @property
    def runs_nothing(self) -> bool:
        """Whether no process is ever started there."""
        return isinstance(self.backend, EmbeddedCluster) and self.backend.run == "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteRegistry:
    """`path` relative to the fleet's state folder."""

    path: str = "registry.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArangoRegistry:
    """Credentials are names of environment variables, never values. `coordinators` are further addresses of the same
    cluster; `ca_file` is relative to the fleet, "" for the usual certificates.
    """

    url: str
    database: str
    username_env: str
    password_env: str
    coordinators: tuple[str, ...] = ()
    ca_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Bounds for the sum of one namespace's agents; None is no bound. Requests are counted times replicas."""

    namespace: str
    agents: int | None = None
    replicas: int | None = None
    cpu: Quantity | None = None
    memory: Quantity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionBudget:
    """At most max(`max`, `percent` of the agents on record) deletions in one plan, per cluster and for the fleet."""

    max: int = 3
    percent: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSpec:
    """All that fleet.yaml says, defaults filled in: at least one cluster, exactly one registry."""

    name: str
    clusters: tuple[ClusterDeclaration, ...]
    registry: SqliteRegistry | ArangoRegistry
    quotas: tuple[Quota, ...] = ()
    deletions: DeletionBudget = DeletionBudget()
    alerts: tuple[AlertRoute, ...] = ()
    windows: tuple[Window, ...] = ()
    document: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """Why agents that this path or name stands for are left as they are: invalid is not missing."""

    reason: str
    diagnostics: tuple[Diagnostic, ...] = ()
    paths: tuple[str, ...] = ()
    """The files that declare an invalid agent."""
    words: frozenset[str] | None = field(default=None, repr=False)
    """All that may be a name in a file that cannot be read; None where nobody can tell: any may stand there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What one revision declares. `fleet` is None when fleet.yaml cannot be used: then nothing may be planned.

    `agents` are valid and complete. `frozen_agents` are declared but invalid. `frozen_paths` are files that cannot
    be read or hold nothing: records whose `source_path` is among them stay as they are. `templates` maps each
    template to the agents that inherit from it, directly or not (its blast radius).
    """

    revision: Revision
    fleet: FleetSpec | None
    agents: Mapping[AgentName, Agent]
    frozen_agents: Mapping[AgentName, Frozen]
    frozen_paths: Mapping[str, Frozen]
    templates: Mapping[str, frozenset[AgentName]]
    diagnostics: tuple[Diagnostic, ...]
    files: int = 0
    """How many YAML files were read."""

    def knows(self, name: AgentName, spec_hash: str = "") -> bool:
        """Whether an agent is declared, valid or not; with a hash: declared just so."""
        agent = self.agents.get(name)
        if spec_hash:
            return agent is not None and agent.spec_hash == spec_hash
        return agent is not None or name in self.frozen_agents
