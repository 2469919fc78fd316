"""What an object of somebody else's had where we are about to write something else: the way back from an adoption.

May live here: cutting those fields out of a live object. Must not: know when an adoption fails, or how it is undone.

Applied again under our name, they bring the former values back, and all that we added goes by itself: server-side apply
removes what a manager owned alone and applies no more. What the other manager owns is not touched by either.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import msgspec

from reconciler.model.objects import LiveObject
from reconciler.model.plan import Missing
from reconciler.model.source import JsonObject
from reconciler.plan.ownership import Lost


def former(wanted: JsonObject, live: LiveObject, lost: Iterable[Lost]) -> JsonObject:
    """As much of `live` as `lost` changes, as a body to apply.

    A service account that is taken away stays where a server has written it a second time (`serviceAccount`), so one
    that was not said is said.
    """
    body: dict[str, Any] = {
        "apiVersion": wanted["apiVersion"],
        "kind": wanted["kind"],
        "metadata": {"name": live.ref.name, "namespace": live.ref.namespace},
    }
    for item in lost:
        if item.live is not Missing.FIELD:
            _put(body, item.fields, item.live)
        elif item.fields[-1] == "f:serviceAccountName":
            _put(body, item.fields, "default")
    return body


def _put(body: Any, path: tuple[str, ...], value: Any) -> None:
    """Set what stands at a path in managedFields' terms, making maps and keyed items on the way."""
    here = body
    for step, then in itertools.pairwise(path):
        if step.startswith("k:"):
            here = _item(here, msgspec.json.decode(step[2:]))
        else:
            here = here.setdefault(step[2:], [] if then.startswith("k:") else {})
    if path[-1].startswith("k:"):
        _item(here, msgspec.json.decode(path[-1][2:])).update(value)
    else:
        here[path[-1][2:]] = value


def _item(items: list[dict[str, Any]], identity: dict[str, Any]) -> dict[str, Any]:
    for item in items:
        if all(item.get(key) == value for key, value in identity.items()):
            return item
    items.append(dict(identity))
    return items[-1]
