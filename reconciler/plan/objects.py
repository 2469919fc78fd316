"""Whose an object is, what becomes of one that is wanted no more, and in which order objects come.

Must not: know agents' specs or guards.
"""

from __future__ import annotations

from reconciler.model.identity import ObjectRef
from reconciler.model.objects import (
    KIND_ORDER,
    TRACKING_ANNOTATION,
    Found,
    LiveObject,
    LiveSet,
    MustBe,
    Observation,
    Unreadable,
)
from reconciler.model.plan import Drift, Missing, ObjectChange, Verb

_ORDER = {(group, kind): index for index, (group, _, kind) in enumerate(KIND_ORDER)}


def sort_key(cluster: str, ref: ObjectRef) -> tuple[str, int, ObjectRef]:
    """Order of application: cluster, kind, name."""
    return cluster, _ORDER.get((ref.group, ref.kind), len(_ORDER)), ref


def tracking_id(ref: ObjectRef, fleet: str) -> str:
    """The value of TRACKING_ANNOTATION for an object of a fleet."""
    return f"{ref.group}/{ref.kind}:{ref.namespace}/{ref.name}:{fleet}"


UNMARKED = "somebody else (it carries no mark of this fleet)"
_FOREIGN_ANNOTATIONS = (
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("config.k8s.io/owning-inventory", "another inventory (config.k8s.io)"),
    ("meta.helm.sh/release-name", "Helm"),
    ("kapp.k14s.io/identity", "kapp"),
)
_FOREIGN_LABELS = (
    ("applyset.kubernetes.io/part-of", "an ApplySet"),
    ("kustomize.toolkit.fluxcd.io/name", "Flux"),
    ("helm.toolkit.fluxcd.io/name", "Flux"),
    ("kapp.k14s.io/app", "kapp"),
)


def foreign_owner(live: LiveObject, fleet: str) -> str:
    """Who else owns a live object; "" when it is ours. An object that carries no mark at all is somebody's too."""
    metadata = live.metadata
    annotations = metadata.get("annotations") or {}
    labels = metadata.get("labels") or {}
    for name, owner in _FOREIGN_ANNOTATIONS:
        if name in annotations:
            return f"{owner} ({annotations[name]})"
    for name, owner in _FOREIGN_LABELS:
        if name in labels:
            return f"{owner} ({labels[name]})"
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller"):
            return f"{reference.get('kind')} {reference.get('name')}"
    mark = annotations.get(TRACKING_ANNOTATION)
    if mark == tracking_id(live.ref, fleet):
        return ""
    return f"another fleet ({mark})" if mark else UNMARKED


def claimed(live: LiveObject, fleet: str) -> str:
    """Who else claims an object that is ours by the inventory; "" when nobody does. Losing its mark is no claim."""
    owner = foreign_owner(live, fleet)
    return "" if owner == UNMARKED else owner


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
