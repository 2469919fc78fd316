"""Authoring models: the shape of what people write for agents and templates. Pydantic, and nothing but shape.

May live here: one class a YAML mapping, rules that one mapping can be judged by alone. Must not: know files, other
documents or defaults that depend on them. The process side of an agent is in authoring_runtime.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictStr, model_validator

from reconciler.spec.authoring_runtime import (
    MAX_ITEMS,
    AutoscalingEntry,
    DeploymentEntry,
    Env,
    Grpc,
    Http,
    Items,
    PortEntry,
    ProbesEntry,
    ResourcesEntry,
    SecretKeyRef,
    Tcp,
)
from reconciler.spec.fields import (
    AgentNameText,
    CountOrPercent,
    DurationText,
    EnvName,
    Flag,
    Label,
    LabelKey,
    Labels,
    LabelValue,
    Line,
    Model,
    PercentText,
    ReferenceText,
    Replicas,
    TemplateText,
    Text,
    Threshold,
    Url,
    Weight,
    at_least_one,
    exactly_one,
    one_of_schema,
)


class ModelConfigEntry(Model):
    provider: Line
    model: Line
    secret: SecretKeyRef | None = None
    base_url: Url | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class McpServer(Model):
    name: Line
    tool_names: tuple[Line, ...] = Items
    url: Url | None = None


class ToolAgent(Model):
    name: ReferenceText


class ToolEntry(Model):
    model_config = one_of_schema(("mcp_server", "agent"))
    mcp_server: McpServer | None = None
    agent: ToolAgent | None = None
    require_approval: tuple[Line, ...] = Items

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, ("mcp_server", "agent"), "a tool")
        return self


class SkillEntry(Model):
    id: Line
    name: Line
    description: Text
    tags: tuple[Line, ...] = Items
    examples: tuple[Text, ...] = Items


_TARGET = ("http", "tcp", "grpc")


class Connectivity(Model):
    model_config = one_of_schema(_TARGET)
    http: Http | None = None
    tcp: Tcp | None = None
    grpc: Grpc | None = None
    timeout: DurationText = "2s"

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, _TARGET, "a connectivity check")
        return self


class Performance(Model):
    http: Http
    timeout: DurationText = "2s"
    p50: DurationText | None = None
    p95: DurationText | None = None
    p99: DurationText | None = None
    error_rate: PercentText | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        at_least_one(self, ("p50", "p95", "p99", "error_rate"), "a performance check")
        return self


class ResourceShare(Model):
    cpu: PercentText | None = None
    memory: PercentText | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        at_least_one(self, ("cpu", "memory"), "a resources check")
        return self


class Nothing(Model):
    """An empty mapping: the check has no settings."""


class Plugin(Model):
    name: Line
    config: dict[str, Any] = Field(default_factory=dict)


_CHECK = ("connectivity", "performance", "resources", "lifecycle", "dependencies", "a2a_card", "plugin")


class CheckEntry(Model):
    model_config = one_of_schema(_CHECK)
    name: Line
    connectivity: Connectivity | None = None
    performance: Performance | None = None
    resources: ResourceShare | None = None
    lifecycle: Nothing | None = None
    dependencies: Nothing | None = None
    a2a_card: Nothing | None = Field(default=None, alias="a2aCard")
    plugin: Plugin | None = None
    critical: Flag = True

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, _CHECK, "a check")
        return self


class HealthEntry(Model):
    interval: DurationText = "30s"
    checks: tuple[CheckEntry, ...] = Items
    failure_threshold: Threshold = 3
    success_threshold: Threshold = 1


class BackoffEntry(Model):
    initial: DurationText = "10s"
    factor: Annotated[float, Field(ge=1, le=100, strict=True)] = 2.0
    max: DurationText = "5m"


class RecoveryEntry(Model):
    ladder: Annotated[
        tuple[Literal["reprobe", "restart", "reschedule", "rollback", "quarantine"], ...],
        Field(min_length=1, max_length=5),
    ] = ("restart", "rollback", "quarantine")
    backoff: BackoffEntry = BackoffEntry()
    attempts: Annotated[int, Field(strict=True, ge=0, le=1000)] = 5


class RolloutEntry(Model):
    max_surge: CountOrPercent = 1
    max_unavailable: CountOrPercent = 0
    timeout: DurationText = "2m"
    settle: DurationText = "2s"
    termination_grace: DurationText = "30s"
    on_failure: Literal["rollback", "stop"] = "rollback"


class DisruptionEntry(Model):
    model_config = one_of_schema(("min_available", "max_unavailable"))
    min_available: CountOrPercent | None = None
    max_unavailable: CountOrPercent | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, ("min_available", "max_unavailable"), "disruption")
        return self


class ExpressionEntry(Model):
    key: LabelKey
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[LabelValue, ...] = Items


class SelectorEntry(Model):
    names: tuple[Label, ...] = Items
    match_labels: Labels = Field(default_factory=dict)
    match_expressions: tuple[ExpressionEntry, ...] = Items


class PlacementEntry(Model):
    clusters: SelectorEntry | None = None
    policy: Literal["all", "spread", "weighted", "failover"] = "spread"
    """`spread` unless said: with one cluster all policies are the same, and with several it keeps `replicas` the
    total that the author wrote, where `all` would multiply it."""
    weights: dict[Label, Weight] = Field(default_factory=dict)
    failover_after: DurationText = "5m"
    failback_after: DurationText = "10m"


class Match(Model):
    severity: Literal["info", "warning", "critical"] | None = None
    name: Line | None = None
    namespace: Label | None = None
    labels: Labels = Field(default_factory=dict)


_RECEIVER = ("webhook", "slack", "pagerduty", "alertmanager", "email", "apprise")


class UrlReceiver(Model):
    url_env: EnvName


class WebhookReceiver(Model):
    url_env: EnvName
    secret_env: EnvName | None = None


class KeyReceiver(Model):
    routing_key_env: EnvName
    url_env: EnvName | None = None


class AlertmanagerReceiver(Model):
    url_env: EnvName
    token_env: EnvName | None = None


class EmailReceiver(Model):
    to: Annotated[tuple[Line, ...], Field(min_length=1, max_length=MAX_ITEMS)]
    smtp_env: EnvName = "SMTP_URL"
    sender: Line | None = Field(default=None, alias="from")


GroupFact = Annotated[
    StrictStr,
    Field(pattern=r"^(alert|name|namespace|agent|cluster|severity|labels\.[-A-Za-z0-9_./]+)$", max_length=300),
]


class GroupEntry(Model):
    by: Annotated[tuple[GroupFact, ...], Field(max_length=8)] | None = None
    wait: DurationText | None = None
    interval: DurationText | None = None


class MessageEntry(Model):
    title: TemplateText | None = None
    text: TemplateText | None = None


class AlertEntry(Model):
    model_config = one_of_schema(_RECEIVER)
    name: Line
    match: Match = Match()
    webhook: WebhookReceiver | None = None
    slack: UrlReceiver | None = None
    pagerduty: KeyReceiver | None = None
    alertmanager: AlertmanagerReceiver | None = None
    email: EmailReceiver | None = None
    apprise: UrlReceiver | None = None
    group: GroupEntry | None = None
    repeat: DurationText | None = None
    resolved: Flag | None = None
    """Left out where it is not said, so that documents of agents stay as they were."""
    message: MessageEntry | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, _RECEIVER, "an alert route")
        return self


class AgentBody(Model):
    """The spec of an Agent or AgentTemplate. All may be left out: what an agent needs is checked after merging."""

    extends: Annotated[tuple[Label, ...], Field(max_length=16)] = ()
    description: Text = ""
    image: Annotated[str, Field(strict=True, min_length=1, max_length=512, pattern=r"^[^\s]+$")] | None = None
    command: tuple[Line, ...] = Items
    args: tuple[Text, ...] = Items
    env: tuple[Env, ...] = Items
    replicas: Replicas | None = None
    autoscaling: AutoscalingEntry | None = None
    resources: ResourcesEntry = ResourcesEntry()
    model_settings: ModelConfigEntry | None = Field(default=None, alias="modelConfig")
    system_message: Text = ""
    tools: tuple[ToolEntry, ...] = Items
    skills: tuple[SkillEntry, ...] = Items
    config: dict[str, Any] = Field(default_factory=dict)
    ports: tuple[PortEntry, ...] = Items
    probes: ProbesEntry = ProbesEntry()
    health: HealthEntry = HealthEntry()
    recovery: RecoveryEntry = RecoveryEntry()
    rollout: RolloutEntry = RolloutEntry()
    disruption: DisruptionEntry | None = None
    placement: PlacementEntry = PlacementEntry()
    depends_on: tuple[ReferenceText, ...] = Items
    wave: Annotated[int, Field(strict=True, ge=0, le=1000)] = 0
    alerts: tuple[AlertEntry, ...] = Items
    suspend: Flag = False
    protect: Flag = False
    adopt: Flag = False
    deployment: DeploymentEntry | None = None


class AgentMetadata(Model):
    name: AgentNameText
    namespace: Label | None = None
    labels: Labels = Field(default_factory=dict)
    annotations: dict[LabelKey, Text] = Field(default_factory=dict)


class TemplateMetadata(Model):
    name: Label
    labels: Labels = Field(default_factory=dict)
    annotations: dict[LabelKey, Text] = Field(default_factory=dict)
