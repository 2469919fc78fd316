"""What becomes of an object that is wanted no more, and in which order objects come.

Must not: know agents' specs or guards.
"""

from __future__ import annotations

from reconciler.model.identity import ObjectRef
from reconciler.model.objects import (
    KIND_ORDER,
    Found,
    LiveObject,
    LiveSet,
    MustBe,
    Observation,
    Unreadable,
)
from reconciler.model.plan import Drift, Missing, ObjectChange, Verb
from reconciler.plan.foreign import tracking_id

_ORDER = {(group, kind): index for index, (group, _, kind) in enumerate(KIND_ORDER)}


def sort_key(cluster: str, ref: ObjectRef) -> tuple[str, int, ObjectRef]:
    """Order of application: cluster, kind, name."""
    return cluster, _ORDER.get((ref.group, ref.kind), len(_ORDER)), ref


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
