"""Fingerprints: what a change would do, boiled down to the fields that matter.

Two changes with one fingerprint have the same effect on the same fields. Not in it: uids and resource versions (they
move when nothing of ours does), reasons, provenance and the commit.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from reconciler.model.identity import AgentName
from reconciler.model.plan import Action, ObjectChange
from reconciler.model.registry import PlacedReplicas

_encode = msgspec.json.Encoder(order="sorted").encode


def digest(value: Any) -> str:
    """Hex SHA-256 over canonical JSON."""
    return hashlib.sha256(_encode(value)).hexdigest()


def fingerprint(
    name: AgentName,
    action: Action,
    *,
    before: str,
    after: str,
    objects: tuple[ObjectChange, ...],
    placement: tuple[PlacedReplicas, ...],
) -> str:
    """The fingerprint of one change. `before` and `after` are spec hashes, "" where there is none."""
    effects = [
        [
            change.cluster,
            str(change.ref),
            change.verb,
            change.manifest.hash if change.manifest else "",
            change.force,
            change.take,
        ]
        for change in objects
    ]
    return digest([str(name), action, before, after, effects, [[p.cluster, p.replicas] for p in placement]])
