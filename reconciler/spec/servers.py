"""What every API server would refuse of a finished spec, told before anything is applied.

May live here: rules of Kubernetes over what we render. Must not: know files, templates or other agents.
Source: the validation of apps/v1, autoscaling/v2 and v1 in Kubernetes 1.36.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

import msgspec

from reconciler.model.agent import AgentSpec, Resources, ScalingRules
from reconciler.model.identity import FieldPath
from reconciler.model.units import Duration, Quantity
from reconciler.spec.shape import Problem

_NATIVE = frozenset({"cpu", "memory", "ephemeral-storage"})
_PAGES = "hugepages-"
_DEVICE = re.compile(r"(?!requests\.)[^/]+/.+\Z")
_LONGEST_PERIOD = Duration.parse("30m")
_CONFIG_MAP = 1_048_576
_MOST_LAID_OUT = 128
"""So many times longer JSON becomes at most by line feeds and indents, at the depth that files may have."""
_encode = msgspec.json.Encoder().encode
_LONGEST_STABILIZATION = Duration.parse("1h")


def taken_by_servers(spec: AgentSpec) -> Iterator[Problem]:
    """Rules over the resources and the autoscaling of a finished spec."""
    yield from _resources(spec.resources)
    yield from _told(spec)
    scaling = spec.autoscaling
    if scaling is None:
        return
    for index, metric in enumerate(scaling.metrics):
        aims = (metric.utilization, metric.average and metric.average.value, metric.value and metric.value.value)
        if 0 in aims:
            message = "0 is nothing to scale by: more than that must be aimed at"
            yield Problem(code="out-of-range", message=message, path=("autoscaling", "metrics", f"[{index}]"))
    for name, rules in (("scaleUp", scaling.scale_up), ("scaleDown", scaling.scale_down)):
        if rules is not None:
            yield from _rules(rules, ("autoscaling", "behavior", name))


def _told(spec: AgentSpec) -> Iterator[Problem]:
    """A ConfigMap holds all that an agent is told, and its card: JSON laid out for people, in a bounded size."""
    model = spec.model_config
    told = [spec.description, spec.system_message, spec.config, model and model.parameters, spec.tools, spec.skills]
    compact = _encode(told)
    if len(compact) * _MOST_LAID_OUT < _CONFIG_MAP:
        return
    size = len(msgspec.json.format(compact, indent=2)) + len(msgspec.json.format(_encode([spec.skills]), indent=2))
    if size > _CONFIG_MAP:
        message = f"what the agent is told comes to {size} bytes of JSON, and a ConfigMap holds {_CONFIG_MAP}"
        hint = "keep large data in the image, or behind a tool"
        yield Problem(code="out-of-range", message=message, path=("config",), hint=hint, key=True)


def _rules(rules: ScalingRules, path: FieldPath) -> Iterator[Problem]:
    if rules.stabilization is not None and rules.stabilization > _LONGEST_STABILIZATION:
        message = f"stabilization is {_LONGEST_STABILIZATION} at most"
        yield Problem(code="out-of-range", message=message, path=(*path, "stabilization"))
    for index, policy in enumerate(rules.policies):
        if policy.period > _LONGEST_PERIOD:
            message = f"the period of a policy is {_LONGEST_PERIOD} at most"
            yield Problem(code="out-of-range", message=message, path=(*path, "policies", f"[{index}]", "period"))


def _resources(resources: Resources) -> Iterator[Problem]:
    for group, amounts in (("requests", resources.requests), ("limits", resources.limits)):
        for name, amount in amounts.items():
            yield from _amount(name, amount, ("resources", group, name))
    for name, request in resources.requests.items():
        limit = resources.limits.get(name)
        if not _is_native(name) and (limit is None or request < limit):
            message = f"of {name} no more is promised than there is: its limit must be its request, {request}"
            hint = f"say resources.limits.{name}: {request}"
            yield Problem(code="missing-limit", message=message, path=("resources", "requests", name), hint=hint)
    named = {*resources.requests, *resources.limits}
    pages = sorted(name for name in named if name.startswith(_PAGES))
    if pages and named.isdisjoint({"cpu", "memory"}):
        message = f"{pages[0]} goes with cpu or memory, and there is neither"
        yield Problem(
            code="missing-request", message=message, path=("resources",), hint="say resources.requests.memory"
        )


def _amount(name: str, amount: Quantity, path: FieldPath) -> Iterator[Problem]:
    if _is_native(name):
        return
    if not name.startswith(_PAGES) and not _DEVICE.match(name):
        message = f"{name!r} is no resource of a container"
        hint = "cpu, memory, ephemeral-storage, hugepages-SIZE, or a device like nvidia.com/gpu"
        yield Problem(code="unknown-resource", message=message, path=path, hint=hint, key=True)
    elif amount.value % _unit(name):
        unit = name.removeprefix(_PAGES) if name.startswith(_PAGES) else "1"
        yield Problem(code="out-of-range", message=f"{name} comes in multiples of {unit}, not {amount}", path=path)


def _is_native(name: str) -> bool:
    """Whether a resource is Kubernetes' own and may be promised more than once."""
    return name in _NATIVE or "kubernetes.io/" in name


def _unit(name: str) -> Fraction:
    try:
        return Quantity.parse(name.removeprefix(_PAGES)).value or Fraction(1)
    except ValueError:
        return Fraction(1)
