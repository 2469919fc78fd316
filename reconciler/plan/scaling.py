"""Replicas on their way to an autoscaler and back: who holds the count, and what it must not fall below.

May live here: rules about `spec.replicas` of Deployments that an autoscaler of ours takes up or gives up. Must not:
know other fields, or how a hand-over is done.

Source: server-side apply as measured on 1.36.3: the sole owner that drops `replicas` resets it to 1; a new Deployment
without it begins with 1; and an autoscaler leaves a Deployment of zero alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.model.agent import Agent
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import HANDOVER_MANAGER, Found, LiveObject, LiveSet, Manifest, Observation
from reconciler.model.plan import TakeBack
from reconciler.model.registry import InventoryEntry, PlacedReplicas
from reconciler.plan.ownership import Lost, Owner, is_ours, owners

AUTOSCALER = "HorizontalPodAutoscaler"
REPLICAS = ("f:spec", "f:replicas")
"""The path in managedFields' terms."""


def minimum_of(manifests: Iterable[Manifest]) -> int:
    """The least that the autoscaler among an agent's manifests of one cluster allows; 0 where there is none."""
    found = (manifest.body["spec"]["minReplicas"] for manifest in manifests if manifest.ref.kind == AUTOSCALER)
    return int(next(found, 0))


def deployment_of(agent: Agent) -> ObjectRef:
    """The Deployment that an agent is."""
    return ObjectRef(group="apps", kind="Deployment", namespace=agent.name.namespace, name=agent.name.name)


def replicas_of(live: LiveObject) -> int:
    """How many replicas a live Deployment is to have."""
    count = live.body.get("spec", {}).get("replicas")
    return count if isinstance(count, int) else 1


def holders(live: LiveObject) -> tuple[Owner, ...]:
    """Who owns the count of a live Deployment."""
    return tuple(owner for owner in owners(live.body) if "f:replicas" in (owner.fields.get("f:spec") or {}))


def _leaves(manifest: Manifest) -> bool:
    """Whether a wanted Deployment leaves its count to an autoscaler."""
    return manifest.ref.kind == "Deployment" and "replicas" not in manifest.body.get("spec", {})


def handed_over(manifest: Manifest, live: LiveObject | None, minimum: int) -> int | None:
    """What is to be held while an autoscaler takes over: the live count, or its minimum where that is more.

    None where the count is not ours to hand over: somebody else's, or the autoscaler's already.
    """
    if not _leaves(manifest):
        return None
    if live is None:
        return minimum or None
    count, held = replicas_of(live), holders(live)
    if any(map(is_ours, held)) or (not held and count < minimum):
        return max(count, minimum)
    return minimum if count == 0 and minimum and all(owner.yields for owner in held) else None


def carried_over(manifest: Manifest, live: LiveObject, minimum: int) -> int | None:
    """What a Deployment that is made anew begins with, where an autoscaler has the count: as many as before."""
    return max(replicas_of(live), minimum) if _leaves(manifest) else None


def taken_back(manifest: Manifest, live: LiveObject, *, retakes: bool) -> TakeBack | None:
    """How a wanted count becomes ours: from an autoscaler that goes, or that went and never wrote one of its own."""
    count = manifest.body.get("spec", {}).get("replicas") if manifest.ref.kind == "Deployment" else None
    if count is None:
        return None
    if retakes:
        return TakeBack.AT_LEAST_LIVE if count else TakeBack.EXACTLY
    return TakeBack.EXACTLY if any(owner.manager == HANDOVER_MANAGER for owner in holders(live)) else None


def stopped(manifest: Manifest, live: LiveObject, minimum: int) -> tuple[Lost, ...]:
    """The count as a lost field, where somebody set what an autoscaler scales to zero: it stays there by itself."""
    if not minimum or not _leaves(manifest) or replicas_of(live) != 0:
        return ()
    others = [owner for owner in holders(live) if not is_ours(owner)]
    if not others:
        return ()  # ours: suspended before, and handed over with this change
    return (Lost(path="spec.replicas", fields=REPLICAS, wanted=minimum, live=0, owner=others[-1]),)


def target(autoscaler: LiveObject) -> ObjectRef | None:
    """The Deployment that an autoscaler scales; None where it is none."""
    wanted = autoscaler.body.get("spec", {}).get("scaleTargetRef") or {}
    if wanted.get("kind") != "Deployment":
        return None
    return ObjectRef(
        group="apps", kind="Deployment", namespace=autoscaler.ref.namespace, name=str(wanted.get("name", ""))
    )


class Autoscalers:
    """The autoscalers of all clusters, ours or not. Looked through when somebody asks, which is seldom."""

    def __init__(self, observations: Mapping[str, Observation[LiveSet]]) -> None:
        self._observations = observations
        self._targets: dict[str, frozenset[ObjectRef]] = {}

    def scale(self, cluster: str, ref: ObjectRef) -> bool:
        """Whether a Deployment is scaled by one, as far as can be seen; what cannot be seen may be there."""
        seen = self._observations.get(cluster)
        if not isinstance(seen, Found):
            return True
        if any((AUTOSCALER, namespace) in seen.value.unreadable for namespace in ("", ref.namespace)):
            return True
        if cluster not in self._targets:
            found = (target(live) for live in seen.value.objects.values() if live.ref.kind == AUTOSCALER)
            self._targets[cluster] = frozenset(one for one in found if one is not None)
        return ref in self._targets[cluster]


def kept(
    agent: Agent,
    placed: tuple[PlacedReplicas, ...],
    inventory: Iterable[InventoryEntry],
    observations: Mapping[str, Observation[LiveSet]],
) -> tuple[PlacedReplicas, ...]:
    """Where an agent is to run while its autoscaler goes: nowhere fewer than run there now.

    What is declared is then an ordinary scaling, planned and shown by itself.
    """
    if agent.spec.autoscaling is not None:
        return placed
    going = {entry.cluster for entry in inventory if entry.ref.kind == AUTOSCALER}
    if not going:
        return placed
    return tuple(
        PlacedReplicas(cluster=share.cluster, replicas=max(share.replicas, _live(agent, observations, share.cluster)))
        if share.replicas and share.cluster in going
        else share
        for share in placed
    )


def _live(agent: Agent, observations: Mapping[str, Observation[LiveSet]], cluster: str) -> int:
    seen = observations.get(cluster)
    live = seen.value.objects.get(deployment_of(agent)) if isinstance(seen, Found) else None
    return replicas_of(live) if live is not None else 0
