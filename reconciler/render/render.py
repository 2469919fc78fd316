"""All manifests of one agent, and a memory of them for whoever renders the same fleet again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.model.agent import Agent
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import Manifest
from reconciler.model.registry import PlacedReplicas
from reconciler.placement.shares import shares
from reconciler.render.autoscaler import autoscaler
from reconciler.render.canonical import digest, kept
from reconciler.render.configmap import config_map
from reconciler.render.deployment import deployment
from reconciler.render.disruption import disruption_budget
from reconciler.render.metadata import Names
from reconciler.render.service import service
from reconciler.render.serviceaccount import service_account
from reconciler.render.serviceexport import service_export

Rendered = Mapping[str, tuple[Manifest, ...]]


def render(
    agent: Agent, placed: tuple[PlacedReplicas, ...], *, fleet: str, exported: frozenset[str] = frozenset()
) -> Rendered:
    """The objects of an agent by cluster, sorted, each tuple in the order of KIND_ORDER.

    `exported` are clusters on which its Service is offered to other clusters.

    Values are as an API server stores them, so that what was applied is found unchanged. Namespaces are taken to be
    there. Bodies are kept as bytes until somebody looks inside.
    """
    names = Names.of(agent, fleet=fleet)
    config, config_hash = config_map(names, agent)
    shared = (service_account(names, agent.spec), config, service(names, agent.spec))
    fixed = [_manifest(agent, body) for body in shared if body is not None]
    rendered: dict[str, tuple[Manifest, ...]] = {}
    for cluster, share in sorted(shares(agent.spec.placement, placed).items()):
        own = (
            deployment(names, agent, share=share, config_hash=config_hash),
            disruption_budget(names, agent.spec, share=share),
            autoscaler(names, agent.spec, share=share),
            service_export(names, agent.spec) if cluster in exported else None,
        )
        rendered[cluster] = (*fixed, *(_manifest(agent, body) for body in own if body is not None))
    return rendered


def _manifest(agent: Agent, body: dict[str, Any]) -> Manifest:
    group, slash, _ = body["apiVersion"].partition("/")
    metadata = body["metadata"]
    ref = ObjectRef(
        group=group if slash else "",
        kind=body["kind"],
        namespace=metadata["namespace"],
        name=metadata["name"],
    )
    return Manifest(ref=ref, body=kept(body), hash=digest(body), agent=agent.name)


@dataclass(frozen=True, slots=True)
class _Known:
    """What was rendered last for an agent, and of what."""

    agent: Agent
    placed: tuple[PlacedReplicas, ...]
    exported: frozenset[str]
    rendered: Rendered

    def is_of(self, agent: Agent, placed: tuple[PlacedReplicas, ...], exported: frozenset[str]) -> bool:
        same_place = (self.placed is placed or self.placed == placed) and self.exported == exported
        return same_place and _same(self.agent, agent)


@dataclass(slots=True)
class Renderer:
    """`render` with a memory of the last result of each agent. What it answers is the same as without."""

    fleet: str
    _known: dict[AgentName, _Known] = field(default_factory=dict)

    def render(
        self, agent: Agent, placed: tuple[PlacedReplicas, ...], exported: frozenset[str] = frozenset()
    ) -> Rendered:
        known = self._known.get(agent.name)
        if known is None or not known.is_of(agent, placed, exported):
            rendered = render(agent, placed, fleet=self.fleet, exported=exported)
            known = self._known[agent.name] = _Known(agent, placed, exported, rendered)
        return known.rendered

    def forget(self, names: frozenset[AgentName]) -> None:
        """Drop what is remembered of agents that are gone."""
        for name in names:
            self._known.pop(name, None)


def _same(one: Agent, other: Agent) -> bool:
    return one is other or (
        one.spec_hash == other.spec_hash and one.labels == other.labels and one.annotations == other.annotations
    )
