"""Whose a live object is: ours by its mark, another tool's by what that one writes, or somebody's we do not know.

May live here: marks of ownership on objects. Must not: compare fields, know what is wanted.
"""

from __future__ import annotations

from reconciler.model.identity import ObjectRef
from reconciler.model.objects import TRACKING_ANNOTATION, LiveObject
from reconciler.model.source import JsonObject
from reconciler.plan.ownership import recorded

UNMARKED = "somebody else (it carries no mark of this fleet)"
_HELM = "meta.helm.sh/release-name"
_MANAGED_BY = "app.kubernetes.io/managed-by"
_FOREIGN_ANNOTATIONS = (
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("config.k8s.io/owning-inventory", "another inventory (config.k8s.io)"),
    (_HELM, "Helm"),
    ("kapp.k14s.io/identity", "kapp"),
)
_FOREIGN_LABELS = (
    ("applyset.kubernetes.io/part-of", "an ApplySet"),
    ("kustomize.toolkit.fluxcd.io/name", "Flux"),
    ("helm.toolkit.fluxcd.io/name", "Flux"),
    ("kapp.k14s.io/app", "kapp"),
)


def tracking_id(ref: ObjectRef, fleet: str) -> str:
    """The value of TRACKING_ANNOTATION for an object of a fleet."""
    return f"{ref.group}/{ref.kind}:{ref.namespace}/{ref.name}:{fleet}"


def foreign_owner(live: LiveObject, fleet: str) -> str:
    """Who else owns a live object; "" when it is ours. An object that carries no mark at all is somebody's too."""
    if owner := other_tool(live, fleet):
        return owner
    mark = (live.metadata.get("annotations") or {}).get(TRACKING_ANNOTATION)
    if mark == tracking_id(live.ref, fleet):
        return ""
    return f"another fleet ({mark})" if mark else UNMARKED


def other_tool(live: LiveObject, fleet: str) -> str:
    """The tool or controller whose a live object is by the mark that this one writes; "" when it is none's."""
    metadata = live.metadata
    annotations = metadata.get("annotations") or {}
    left = {_HELM} if _HELM in annotations and _left_by_helm(live, fleet) else set()
    others = {key: value for key, value in annotations.items() if key not in left} if left else annotations
    if tool := tool_of(others, metadata.get("labels") or {}):
        return tool
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller"):
            return f"{reference.get('kind')} {reference.get('name')}"
    return ""


def tool_of(annotations: JsonObject, labels: JsonObject) -> str:
    """The tool that writes such marks; "" for none."""
    for marks, known in ((annotations, _FOREIGN_ANNOTATIONS), (labels, _FOREIGN_LABELS)):
        for name, owner in known:
            if name in marks:
                return f"{owner} ({marks[name]})"
    return ""


def _left_by_helm(live: LiveObject, fleet: str) -> bool:
    """Whether an object was taken over from Helm: its annotations stay, and its label has become ours.

    Helm itself counts an object as a release's by both, and leaves such a one where it is when the release goes.
    """
    mark = (live.metadata.get("annotations") or {}).get(TRACKING_ANNOTATION)
    label = (live.metadata.get("labels") or {}).get(_MANAGED_BY)
    return mark == tracking_id(live.ref, fleet) and label != "Helm"


def claimed(live: LiveObject, fleet: str) -> str:
    """Who else claims an object that is ours by the inventory; "" when nobody does. Losing its mark is no claim."""
    owner = foreign_owner(live, fleet)
    return "" if owner == UNMARKED else owner


def is_known(live: LiveObject, uid: str, fleet: str) -> bool:
    """Whether a live object is the one on record with `uid`.

    "" stands for one that an apply was about to make: it never came to be, or that apply stopped before it could write
    the uid down. What it made says so, by our mark or in its managedFields; anything else of that name is somebody's.
    """
    if uid:
        return uid == live.uid
    mark = (live.metadata.get("annotations") or {}).get(TRACKING_ANNOTATION)
    return mark == tracking_id(live.ref, fleet) or recorded(live.body)


def is_meant(live: LiveObject, uid: str, fleet: str) -> bool:
    """Whether a live object is the one on record with `uid` (see is_known), or one of ours in its place.

    One that came out of a backup has another uid. A stranger's without our mark is not meant.
    """
    mark = (live.metadata.get("annotations") or {}).get(TRACKING_ANNOTATION)
    return mark == tracking_id(live.ref, fleet) or is_known(live, uid, fleet)
