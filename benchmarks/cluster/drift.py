"""Hands of a stranger: writes to objects behind our back, and how long each stayed, seen by a watch of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.controlplane.plane import ControlPlane

UNDONE_WITHIN_S = 60
STRANGER = "kubectl-edit"
STRATEGIC = "application/strategic-merge-patch+json"
Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """One kind of foreign write: where, what, and how an object looks that has it."""

    what: str
    collection: str
    verb: str
    patch: Body | None
    has_it: Callable[[Body], bool]


def _image(one: Body) -> bool:
    return bool(one["spec"]["template"]["spec"]["containers"][0]["image"] == "example.org/other:1")


KINDS = (
    Foreign(
        what="another image",
        collection="/apis/apps/v1/namespaces/{}/deployments",
        verb="PATCH",
        patch={"spec": {"template": {"spec": {"containers": [{"name": "agent", "image": "example.org/other:1"}]}}}},
        has_it=_image,
    ),
    Foreign(
        what="other replicas",
        collection="/apis/apps/v1/namespaces/{}/deployments",
        verb="PATCH",
        patch={"spec": {"replicas": 3}},
        has_it=lambda one: bool(one["spec"]["replicas"] == 3),
    ),
    Foreign(
        what="a changed configuration",
        collection="/api/v1/namespaces/{}/configmaps",
        verb="PATCH",
        patch={"data": {"agent.json": "{}"}},
        has_it=lambda one: bool(one["data"]["agent.json"] == "{}"),
    ),
    Foreign(
        what="a deleted Service",
        collection="/api/v1/namespaces/{}/services",
        verb="DELETE",
        patch=None,
        has_it=lambda _: False,
    ),
)


def undo_time(plane: ControlPlane, foreign: Foreign, namespace: str, name: str) -> float:
    """Seconds from the watch event of a foreign write to the event that shows it undone."""
    collection = foreign.collection.format(namespace)
    path = f"{collection}/{name}"
    field = quote(f"metadata.name={name}", safe="")
    # the list's version, which is of now: an object's own may be compacted away by the time it is watched from
    version = plane.api.json("GET", f"{collection}?fieldSelector={field}")["metadata"]["resourceVersion"]
    watch = f"{collection}?watch=1&fieldSelector={field}&resourceVersion={version}&timeoutSeconds={UNDONE_WITHIN_S}"
    with plane.api.lines(watch, timeout_s=UNDONE_WITHIN_S + 5) as lines:
        if foreign.verb == "DELETE":
            plane.api.json("DELETE", path)
        else:
            plane.api.ask("PATCH", f"{path}?fieldManager={STRANGER}", foreign.patch, content_type=STRATEGIC)
        seen = 0.0
        for line in lines:
            event, now = json.loads(line), time.perf_counter()
            if event["type"] == "ERROR":
                raise SystemExit(f"watching {namespace}/{name}: {event['object'].get('message')}")
            there = event["type"] == "DELETED" or foreign.has_it(event["object"])
            if there and not seen:
                seen = now
            elif seen and not there:
                return now - seen
    raise SystemExit(f"{foreign.what} of {namespace}/{name} was not undone within {UNDONE_WITHIN_S} s")
