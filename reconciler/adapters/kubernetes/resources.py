"""Kinds and where they are: the URL path of each kind, from a table for the kinds that we speak of, else by discovery.

Source: Kubernetes API concepts, "Resource URIs": /api/v1/... for the core group, /apis/GROUP/VERSION/... for others.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from reconciler.model.identity import ObjectRef

Kind = tuple[str, str]
"""(group, kind)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind of a cluster as its API names it."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def type_meta(self) -> dict[str, str]:
        """What items of a list lack."""
        return {"apiVersion": self.api_version, "kind": self.kind}

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of one object, or without a name of all in `namespace` ("" for everywhere)."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        steps = ["namespaces", namespace] if namespace and self.namespaced else []
        steps += [self.plural, *([name] if name else []), *([subresource] if subresource else [])]
        return root + "".join(f"/{quote(step, safe='')}" for step in steps)


BUILT_IN: dict[Kind, Resource] = {
    (one.group, one.kind): one
    for one in (
        Resource(group="", version="v1", kind="ServiceAccount", plural="serviceaccounts"),
        Resource(group="", version="v1", kind="ConfigMap", plural="configmaps"),
        Resource(group="", version="v1", kind="Service", plural="services"),
        Resource(group="", version="v1", kind="Pod", plural="pods"),
        Resource(group="", version="v1", kind="Node", plural="nodes", namespaced=False),
        Resource(group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False),
        Resource(group="apps", version="v1", kind="Deployment", plural="deployments"),
        Resource(group="apps", version="v1", kind="ReplicaSet", plural="replicasets"),
        Resource(group="policy", version="v1", kind="PodDisruptionBudget", plural="poddisruptionbudgets"),
        Resource(group="autoscaling", version="v2", kind="HorizontalPodAutoscaler", plural="horizontalpodautoscalers"),
    )
}
"""Kinds that every server has; one that answers 404 for them is no API server."""


class _ApiResource(msgspec.Struct):
    name: str
    kind: str
    namespaced: bool = True


class ApiResources(msgspec.Struct, tag_field="kind", tag="APIResourceList"):
    """What /apis/GROUP/VERSION answers."""

    resources: list[_ApiResource]


class _Version(msgspec.Struct):
    version: str


class _Group(msgspec.Struct):
    name: str
    versions: list[_Version]
    preferredVersion: _Version  # noqa: N815 - the name on the wire


class ApiGroups(msgspec.Struct, tag_field="kind", tag="APIGroupList"):
    """What /apis answers."""

    groups: list[_Group]

    def versions(self, name: str) -> list[str]:
        """The versions of a group, the preferred one first; none for a group that is not served."""
        for group in self.groups:
            if group.name == name:
                first = group.preferredVersion.version
                return [first, *(one.version for one in group.versions if one.version != first)]
        return []


def found_in(listed: ApiResources, group: str, version: str, kind: str) -> Resource | None:
    """A kind in what discovery answered."""
    for one in listed.resources:
        if one.kind == kind and "/" not in one.name:
            return Resource(group=group, version=version, kind=kind, plural=one.name, namespaced=one.namespaced)
    return None


def kind_of(ref: ObjectRef) -> Kind:
    return (ref.group, ref.kind)
