"""Saved plans: written, read again with suspicion, compared by what they would do.

A plan file holds no manifests and no secrets. Applying one computes the plan anew and does the saved changes, exactly
if their fingerprints are still the same. So an edited file can at most be refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from reconciler.model.errors import ReconcilerError
from reconciler.model.identity import AgentName
from reconciler.model.plan import Change, Plan, Policy
from reconciler.plan.document import FORMAT_VERSION, change_document, plan_document
from reconciler.plan.fingerprint import digest

MAX_BYTES = 64 * 1024 * 1024
_MAJOR = FORMAT_VERSION.partition(".")[0]


class PlanFileError(ReconcilerError):
    """A file that is no plan, was changed after it was written, or comes from a newer program."""


class _SavedPolicy(msgspec.Struct, frozen=True, rename="camel"):
    max_deletes: int | str | None
    allow_empty: bool
    accept_rewind: bool
    targets: tuple[str, ...]
    clusters: tuple[str, ...]
    destroy: bool
    accept_clusters: tuple[str, ...] = ()
    forget_clusters: tuple[str, ...] = ()
    ignore_windows: bool = False


class _SavedChange(msgspec.Struct, frozen=True):
    agent: str
    action: str
    fingerprint: str


class _File(msgspec.Struct, frozen=True, rename="camel"):
    fleet: str
    commit: str
    policy: _SavedPolicy
    changes: tuple[_SavedChange, ...]
    digest: str


class _Version(msgspec.Struct, frozen=True):
    format_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPlan:
    """A plan that was saved. `fingerprints` by agent; `document` is the whole file for views."""

    fleet: str
    commit: str
    policy: Policy
    fingerprints: Mapping[AgentName, str]
    digest: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One agent whose saved change is not what would be done now. `now` None: nothing would be done any more."""

    agent: AgentName
    saved: Mapping[str, Any]
    now: Mapping[str, Any] | None


def dump(plan: Plan) -> bytes:
    """The bytes of a plan file: equal plans, equal bytes."""
    document = plan_document(plan)
    document["digest"] = digest(document)
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def load(data: bytes) -> SavedPlan:
    """Read a plan file. Raises PlanFileError with what is wrong and what to do."""
    if len(data) > MAX_BYTES:
        raise PlanFileError(f"the plan file has {len(data)} bytes, {MAX_BYTES} are allowed", hint=_AGAIN)
    try:
        version = msgspec.json.decode(data, type=_Version).format_version
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PlanFileError(f"this is no plan file: {error}", hint=_AGAIN) from None
    if version.partition(".")[0] != _MAJOR:
        raise PlanFileError(
            f"the plan file has format {version[:20]}, this program reads {_MAJOR}.x",
            hint="apply it with the version that wrote it, or plan again",
        )
    try:
        document = msgspec.json.decode(data)
        file = msgspec.convert(document, _File)
        names = [AgentName.parse(change.agent) for change in file.changes]
        targets = tuple(AgentName.parse(name) for name in file.policy.targets)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PlanFileError(f"the plan file is damaged: {error}", hint=_AGAIN) from None
    if len(set(names)) < len(names):
        raise PlanFileError("the plan file is damaged: an agent stands in it twice", hint=_AGAIN)
    claimed = document.pop("digest")
    if digest(document) != claimed:
        raise PlanFileError("the plan file was changed after it was written", hint=_AGAIN)
    return SavedPlan(
        fleet=file.fleet,
        commit=file.commit,
        policy=Policy(
            max_deletes=file.policy.max_deletes,
            allow_empty=file.policy.allow_empty,
            accept_rewind=file.policy.accept_rewind,
            targets=targets,
            clusters=file.policy.clusters,
            accept_clusters=file.policy.accept_clusters,
            forget_clusters=file.policy.forget_clusters,
            destroy=file.policy.destroy,
            ignore_windows=file.policy.ignore_windows,
        ),
        fingerprints=dict(zip(names, (change.fingerprint for change in file.changes), strict=True)),
        digest=claimed,
        document=document,
    )


_AGAIN = "make a new one with `reconciler plan --out FILE`"


def compare(saved: SavedPlan, now: Plan) -> tuple[Difference, ...]:
    """Saved changes that would not be the same now, by agent.

    Changes that only the plan of now has do not matter: they were not approved, and are not done.
    """
    current: dict[AgentName, Change] = {change.name: change for change in now.changes}
    before = {item["agent"]: item for item in saved.document["changes"]}
    found = []
    for name, fingerprint in sorted(saved.fingerprints.items()):
        change = current.get(name)
        document = change_document(change) if change else None
        if change is None or change.fingerprint != fingerprint or _shown(before[str(name)]) != _shown(document):
            found.append(Difference(agent=name, saved=before[str(name)], now=document))
    return tuple(found)


def _shown(document: Mapping[str, Any] | None) -> Any:
    """What of a change people go by when they read its plan, and what follows from its fingerprint: its action,
    objects and attributes. A file in which somebody wrote other ones is not what would be done.
    """
    if document is None:
        return ()
    said = [document.get(key) for key in ("action", "objects", "attributes")]
    action, objects, attributes = msgspec.json.decode(msgspec.json.encode(said))
    if not isinstance(attributes, list) or not all(isinstance(item, dict) for item in attributes):
        return None
    return (
        action,
        objects,
        [{key: item[key] for key in ("path", "before", "after") if key in item} for item in attributes],
    )


def restrict(plan: Plan, saved: SavedPlan) -> Plan:
    """`plan` with the saved changes only, in the same order."""
    changes = tuple(change for change in plan.changes if change.name in saved.fingerprints)
    return dataclasses.replace(plan, changes=changes, partial=True)
