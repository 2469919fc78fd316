"""Authoring models of fleet.yaml, and of the three kinds as whole documents. Shape only."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from reconciler.spec.authoring import AgentBody, AgentMetadata, AlertEntry, TemplateMetadata
from reconciler.spec.authoring_runtime import Items
from reconciler.spec.fields import (
    EnvName,
    Flag,
    Label,
    Labels,
    Line,
    Model,
    QuantityText,
    Text,
    TimeOfDay,
    TimeZone,
    Url,
    Weight,
    exactly_one,
    one_of_schema,
)

Count = Annotated[int, Field(strict=True, ge=0, le=10_000_000)]


class Embedded(Model):
    run: Literal["processes", "nothing"] = "processes"


class Kubernetes(Model):
    context: Line | None = None
    kubeconfig: Line | None = None
    in_cluster: Flag = False


class ClusterEntry(Model):
    model_config = one_of_schema(("embedded", "kubernetes"))
    name: Label
    embedded: Embedded | None = None
    kubernetes: Kubernetes | None = None
    labels: Labels = Field(default_factory=dict)
    weight: Weight = 1

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, ("embedded", "kubernetes"), "a cluster")
        return self


class Arango(Model):
    url: Url
    coordinators: Annotated[tuple[Url, ...], Field(max_length=16)] = Items
    ca_file: Line | None = None
    database: Label
    username_env: EnvName
    password_env: EnvName


class Sqlite(Model):
    path: Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9_-][-A-Za-z0-9_.]*$", max_length=128)] = "registry.db"


class RegistryEntry(Model):
    model_config = one_of_schema(("sqlite", "arango"))
    sqlite: Sqlite | None = None
    arango: Arango | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, ("sqlite", "arango"), "the registry")
        return self


class QuotaEntry(Model):
    namespace: Label
    agents: Count | None = None
    replicas: Count | None = None
    cpu: QuantityText | None = None
    memory: QuantityText | None = None


class Deletions(Model):
    max: Count = 3
    percent: Annotated[int, Field(strict=True, ge=0, le=100)] = 10


class WindowMatch(Model):
    namespaces: Annotated[tuple[Label, ...], Field(max_length=1000)] = Items
    labels: Labels = Field(default_factory=dict)


class WindowEntry(Model):
    name: Label
    effect: Literal["allow", "deny"] = "allow"
    days: Annotated[tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...], Field(max_length=7)] = Items
    start: TimeOfDay = Field(default="00:00", alias="from")
    end: TimeOfDay = Field(default="24:00", alias="to")
    timezone: TimeZone = "UTC"
    match: WindowMatch = WindowMatch()


class FleetBody(Model):
    clusters: tuple[ClusterEntry, ...] = Items
    registry: RegistryEntry = RegistryEntry(sqlite=Sqlite())
    quotas: tuple[QuotaEntry, ...] = Items
    deletions: Deletions = Deletions()
    alerts: tuple[AlertEntry, ...] = Items
    windows: Annotated[tuple[WindowEntry, ...], Field(max_length=100)] = Items

    @model_validator(mode="after")
    def _unique(self) -> Self:
        declared = {
            "cluster": [one.name for one in self.clusters],
            "window": [one.name for one in self.windows],
            "alert route": [one.name for one in self.alerts],
            "quota of": [one.namespace for one in self.quotas],
        }
        for what, names in declared.items():
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                text = "the {what} {name} is declared twice"
                raise PydanticCustomError("duplicate_name", text, {"what": what, "name": twice[0]})
        return self


class FleetMetadata(Model):
    name: Label
    labels: Labels = Field(default_factory=dict)
    annotations: dict[Line, Text] = Field(default_factory=dict)


API_VERSION = "agents.codevald.io/v1"


class FleetDocument(Model):
    """A fleet: clusters, registry, quotas, budgets. Stands in fleet.yaml."""

    model_config = ConfigDict(title="Fleet")
    api_version: Literal["agents.codevald.io/v1"]
    kind: Literal["Fleet"]
    metadata: FleetMetadata
    spec: FleetBody = FleetBody()


class TemplateDocument(Model):
    """What several agents have in common. Agents and templates name it in `extends`."""

    model_config = ConfigDict(title="AgentTemplate")
    api_version: Literal["agents.codevald.io/v1"]
    kind: Literal["AgentTemplate"]
    metadata: TemplateMetadata
    spec: AgentBody = AgentBody()


class AgentDocument(Model):
    """One agent of the fleet."""

    model_config = ConfigDict(title="Agent")
    api_version: Literal["agents.codevald.io/v1"]
    kind: Literal["Agent"]
    metadata: AgentMetadata
    spec: AgentBody = AgentBody()


DOCUMENTS: dict[str, type[FleetDocument | TemplateDocument | AgentDocument]] = {
    "Fleet": FleetDocument,
    "AgentTemplate": TemplateDocument,
    "Agent": AgentDocument,
}
