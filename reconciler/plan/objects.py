"""What one agent's objects need: compare what is wanted with what is there, object by object.

May live here: the decision for one object, foreign owners, drift. Must not: know agents' specs or guards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.model.identity import ObjectRef
from reconciler.model.objects import (
    RENDERED_KINDS,
    TRACKING_ANNOTATION,
    LiveObject,
    LiveSet,
    Manifest,
    MustBe,
    MustBeAbsent,
)
from reconciler.model.plan import Drift, ObjectChange, ReasonCode, Verb
from reconciler.model.registry import InventoryEntry
from reconciler.model.source import JsonObject
from reconciler.plan.ownership import is_ours, lost_fields, owners

_ORDER = {(group, kind): index for index, (group, _, kind) in enumerate(RENDERED_KINDS)}
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


def tracking_id(ref: ObjectRef, fleet: str) -> str:
    """The value of TRACKING_ANNOTATION for an object of a fleet."""
    return f"{ref.group}/{ref.kind}:{ref.namespace}/{ref.name}:{fleet}"


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
    return f"another fleet ({mark})" if mark else "somebody else (it carries no mark of this fleet)"


def judge(  # noqa: PLR0911 - a decision table, one return a row
    cluster: str,
    manifest: Manifest,
    live: LiveObject | None,
    entry: InventoryEntry | None,
    *,
    fleet: str,
    adopt: bool,
) -> ObjectVerdict:
    """What one wanted object needs."""
    ref = manifest.ref
    if live is None:
        change = ObjectChange(cluster=cluster, ref=ref, verb=Verb.CREATE, expect=MustBeAbsent(), manifest=manifest)
        return ObjectVerdict(change=change, code=ReasonCode.OBJECT_MISSING if entry else ReasonCode.NEW)
    known = entry is not None and entry.uid in ("", live.uid)
    if known and entry and entry.hash == manifest.hash and entry.resource_version == live.resource_version:
        return ObjectVerdict()
    owner = foreign_owner(live, fleet)
    if owner and not adopt and not (known and owner.startswith("somebody else")):
        return ObjectVerdict(foreign=f"{ref} on {cluster} belongs to {owner}")
    drift = _drift(cluster, manifest, live)
    force = tuple(sorted({item.manager for item in drift if item.manager and (item.undone or owner)}))
    if known and entry and entry.hash == manifest.hash:
        if not any(item.undone for item in drift):
            return ObjectVerdict(drift=drift)
        return ObjectVerdict(change=_apply(cluster, manifest, live, force), code=ReasonCode.DRIFT, drift=drift)
    taken = tuple(item for item in drift if item.manager and not owner)
    if _immutable(manifest.body, live.body):
        return ObjectVerdict(change=_replace(cluster, manifest, live), code=ReasonCode.IMMUTABLE_FIELD, drift=taken)
    applied = known and entry is not None and entry.hash != ""
    code = ReasonCode.FOREIGN_OBJECT if owner else None if applied else ReasonCode.UNFINISHED
    return ObjectVerdict(change=_apply(cluster, manifest, live, force), code=code, drift=taken)


def _apply(cluster: str, manifest: Manifest, live: LiveObject, force: tuple[str, ...]) -> ObjectChange:
    return ObjectChange(
        cluster=cluster,
        ref=manifest.ref,
        verb=Verb.APPLY,
        expect=MustBe(uid=live.uid),
        manifest=manifest,
        force=force,
        hand_over_replicas=_hand_over(manifest, live),
    )


def _replace(cluster: str, manifest: Manifest, live: LiveObject) -> ObjectChange:
    return ObjectChange(
        cluster=cluster,
        ref=manifest.ref,
        verb=Verb.REPLACE,
        expect=MustBe(uid=live.uid, resource_version=live.resource_version),
        manifest=manifest,
    )


def _hand_over(manifest: Manifest, live: LiveObject) -> int | None:
    """The live count, when we give up `spec.replicas` as its owner: dropping it alone would reset it to 1."""
    if manifest.ref.kind != "Deployment" or "replicas" in manifest.body.get("spec", {}):
        return None
    held = any("f:replicas" in owner.fields.get("f:spec", {}) for owner in owners(live.body) if is_ours(owner))
    replicas = live.body.get("spec", {}).get("replicas")
    return replicas if held and isinstance(replicas, int) else None


def surplus(cluster: str, ref: ObjectRef, live: LiveObject) -> ObjectChange:
    """The deletion of an object of ours that is wanted no more."""
    expect = MustBe(uid=live.uid, resource_version=live.resource_version)
    return ObjectChange(cluster=cluster, ref=ref, verb=Verb.DELETE, expect=expect)


def _drift(cluster: str, manifest: Manifest, live: LiveObject) -> tuple[Drift, ...]:
    return tuple(
        Drift(
            cluster=cluster,
            ref=manifest.ref,
            path=lost.path,
            manager=lost.owner.manager if lost.owner else "",
            before=lost.wanted,
            after=lost.live,
            undone=lost.owner is None or lost.owner.yields,
        )
        for lost in lost_fields(manifest.body, live.body)
    )


def _immutable(wanted: JsonObject, live: JsonObject) -> bool:
    for path in _IMMUTABLE.get(str(wanted.get("kind")), ()):
        want, have = wanted, live
        for part in path:
            want = want.get(part) if isinstance(want, dict) else None  # type: ignore[assignment]
            have = have.get(part) if isinstance(have, dict) else None  # type: ignore[assignment]
        if want is not None and want != have:
            return True
    return False


def unreadable(live: LiveSet, ref: ObjectRef) -> str:
    """Why an object's kind could not be read in its namespace; "" when it could."""
    for namespace in (ref.namespace, ""):
        reason = live.unreadable.get((ref.kind, namespace))
        if reason:
            return reason
    return ""
