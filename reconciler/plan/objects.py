"""What one agent's objects need: compare what is wanted with what is there, object by object.

May live here: the decision for one object, drift. Must not: know agents' specs or guards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.model.identity import ObjectRef
from reconciler.model.objects import (
    KIND_ORDER,
    Found,
    LiveObject,
    LiveSet,
    Manifest,
    MustBe,
    MustBeAbsent,
    Observation,
    Unreadable,
)
from reconciler.model.plan import Drift, Missing, ObjectChange, ReasonCode, Verb
from reconciler.model.registry import InventoryEntry
from reconciler.model.source import JsonObject
from reconciler.plan import scaling
from reconciler.plan.adoption import former
from reconciler.plan.foreign import UNMARKED, foreign_owner, tracking_id
from reconciler.plan.ownership import Lost, contested, lost_fields, without

_ORDER = {(group, kind): index for index, (group, _, kind) in enumerate(KIND_ORDER)}
_IMMUTABLE: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "Deployment": (("spec", "selector"),),
    "Service": (("spec", "clusterIP"),),
    "PodDisruptionBudget": (("spec", "selector"),),
}
"""Fields that an API server refuses to change, of the kinds that we render."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectVerdict:
    """The decision for one object: `change` None is nothing to do. `foreign` says which object
    belongs to somebody else.
    """

    change: ObjectChange | None = None
    code: ReasonCode | None = None
    drift: tuple[Drift, ...] = ()
    foreign: str = ""


def sort_key(cluster: str, ref: ObjectRef) -> tuple[str, int, ObjectRef]:
    """Order of application: cluster, kind, name."""
    return cluster, _ORDER.get((ref.group, ref.kind), len(_ORDER)), ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for all objects of one agent on one cluster.

    `retakes` says that an autoscaler of ours goes: replicas that it wrote are taken back from it. `minimum` is that
    of an autoscaler that is wanted, 0 where there is none; `autoscaled` that some autoscaler is there, ours or not.
    """

    fleet: str
    adopt: bool = False
    retakes: bool = False
    minimum: int = 0
    autoscaled: Callable[[], bool] = lambda: True


def judge(  # noqa: PLR0911 - a decision table, one return a row
    cluster: str, manifest: Manifest, live: LiveObject | None, entry: InventoryEntry | None, terms: Terms
) -> ObjectVerdict:
    """What one wanted object needs."""
    ref = manifest.ref
    if live is None:
        change = ObjectChange(
            cluster=cluster,
            ref=ref,
            verb=Verb.CREATE,
            expect=MustBeAbsent(),
            manifest=manifest,
            hand_over_replicas=scaling.handed_over(manifest, None, terms.minimum),
        )
        return ObjectVerdict(change=change, code=ReasonCode.OBJECT_MISSING if entry else ReasonCode.NEW)
    known = entry is not None and entry.uid in ("", live.uid)
    same = known and entry is not None and entry.hash == manifest.hash
    if same and entry and entry.resource_version == live.resource_version and not contested(live.body):
        return ObjectVerdict()
    owner = foreign_owner(live, terms.fleet)
    if owner and not terms.adopt and not (known and owner == UNMARKED):
        return ObjectVerdict(foreign=f"{ref} on {cluster} belongs to {owner}")
    taking = bool(owner) and terms.adopt
    lost = lost_fields(manifest.body, live.body, changed=not same)
    if terms.retakes:
        lost = tuple(item for item in lost if item.fields != scaling.REPLICAS)  # the autoscaler's, and ours again
    lost += scaling.stopped(manifest, live, terms.minimum)
    drift = tuple(_drift(cluster, ref, item, terms, taking=taking) for item in lost)
    if same and not any(item.undone for item in drift):
        return ObjectVerdict(drift=drift)
    left = [item.fields for item, seen in zip(lost, drift, strict=True) if not seen.undone]
    sent = dataclasses.replace(manifest, body=without(manifest.body, left)) if left else manifest
    force = tuple(sorted({item.manager for item in drift if item.manager and item.undone}))
    apply = _apply(cluster, sent, live, force, terms)
    if taking:
        sure = [item for item, seen in zip(lost, drift, strict=True) if seen.undone]
        apply = dataclasses.replace(apply, former=former(manifest.body, live, sure))
    if same:
        return ObjectVerdict(change=apply, code=ReasonCode.DRIFT, drift=drift)
    told = [seen for item, seen in zip(lost, drift, strict=True) if not (item.shared and seen.undone)]
    taken = tuple(item for item in told if item.manager and not taking)
    code: ReasonCode | None
    if _immutable(manifest.body, live.body):
        code = ReasonCode.FOREIGN_OBJECT if taking else ReasonCode.IMMUTABLE_FIELD
        return ObjectVerdict(change=_replace(cluster, manifest, live, terms), code=code, drift=taken)
    applied = known and entry is not None and entry.hash != ""
    code = ReasonCode.FOREIGN_OBJECT if taking else None if applied else ReasonCode.UNFINISHED
    return ObjectVerdict(change=apply, code=code, drift=taken)


def _apply(cluster: str, manifest: Manifest, live: LiveObject, force: tuple[str, ...], terms: Terms) -> ObjectChange:
    """An apply. Its manifest lacks what is left to other managers; its hash is that of the whole, all the same."""
    return ObjectChange(
        cluster=cluster,
        ref=manifest.ref,
        verb=Verb.APPLY,
        expect=MustBe(uid=live.uid),
        manifest=manifest,
        force=force,
        hand_over_replicas=scaling.handed_over(manifest, live, terms.minimum),
        take_back=scaling.taken_back(manifest, live, retakes=terms.retakes),
    )


def _replace(cluster: str, manifest: Manifest, live: LiveObject, terms: Terms) -> ObjectChange:
    return ObjectChange(
        cluster=cluster,
        ref=manifest.ref,
        verb=Verb.REPLACE,
        expect=MustBe(uid=live.uid, resource_version=live.resource_version),
        manifest=manifest,
        hand_over_replicas=scaling.carried_over(manifest, live, terms.minimum),
    )


def surplus(cluster: str, ref: ObjectRef, live: LiveObject) -> ObjectChange:
    """The deletion of an object of ours that is wanted no more."""
    expect = MustBe(uid=live.uid, resource_version=live.resource_version)
    return ObjectChange(cluster=cluster, ref=ref, verb=Verb.DELETE, expect=expect)


def vanished(cluster: str, ref: ObjectRef, uid: str) -> ObjectChange:
    """The deletion of an object on record that is wanted no more and is not to be seen."""
    return ObjectChange(cluster=cluster, ref=ref, verb=Verb.DELETE, expect=MustBe(uid=uid))


def stray(cluster: str, ref: ObjectRef, fleet: str) -> Drift:
    """An object that carries our mark and stands in no inventory: reported, and left."""
    return Drift(
        cluster=cluster,
        ref=ref,
        path="",
        manager="",
        before=Missing.FIELD,
        after=tracking_id(ref, fleet),
        undone=False,
    )


def _drift(cluster: str, ref: ObjectRef, lost: Lost, terms: Terms, *, taking: bool) -> Drift:
    owner = lost.owner
    stale = lost.fields == scaling.REPLICAS and owner is not None and owner.autoscales and not terms.autoscaled()
    return Drift(
        cluster=cluster,
        ref=ref,
        path=lost.path,
        manager=owner.manager if owner else "",
        before=lost.wanted,
        after=lost.live,
        undone=owner is None or owner.yields or owner.is_release or stale or taking,
    )


def _immutable(wanted: JsonObject, live: JsonObject) -> bool:
    for path in _IMMUTABLE.get(str(wanted.get("kind")), ()):
        want: Any = wanted
        have: Any = live
        for part in path:
            want = want.get(part) if isinstance(want, Mapping) else None
            have = have.get(part) if isinstance(have, Mapping) else None
        if want is not None and want != have:
            return True
    return False


def unknown_because(observation: Observation[LiveSet] | None, cluster: str, ref: ObjectRef) -> str:
    """Why it is unknown whether an object is there; "" when it is known."""
    match observation:
        case Found(value=live):
            if not live.unreadable:
                return ""
            reasons = (live.unreadable.get((ref.kind, namespace)) for namespace in (ref.namespace, ""))
            reason = next((reason for reason in reasons if reason), "")
            return f"{ref.kind} objects on {cluster} cannot be read: {reason}" if reason else ""
        case Unreadable(reason=reason):
            return f"the cluster {cluster} cannot be read: {reason or 'no reason was given'}"
    return f"the cluster {cluster} was not observed"
