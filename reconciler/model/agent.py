"""AgentSpec: an agent after templates are resolved, complete and typed. Fields are the YAML names in snake case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from reconciler.model.identity import AgentName
from reconciler.model.source import JsonObject, Layer, Position
from reconciler.model.units import Duration, Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """A key of a Secret in the agent's namespace. Never the value."""

    name: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVar:
    """Exactly one of `value` and `secret` is set."""

    name: str
    value: str | None = None
    secret: SecretRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    name: str
    port: int
    protocol: Literal["TCP", "UDP"] = "TCP"
    service_port: int | None = None
    """Under which number the Service has it; None for the same."""

    @property
    def exposed(self) -> int:
        """The number under which others call it."""
        return self.port if self.service_port is None else self.service_port


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTarget:
    path: str
    port: str | int
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpTarget:
    port: str | int


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcTarget:
    port: str | int
    service: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecTarget:
    command: tuple[str, ...]


ProbeTarget = HttpTarget | TcpTarget | GrpcTarget | ExecTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    target: ProbeTarget
    period: Duration
    timeout: Duration
    initial_delay: Duration
    failure_threshold: int = 3
    success_threshold: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    startup: Probe | None = None
    readiness: Probe | None = None
    liveness: Probe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """`requests` and `limits` by resource name (cpu, memory, ephemeral-storage, nvidia.com/gpu, ...)."""

    requests: Mapping[str, Quantity] = field(default_factory=dict)
    limits: Mapping[str, Quantity] = field(default_factory=dict)


class MetricType(StrEnum):
    CPU = "cpu"
    MEMORY = "memory"
    PODS = "pods"
    OBJECT = "object"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One autoscaling signal. cpu and memory: `utilization` (percent of request) or `average`.

    pods: `name`, `average`. object: `name`, `object` (kind, name, apiVersion), `value` or `average`.
    external: `name`, `selector`, `value` or `average`.
    """

    type: MetricType
    name: str = ""
    utilization: int | None = None
    average: Quantity | None = None
    value: Quantity | None = None
    selector: Mapping[str, str] = field(default_factory=dict)
    object: JsonObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPolicy:
    type: Literal["Pods", "Percent"]
    value: int
    period: Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRules:
    stabilization: Duration | None = None
    select_policy: Literal["Max", "Min", "Disabled"] = "Max"
    policies: tuple[ScalingPolicy, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaling:
    min: int
    max: int
    metrics: tuple[Metric, ...]
    scale_up: ScalingRules | None = None
    scale_down: ScalingRules | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    provider: str
    model: str
    secret: SecretRef | None = None
    base_url: str = ""
    parameters: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """Tools of one MCP server (`mcp_server` set, `tool_names` empty means all), or another agent (`agent` set)."""

    mcp_server: str = ""
    agent: str = ""
    url: str = ""
    tool_names: tuple[str, ...] = ()
    require_approval: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    id: str
    name: str
    description: str
    tags: tuple[str, ...]
    examples: tuple[str, ...] = ()


class Dimension(StrEnum):
    CONNECTIVITY = "connectivity"
    PERFORMANCE = "performance"
    RESOURCES = "resources"
    LIFECYCLE = "lifecycle"
    DEPENDENCIES = "dependencies"
    CARD = "a2aCard"
    PLUGIN = "plugin"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """One named check of one dimension. Which of the other fields are set follows from `dimension`."""

    name: str
    dimension: Dimension
    target: ProbeTarget | None = None
    timeout: Duration | None = None
    p50: Duration | None = None
    p95: Duration | None = None
    p99: Duration | None = None
    error_rate: int | None = None
    """Percent."""
    cpu: int | None = None
    """Percent of the limit, or of the request where there is no limit."""
    memory: int | None = None
    plugin: str = ""
    config: JsonObject = field(default_factory=dict)
    critical: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    interval: Duration
    checks: tuple[HealthCheck, ...] = ()
    failure_threshold: int = 3
    success_threshold: int = 1


class Remedy(StrEnum):
    REPROBE = "reprobe"
    RESTART = "restart"
    RESCHEDULE = "reschedule"
    ROLLBACK = "rollback"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    initial: Duration
    factor: float
    max: Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    ladder: tuple[Remedy, ...]
    backoff: Backoff
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """`max_surge` and `max_unavailable` are counts, or percentages as text like "25%"."""

    max_surge: int | str
    max_unavailable: int | str
    timeout: Duration
    settle: Duration
    termination_grace: Duration
    on_failure: Literal["rollback", "stop"] = "rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disruption:
    """At most one of both is set."""

    min_available: int | str | None = None
    max_unavailable: int | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentShape:
    """What a Deployment had before its agent was declared, and keeps: it could not be taken over otherwise; and how its
    pods run.

    `run_as_user`: a number of a user, None for the image's own. `as_found`: nothing is added to its pods but the
    agent's own config: no security settings, no drain, no PORT.
    """

    selector: Mapping[str, str] = field(default_factory=dict)
    container: str = ""
    service_account: str = ""
    run_as_user: int | None = None
    as_found: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSelector:
    """Clusters by `names`, or by labels. With nothing set at all in YAML it means every cluster (`everything`)."""

    names: tuple[str, ...] = ()
    match_labels: Mapping[str, str] = field(default_factory=dict)
    match_expressions: tuple[Expression, ...] = ()
    everything: bool = False


class PlacementPolicy(StrEnum):
    ALL = "all"
    SPREAD = "spread"
    WEIGHTED = "weighted"
    FAILOVER = "failover"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementRule:
    """Where an agent may run. `weights` by cluster name override the clusters' own.

    Under failover: how long a cluster must be unwell before it is left, and well before it is returned to.
    """

    clusters: ClusterSelector
    policy: PlacementPolicy
    weights: Mapping[str, int] = field(default_factory=dict)
    failover_after: Duration | None = None
    failback_after: Duration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRoute:
    """Where alerts go. `match` by severity (at least), name, namespace or label; one receiver, `receiver` -> settings.

    Alerts that are equal in `group_by` are told together: `wait` after the first, at most once every `interval`, and
    again every `repeat`; None is what suits the receiver. `title` and `text` are templates, "" for ours.
    """

    name: str
    match: Mapping[str, str] = field(default_factory=dict)
    receiver: str = ""
    settings: JsonObject = field(default_factory=dict)
    group_by: tuple[str, ...] | None = None
    wait: Duration | None = None
    interval: Duration | None = None
    repeat: Duration | None = None
    tells_ends: bool = True
    title: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """An agent, complete: defaults are filled in, `extends` is gone. `replicas` is None exactly with `autoscaling`."""

    description: str
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: tuple[EnvVar, ...]
    replicas: int | None
    autoscaling: Autoscaling | None
    resources: Resources
    model_config: ModelConfig | None
    system_message: str
    tools: tuple[Tool, ...]
    skills: tuple[Skill, ...]
    config: JsonObject
    ports: tuple[Port, ...]
    probes: Probes
    health: Health
    recovery: Recovery
    rollout: Rollout
    disruption: Disruption | None
    placement: PlacementRule
    depends_on: tuple[AgentName, ...]
    wave: int
    alerts: tuple[AlertRoute, ...]
    suspend: bool
    protect: bool
    adopt: bool
    deployment: DeploymentShape | None = None

    @property
    def as_found(self) -> bool:
        """Whether pods stay as they were before the agent was declared."""
        return self.deployment is not None and self.deployment.as_found

    @property
    def min_replicas(self) -> int:
        """Replicas to reserve and to place: the declared number, or the autoscaler's minimum; 0 while suspended."""
        if self.suspend:
            return 0
        return self.autoscaling.min if self.autoscaling else (self.replicas or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A resolved agent of a fleet.

    `document` is the resolved spec as JSON (YAML names, templates merged, defaults filled in, canonical order):
    what plans compare and registries keep. `spec_hash` is the hex SHA-256 of its canonical bytes and of the labels.
    `layers` runs from the first template to the agent's own file. Secret-looking literals are in `document` as they
    are; `sensitive` lists their paths and whoever shows values masks them.
    """

    name: AgentName
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: AgentSpec
    document: JsonObject
    spec_hash: str
    layers: tuple[Layer, ...]
    position: Position
    sensitive: tuple[tuple[str, ...], ...] = ()

    @property
    def lineage(self) -> tuple[str, ...]:
        """Template names, nearest last, each once."""
        return tuple(dict.fromkeys(layer.name for layer in self.layers if layer.name))
