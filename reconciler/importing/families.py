"""Which objects belong together: a Deployment, and what is about its pods.

May live here: matching by name, selector and target. Must not: know what an agent's file can say.

Ours are called as their agent, so only what has that name can be taken over; what else is about the same pods stays
beside it, and is told of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from reconciler.importing.objects import KAGENT, KubeObject
from reconciler.importing.reading import mapping, text
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import AGENT_LABEL
from reconciler.render.metadata import service_name

_TARGETS = frozenset({("apps", "Deployment"), (KAGENT, "Agent")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What one agent is made of. `others` are about the same pods and have other names."""

    name: AgentName
    deployment: KubeObject | None = None
    service: KubeObject | None = None
    autoscaler: KubeObject | None = None
    budget: KubeObject | None = None
    account: KubeObject | None = None
    config: KubeObject | None = None
    agent: KubeObject | None = None
    """Of kagent."""
    model: KubeObject | None = None
    others: tuple[KubeObject, ...] = ()

    @property
    def members(self) -> tuple[KubeObject, ...]:
        """The objects that the agent's file is made of."""
        known = (
            self.agent,
            self.model,
            self.deployment,
            self.service,
            self.autoscaler,
            self.budget,
            self.account,
            self.config,
        )
        return tuple(item for item in known if item is not None)


Choice = Callable[[KubeObject], bool]


def gather(objects: Iterable[KubeObject], chosen: Choice) -> tuple[Family, ...]:
    """The families of Deployments and of kagent's Agents that are `chosen`, by namespace and name."""
    by_ref: dict[ObjectRef, KubeObject] = {}
    for item in objects:
        by_ref.setdefault(item.ref, item)
    found = {
        AgentName(namespace=item.ref.namespace, name=item.ref.name)
        for item in by_ref.values()
        if (item.ref.group, item.ref.kind) in _TARGETS and chosen(item)
    }
    near: dict[str, list[KubeObject]] = {}
    for item in by_ref.values():
        near.setdefault(item.ref.namespace, []).append(item)
    return tuple(_family(name, by_ref, near[name.namespace]) for name in sorted(found))


def _family(name: AgentName, by_ref: Mapping[ObjectRef, KubeObject], near: list[KubeObject]) -> Family:
    def called(group: str, kind: str, said: str = "") -> KubeObject | None:
        ref = ObjectRef(group=group, kind=kind, namespace=name.namespace, name=said or name.name)
        return by_ref.get(ref)

    deployment, agent = called("apps", "Deployment"), called(KAGENT, "Agent")
    members = {
        "service": called("", "Service", service_name(name.name)),
        "autoscaler": called("autoscaling", "HorizontalPodAutoscaler"),
        "budget": called("policy", "PodDisruptionBudget"),
    }
    pod = mapping(deployment.body if deployment else {}, "spec", "template")
    labels = mapping(pod, "metadata", "labels")
    taken = {item.ref for item in members.values() if item is not None}
    others = [item for item in near if item.ref not in taken and _is_about(item, name.name, labels)]
    return Family(
        name=name,
        deployment=deployment,
        **members,
        account=called("", "ServiceAccount", text(mapping(pod, "spec").get("serviceAccountName")) or "default"),
        config=called("", "ConfigMap"),
        agent=agent,
        model=called(KAGENT, "ModelConfig", model_name(agent)) if agent else None,
        others=tuple(sorted(others, key=lambda item: item.ref)),
    )


def model_name(agent: KubeObject) -> str:
    """The ModelConfig that an Agent of kagent names; it has a default."""
    return text(mapping(agent.body, "spec", "declarative").get("modelConfig")) or "default-model-config"


def _is_about(item: KubeObject, name: str, labels: Mapping[str, object]) -> bool:
    """Whether an object is about the pods of the Deployment `name`, whose pods have `labels`."""
    match item.ref.kind:
        case "HorizontalPodAutoscaler":
            target = mapping(item.body, "spec", "scaleTargetRef")
            return target.get("kind") == "Deployment" and target.get("name") == name
        case "PodDisruptionBudget":
            wanted = mapping(item.body, "spec", "selector", "matchLabels")
        case "Service":
            wanted = mapping(item.body, "spec", "selector")
        case _:
            return False
    return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())


def is_ours(labels: Mapping[str, object], name: AgentName) -> bool:
    """Whether a selector is the one that an agent of this name has by itself."""
    return dict(labels) == {AGENT_LABEL: name.name}
