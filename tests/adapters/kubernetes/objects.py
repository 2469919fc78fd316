"""Objects, lists and events as a server writes them."""

from __future__ import annotations

from typing import Any

from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import Manifest, Scope

CONFIGS = "/api/v1/configmaps"
SETTINGS = "/api/v1/namespaces/team/configmaps/settings"
KIND = ("", "v1", "ConfigMap")
ONE_KIND = Scope(kinds=(KIND,))


def ref(name: str = "settings", namespace: str = "team") -> ObjectRef:
    return ObjectRef(group="", kind="ConfigMap", namespace=namespace, name=name)


def config(name: str = "settings", version: int = 5, *, namespace: str = "team", uid: str = "", **data: str) -> Any:
    """A ConfigMap, as one of an answer."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
        },
        "data": data,
    }


def listed(*items: Any, version: int = 10, more: str = "", kind: str = "ConfigMapList") -> Any:
    """A page of a list; `more` is the token of the next one."""
    metadata = {"resourceVersion": str(version), **({"continue": more} if more else {})}
    return {"kind": kind, "apiVersion": "v1", "metadata": metadata, "items": list(items)}


def event(type_: str, one: Any) -> Any:
    return {"type": type_, "object": one}


def bookmark(version: int) -> Any:
    return event("BOOKMARK", {"kind": "ConfigMap", "metadata": {"resourceVersion": str(version)}})


def manifest(name: str = "settings", **data: str) -> Manifest:
    """A ConfigMap that we want."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "team"}, "data": data}
    return Manifest(ref=ref(name), body=body, hash="", agent=AgentName(namespace="team", name="a"))
