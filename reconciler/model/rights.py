"""The rights that we need on a Kubernetes cluster: all of them, and no more. Data only.

What deploy/ ships is held equal to this table, and the table to what is really asked of an API server. Nothing here
is about Secrets: references are rendered, and only the kubelet reads what they stand for.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.model.objects import OPTIONAL_KINDS, RENDERED_KINDS

WRITTEN = ("create", "delete", "get", "list", "patch")
"""Server-side apply of what is not there yet needs both create and patch; managedFields are replaced by a patch."""
FOLLOWED = (*WRITTEN, "watch")
"""For what every cluster has: an apply of many changes listens instead of asking again and again."""
ANCHOR = "kube-system"
"""The namespace whose uid tells clusters apart."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Right:
    """`verbs` on one resource, as RBAC names them. `names`: on these objects alone. Rights without `namespaced` can be
    given by a ClusterRole only.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    namespaced: bool = True


def _resource(kind: str) -> str:
    """The plural of one of our kinds, all of which take a plain s."""
    return f"{kind.lower()}s"


RIGHTS: tuple[Right, ...] = (
    *(Right(group=group, resource=_resource(kind), verbs=FOLLOWED) for group, _, kind in RENDERED_KINDS),
    *(Right(group=group, resource=_resource(kind), verbs=WRITTEN) for group, _, kind in OPTIONAL_KINDS),
    Right(group="", resource="pods", verbs=("delete", "get", "list", "watch")),
    Right(group="", resource="pods/log", verbs=("get",)),
    Right(group="metrics.k8s.io", resource="pods", verbs=("list",)),
    Right(group="", resource="nodes", verbs=("list",), namespaced=False),
    Right(group="", resource="namespaces", verbs=("get",), names=(ANCHOR,), namespaced=False),
)
"""Pods and their logs tell how a rollout goes, nodes and pods how much room there is, metrics what pods use. Pods that
are unwell are deleted, so that new ones come."""
