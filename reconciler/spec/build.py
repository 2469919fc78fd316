"""From a validated authoring model to the frozen AgentSpec and FleetSpec. Total functions: nothing is judged here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from reconciler.model.agent import (
    AgentSpec,
    AlertRoute,
    Autoscaling,
    Backoff,
    ClusterSelector,
    DeploymentShape,
    Dimension,
    Disruption,
    EnvVar,
    ExecTarget,
    Expression,
    GrpcTarget,
    Health,
    HealthCheck,
    HttpTarget,
    Metric,
    MetricType,
    ModelConfig,
    PlacementPolicy,
    PlacementRule,
    Port,
    Probe,
    Probes,
    ProbeTarget,
    Recovery,
    Remedy,
    Resources,
    Rollout,
    ScalingPolicy,
    ScalingRules,
    SecretRef,
    Skill,
    TcpTarget,
    Tool,
)
from reconciler.model.identity import AgentName
from reconciler.model.units import Duration, Quantity
from reconciler.spec import authoring as a
from reconciler.spec import authoring_runtime as r
from reconciler.spec.fields import percent

_duration = lru_cache(maxsize=4096)(Duration.parse)
_quantity = lru_cache(maxsize=4096)(Quantity.parse)


def _quantities(texts: Mapping[str, str]) -> dict[str, Quantity]:
    return {name: _quantity(text) for name, text in texts.items()}


def _maybe_quantity(text: str | None) -> Quantity | None:
    return None if text is None else _quantity(text)


def _maybe_duration(text: str | None) -> Duration | None:
    return None if text is None else _duration(text)


def _maybe_percent(text: str | None) -> int | None:
    return None if text is None else percent(text)


def _secret(entry: r.SecretKeyRef | None) -> SecretRef | None:
    return None if entry is None else SecretRef(name=entry.name, key=entry.key)


def agent_name(reference: str, namespace: str) -> AgentName:
    """`ns/name`, or a bare name in `namespace`."""
    first, slash, second = reference.partition("/")
    return AgentName(namespace=first, name=second) if slash else AgentName(namespace=namespace, name=first)


def _target(entry: Any) -> ProbeTarget:
    """Of whatever has one of http, tcp, grpc and exec set."""
    if entry.http is not None:
        return HttpTarget(path=entry.http.path, port=entry.http.port, scheme=entry.http.scheme)
    if entry.tcp is not None:
        return TcpTarget(port=entry.tcp.port)
    if entry.grpc is not None:
        return GrpcTarget(port=entry.grpc.port, service=entry.grpc.service)
    return ExecTarget(command=entry.exec.command)


def _probe(entry: r.ProbeEntry | None) -> Probe | None:
    if entry is None:
        return None
    return Probe(
        target=_target(entry),
        period=_duration(entry.period),
        timeout=_duration(entry.timeout),
        initial_delay=_duration(entry.initial_delay),
        failure_threshold=entry.failure_threshold,
        success_threshold=entry.success_threshold,
    )


def _share(type_: MetricType, share: Any) -> Metric:
    if isinstance(share, str):
        return Metric(type=type_, utilization=percent(share))
    return Metric(type=type_, utilization=_maybe_percent(share.utilization), average=_maybe_quantity(share.average))


def _metric(entry: r.MetricEntry) -> Metric:
    if entry.cpu is not None:
        return _share(MetricType.CPU, entry.cpu)
    if entry.memory is not None:
        return _share(MetricType.MEMORY, entry.memory)
    if entry.pods is not None:
        return Metric(type=MetricType.PODS, name=entry.pods.name, average=_quantity(entry.pods.average))
    if entry.object is not None:
        return Metric(
            type=MetricType.OBJECT,
            name=entry.object.name,
            object=entry.object.object.model_dump(by_alias=True),
            value=_maybe_quantity(entry.object.value),
            average=_maybe_quantity(entry.object.average),
        )
    external = entry.external
    assert external is not None  # noqa: S101 - the model holds that one of five is set
    return Metric(
        type=MetricType.EXTERNAL,
        name=external.name,
        selector=external.selector,
        value=_maybe_quantity(external.value),
        average=_maybe_quantity(external.average),
    )


def _rules(entry: r.ScalingRulesEntry | None) -> ScalingRules | None:
    if entry is None:
        return None
    return ScalingRules(
        stabilization=_maybe_duration(entry.stabilization),
        select_policy=entry.select_policy,
        policies=tuple(
            ScalingPolicy(
                type="Pods" if policy.pods is not None else "Percent",
                value=policy.pods if policy.pods is not None else policy.percent or 0,
                period=_duration(policy.period),
            )
            for policy in entry.policies
        ),
    )


def _autoscaling(entry: r.AutoscalingEntry | None) -> Autoscaling | None:
    if entry is None:
        return None
    behavior = entry.behavior
    return Autoscaling(
        min=entry.min,
        max=entry.max,
        metrics=tuple(map(_metric, entry.metrics)),
        scale_up=_rules(behavior.scale_up) if behavior else None,
        scale_down=_rules(behavior.scale_down) if behavior else None,
    )


def _model(entry: a.ModelConfigEntry | None) -> ModelConfig | None:
    if entry is None:
        return None
    return ModelConfig(
        provider=entry.provider,
        model=entry.model,
        secret=_secret(entry.secret),
        base_url=entry.base_url or "",
        parameters=entry.parameters,
    )


def _tool(entry: a.ToolEntry) -> Tool:
    if entry.mcp_server is not None:
        server = entry.mcp_server
        return Tool(
            mcp_server=server.name,
            url=server.url or "",
            tool_names=server.tool_names,
            require_approval=entry.require_approval,
        )
    return Tool(agent=entry.agent.name if entry.agent else "", require_approval=entry.require_approval)


def _check(entry: a.CheckEntry) -> HealthCheck:
    common: dict[str, Any] = {"name": entry.name, "critical": entry.critical}
    if entry.connectivity is not None:
        target, timeout = _target_of(entry.connectivity), _duration(entry.connectivity.timeout)
        return HealthCheck(dimension=Dimension.CONNECTIVITY, target=target, timeout=timeout, **common)
    if entry.performance is not None:
        wish = entry.performance
        return HealthCheck(
            dimension=Dimension.PERFORMANCE,
            target=HttpTarget(path=wish.http.path, port=wish.http.port, scheme=wish.http.scheme),
            timeout=_duration(wish.timeout),
            p50=_maybe_duration(wish.p50),
            p95=_maybe_duration(wish.p95),
            p99=_maybe_duration(wish.p99),
            error_rate=_maybe_percent(wish.error_rate),
            **common,
        )
    if entry.resources is not None:
        cpu, memory = _maybe_percent(entry.resources.cpu), _maybe_percent(entry.resources.memory)
        return HealthCheck(dimension=Dimension.RESOURCES, cpu=cpu, memory=memory, **common)
    if entry.plugin is not None:
        return HealthCheck(dimension=Dimension.PLUGIN, plugin=entry.plugin.name, config=entry.plugin.config, **common)
    if entry.a2a_card is not None:
        return HealthCheck(dimension=Dimension.CARD, **common)
    dimension = Dimension.LIFECYCLE if entry.lifecycle is not None else Dimension.DEPENDENCIES
    return HealthCheck(dimension=dimension, **common)


def _target_of(entry: a.Connectivity) -> ProbeTarget:
    if entry.http is not None:
        return HttpTarget(path=entry.http.path, port=entry.http.port, scheme=entry.http.scheme)
    if entry.tcp is not None:
        return TcpTarget(port=entry.tcp.port)
    return GrpcTarget(port=entry.grpc.port, service=entry.grpc.service) if entry.grpc else TcpTarget(port=0)


def _placement(entry: a.PlacementEntry) -> PlacementRule:
    chosen = entry.clusters
    selector = (
        ClusterSelector(everything=True)
        if chosen is None
        else ClusterSelector(
            names=chosen.names,
            match_labels=chosen.match_labels,
            match_expressions=tuple(
                Expression(key=item.key, operator=item.operator, values=item.values)
                for item in chosen.match_expressions
            ),
        )
    )
    return PlacementRule(
        clusters=selector,
        policy=PlacementPolicy(entry.policy),
        weights=entry.weights,
        failover_after=_duration(entry.failover_after),
        failback_after=_duration(entry.failback_after),
    )


RECEIVERS = ("webhook", "slack", "pagerduty", "alertmanager", "email", "apprise")


def alert(entry: a.AlertEntry) -> AlertRoute:
    """One alert route."""
    receiver = next(name for name in RECEIVERS if getattr(entry, name) is not None)
    settings = getattr(entry, receiver).model_dump(mode="json", by_alias=True, exclude_none=True)
    match = {
        name: str(value)
        for name in ("severity", "name", "namespace")
        if (value := getattr(entry.match, name)) is not None
    }
    match.update({f"labels.{name}": value for name, value in entry.match.labels.items()})
    group, message = entry.group or a.GroupEntry(), entry.message or a.MessageEntry()
    return AlertRoute(
        name=entry.name,
        match=match,
        receiver=receiver,
        settings=settings,
        group_by=group.by,
        wait=_maybe_duration(group.wait),
        interval=_maybe_duration(group.interval),
        repeat=_maybe_duration(entry.repeat),
        tells_ends=entry.resolved is not False,
        title=message.title or "",
        text=message.text or "",
    )


def _health(entry: a.HealthEntry) -> Health:
    return Health(
        interval=_duration(entry.interval),
        checks=tuple(map(_check, entry.checks)),
        failure_threshold=entry.failure_threshold,
        success_threshold=entry.success_threshold,
    )


def _recovery(entry: a.RecoveryEntry) -> Recovery:
    backoff = entry.backoff
    return Recovery(
        ladder=tuple(Remedy(step) for step in entry.ladder),
        backoff=Backoff(initial=_duration(backoff.initial), factor=backoff.factor, max=_duration(backoff.max)),
        attempts=entry.attempts,
    )


def _rollout(entry: a.RolloutEntry) -> Rollout:
    return Rollout(
        max_surge=entry.max_surge,
        max_unavailable=entry.max_unavailable,
        timeout=_duration(entry.timeout),
        settle=_duration(entry.settle),
        termination_grace=_duration(entry.termination_grace),
        on_failure=entry.on_failure,
    )


def _same(value: Any) -> Any:
    return value


def _env(items: tuple[r.Env, ...]) -> tuple[EnvVar, ...]:
    return tuple(EnvVar(name=item.name, value=item.value, secret=_secret(item.secret)) for item in items)


def _resources(entry: r.ResourcesEntry) -> Resources:
    return Resources(requests=_quantities(entry.requests), limits=_quantities(entry.limits))


def _skills(items: tuple[a.SkillEntry, ...]) -> tuple[Skill, ...]:
    return tuple(
        Skill(id=s.id, name=s.name, description=s.description, tags=s.tags, examples=s.examples) for s in items
    )


def _ports(items: tuple[r.PortEntry, ...]) -> tuple[Port, ...]:
    return tuple(
        Port(name=port.name, port=port.port, protocol=port.protocol, service_port=port.service_port) for port in items
    )


def _deployment(entry: r.DeploymentEntry | None) -> DeploymentShape | None:
    if entry is None:
        return None
    return DeploymentShape(
        selector=entry.selector,
        container=entry.container or "",
        service_account=entry.service_account or "",
        run_as_user=entry.run_as_user,
        as_found=entry.as_found,
    )


def _probes(entry: r.ProbesEntry) -> Probes:
    return Probes(startup=_probe(entry.startup), readiness=_probe(entry.readiness), liveness=_probe(entry.liveness))


def _disruption(entry: a.DisruptionEntry | None) -> Disruption | None:
    if entry is None:
        return None
    return Disruption(min_available=entry.min_available, max_unavailable=entry.max_unavailable)


FIELDS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "description": ("description", _same),
    "image": ("image", lambda image: image or ""),
    "command": ("command", _same),
    "args": ("args", _same),
    "env": ("env", _env),
    "replicas": ("replicas", _same),
    "autoscaling": ("autoscaling", _autoscaling),
    "resources": ("resources", _resources),
    "model_settings": ("model_config", _model),
    "system_message": ("system_message", _same),
    "tools": ("tools", lambda items: tuple(map(_tool, items))),
    "skills": ("skills", _skills),
    "config": ("config", _same),
    "ports": ("ports", _ports),
    "probes": ("probes", _probes),
    "health": ("health", _health),
    "recovery": ("recovery", _recovery),
    "rollout": ("rollout", _rollout),
    "disruption": ("disruption", _disruption),
    "placement": ("placement", _placement),
    "depends_on": ("depends_on", _same),
    "wave": ("wave", _same),
    "alerts": ("alerts", lambda items: tuple(map(alert, items))),
    "suspend": ("suspend", _same),
    "protect": ("protect", _same),
    "adopt": ("adopt", _same),
    "deployment": ("deployment", _deployment),
}
"""Each field of an authoring body: its name in AgentSpec, and how its value is built. No field needs another's value,
so what comes from a template is built once for all agents that inherit it."""
ALIASES: Mapping[str, str] = {name: a.AgentBody.model_fields[name].alias or name for name in FIELDS}


def parts(body: a.AgentBody, fields: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The named fields of a validated body: as values of AgentSpec by its names, and as JSON by YAML names."""
    names = set(fields)
    built = {FIELDS[name][0]: FIELDS[name][1](getattr(body, name)) for name in names}
    shown: dict[str, Any] = body.model_dump(mode="json", by_alias=True, exclude_none=True, include=names)
    return built, shown


def agent_spec(built: Mapping[str, Any], namespace: str) -> AgentSpec:
    """The frozen spec of all parts: `replicas` defaults to 1 without autoscaling, references get a namespace."""
    replicas = None if built["autoscaling"] else (1 if built["replicas"] is None else built["replicas"])
    depends_on = tuple(agent_name(reference, namespace) for reference in built["depends_on"])
    return AgentSpec(**{**built, "replicas": replicas, "depends_on": depends_on})


def agent_document(shown: Mapping[str, Any], spec: AgentSpec) -> dict[str, Any]:
    """The spec as JSON in YAML names, defaults filled in, keys in the order of the model: what plans compare."""
    document = {alias: shown[alias] for alias in ALIASES.values() if alias in shown}
    if spec.replicas is not None:
        document["replicas"] = spec.replicas
    if spec.depends_on:
        document["dependsOn"] = [str(name) for name in spec.depends_on]
    return document
