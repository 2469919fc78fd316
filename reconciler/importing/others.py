"""What is about an agent's pods under another name than the agent's: whether it stays, and whether it finds them still.

May live here: Services, PodDisruptionBudgets and HorizontalPodAutoscalers that are not the agent's. Must not: write
fields of an agent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reconciler.importing.families import Family
from reconciler.importing.notes import Fate, Note
from reconciler.importing.objects import KubeObject
from reconciler.importing.reading import mapping, maps, text
from reconciler.model.agent import Agent
from reconciler.model.objects import Manifest

Labels = Mapping[str, Any]


def others(agent: Agent, family: Family, made: Iterable[Manifest], *, stays: bool) -> Iterator[Note]:
    """A note of each. `made` is what the agent has; `stays`: its Deployment is the one that is there, so its pods keep
    labels that no agent says.
    """
    was, rendered = _pods(family.deployment), next((one for one in made if one.ref.kind == "Deployment"), None)
    will_be = {**(was if stays else {}), **_pods(rendered)}
    selector = mapping(rendered.body if rendered else {}, "spec", "selector", "matchLabels")
    for other in family.others:
        lost = _selects(other, was) and not _selects(other, will_be)
        if lost and other.ref.kind == "Service":
            yield _leads_nowhere(other, _turns(other, was, will_be), selector, now=selector.items() <= was.items())
        elif lost:
            yield _protects_none(other, _turns(other, was, will_be))
        else:
            yield _beside(agent, other)


def _pods(item: KubeObject | Manifest | None) -> Labels:
    """What a Deployment's pods are labelled with."""
    return mapping(item.body if item else {}, "spec", "template", "metadata", "labels")


def _selects(other: KubeObject, labels: Labels) -> bool:
    equal, expressions = _selector(other)
    return all(labels.get(key) == value for key, value in equal.items()) and all(
        _holds(expression, labels) for expression in expressions
    )


def _selector(other: KubeObject) -> tuple[Labels, list[Mapping[str, Any]]]:
    """Labels that pods have to have, and expressions that have to hold beside them."""
    said = mapping(other.body, "spec", "selector")
    if other.ref.kind == "Service":
        return said, []
    return mapping(said, "matchLabels"), maps(said.get("matchExpressions"))


def _holds(expression: Mapping[str, Any], labels: Labels) -> bool:
    """Kubernetes' operators: NotIn holds as well where the label is missing."""
    key, values = text(expression.get("key")), expression.get("values")
    among = isinstance(values, list | tuple) and labels.get(key) in values
    match expression.get("operator"):
        case "In":
            return among
        case "NotIn":
            return not among
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def _turns(other: KubeObject, was: Labels, will_be: Labels) -> str:
    """What becomes of the labels that it selects by."""
    equal, expressions = _selector(other)
    said = []
    for key in dict.fromkeys([*equal, *(text(expression.get("key")) for expression in expressions)]):
        before, after = (f"{key}={labels[key]}" if key in labels else "" for labels in (was, will_be))
        if before and after and before != after:
            said.append(f"{before} becomes {after}")
        elif before != after:
            said.append(f"{before} goes" if before else f"{after} comes")
    return ", ".join(said)


def _leads_nowhere(other: KubeObject, turns: str, selector: Labels, *, now: bool) -> Note:
    """`now`: the agent's `selector` finds the pods that run already."""
    name, shown = other.ref.name, ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    when = "before applying" if now else "once it is applied"
    mend = f"{when}, kubectl set selector service {name} {shown} -n {other.ref.namespace}"
    said = f"it leads to none of the agent's pods any more, of which {turns}: {mend}"
    return Note(fate=Fate.TO_DO, path=f"Service {name}", text=said)


def _protects_none(other: KubeObject, turns: str) -> Note:
    name = other.ref.name
    said = (
        f"it protects none of the agent's pods any more, of which {turns}: say `disruption` in the agent's file where "
        f"that is needed, and once it is applied, kubectl delete poddisruptionbudget {name} -n {other.ref.namespace}"
    )
    return Note(fate=Fate.TO_DO, path=f"PodDisruptionBudget {name}", text=said)


def _beside(agent: Agent, other: KubeObject) -> Note:
    """One that is about the agent's pods afterwards as well."""
    kind, name, where = other.ref.kind, other.ref.name, f"-n {agent.name.namespace}"
    fate, said = Fate.LEFT_OUT, "it is about the same pods under another name: it stays, and is not the agent's"
    if kind == "PodDisruptionBudget" and (agent.spec.replicas != 1 or agent.spec.autoscaling is not None):
        fate = Fate.TO_DO
        said = (
            "the agent gets a budget of its own, and two over the same pods stop every drain: after the adoption, "
            f"kubectl delete poddisruptionbudget {name} {where}"
        )
    elif kind == "HorizontalPodAutoscaler":
        said = (
            f"it keeps the replicas. To have it in Git: kubectl delete horizontalpodautoscaler {name} {where}, and "
            "say `autoscaling` instead of `replicas`"
        )
    return Note(fate=fate, path=f"{kind} {name}", text=said)
