"""Authoring models of what runs: environment, ports, probes, resources, autoscaling. Shape only.

May live here: one class a YAML mapping of the process side of an agent. Must not: know files, other documents or
defaults that depend on them.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from reconciler.spec.fields import (
    DurationText,
    EnvName,
    Flag,
    Label,
    LabelKey,
    Labels,
    Line,
    Model,
    ObjectName,
    PercentText,
    PortName,
    PortNumber,
    PortReference,
    QuantityText,
    SecretKey,
    Segment,
    Text,
    Threshold,
    UserNumber,
    exactly_one,
    one_of_schema,
)

MAX_ITEMS = 256
Items = Field(default=(), max_length=MAX_ITEMS)


class SecretKeyRef(Model):
    name: ObjectName
    key: SecretKey


class Env(Model):
    model_config = one_of_schema(("value", "secret"))
    name: EnvName
    value: Text | None = None
    secret: SecretKeyRef | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, ("value", "secret"), "an env entry")
        return self


class PortEntry(Model):
    name: PortName
    port: PortNumber
    protocol: Literal["TCP", "UDP"] = "TCP"
    service_port: PortNumber | None = None


class DeploymentEntry(Model):
    selector: Labels = Field(default_factory=dict)
    container: Label | None = None
    service_account: ObjectName | None = None
    run_as_user: UserNumber | None = None
    as_found: Flag = False


class Http(Model):
    path: Annotated[str, Field(strict=True, pattern=r"^/[^\s]*$", max_length=1024)]
    port: PortReference
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"


class Tcp(Model):
    port: PortReference


class Grpc(Model):
    port: PortReference
    service: Annotated[str, Field(strict=True, max_length=253)] = ""


class Exec(Model):
    command: Annotated[tuple[Line, ...], Field(min_length=1, max_length=MAX_ITEMS)]


_PROBE = ("http", "tcp", "grpc", "exec")


class ProbeEntry(Model):
    model_config = one_of_schema(_PROBE)
    http: Http | None = None
    tcp: Tcp | None = None
    grpc: Grpc | None = None
    exec: Exec | None = None
    period: DurationText = "10s"
    timeout: DurationText = "1s"
    initial_delay: DurationText = "0s"
    failure_threshold: Threshold = 3
    success_threshold: Threshold = 1

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, _PROBE, "a probe")
        return self


class ProbesEntry(Model):
    startup: ProbeEntry | None = None
    readiness: ProbeEntry | None = None
    liveness: ProbeEntry | None = None


class ResourcesEntry(Model):
    requests: dict[LabelKey, QuantityText] = Field(default_factory=dict)
    limits: dict[LabelKey, QuantityText] = Field(default_factory=dict)


class Share(Model):
    model_config = one_of_schema(("utilization", "average"))
    utilization: PercentText | None = None
    average: QuantityText | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, ("utilization", "average"), "a cpu or memory metric")
        return self


class PodsMetric(Model):
    name: Segment
    average: QuantityText


class MetricObject(Model):
    api_version: Line
    kind: Segment
    name: Segment


class ObjectMetric(Model):
    model_config = one_of_schema(("value", "average"))
    name: Segment
    object: MetricObject
    value: QuantityText | None = None
    average: QuantityText | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, ("value", "average"), "an object metric")
        return self


class ExternalMetric(Model):
    model_config = one_of_schema(("value", "average"))
    name: Segment
    selector: Labels = Field(default_factory=dict)
    value: QuantityText | None = None
    average: QuantityText | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, ("value", "average"), "an external metric")
        return self


_METRIC = ("cpu", "memory", "pods", "object", "external")


class MetricEntry(Model):
    model_config = one_of_schema(_METRIC)
    cpu: PercentText | Share | None = None
    memory: PercentText | Share | None = None
    pods: PodsMetric | None = None
    object: ObjectMetric | None = None
    external: ExternalMetric | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, _METRIC, "a metric")
        return self


class ScalingPolicyEntry(Model):
    model_config = one_of_schema(("pods", "percent"))
    pods: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = None
    percent: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = None
    period: DurationText

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, ("pods", "percent"), "a scaling policy")
        return self


class ScalingRulesEntry(Model):
    stabilization: DurationText | None = None
    select_policy: Literal["Max", "Min", "Disabled"] = "Max"
    policies: tuple[ScalingPolicyEntry, ...] = Items


class BehaviorEntry(Model):
    scale_up: ScalingRulesEntry | None = None
    scale_down: ScalingRulesEntry | None = None


class AutoscalingEntry(Model):
    min: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 1
    max: Annotated[int, Field(strict=True, ge=1, le=10_000)]
    metrics: Annotated[tuple[MetricEntry, ...], Field(min_length=1, max_length=MAX_ITEMS)]
    behavior: BehaviorEntry | None = None
