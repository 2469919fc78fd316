"""Records of the registry, their revisions, and the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypedDict

from reconciler.model.registry import AgentRevision, Approval, AuditEntry, Record


class QuarantineShape(TypedDict):
    since: str
    reason: str


class OverrideShape(TypedDict):
    replicas: int
    author: str
    reason: str
    since: str
    until: str


class GoodShape(TypedDict):
    revision: int
    commit: str


class RecordShape(TypedDict):
    """An agent in the registry, in YAML names, without the whole document and manifests."""

    namespace: str
    name: str
    id: str
    state: str
    message: str
    labels: dict[str, str]
    revision: int
    lastTried: int
    commit: str
    source: str
    templates: list[str]
    placement: dict[str, int]
    home: str
    behind: list[str]
    protect: bool
    suspended: bool
    quarantine: QuarantineShape | None
    override: OverrideShape | None
    lastGood: GoodShape | None
    created: str
    updated: str
    lastSeen: str


class RevisionShape(TypedDict):
    """One revision of an agent, without its document."""

    revision: int
    at: str
    commit: str
    outcome: str
    specHash: str


class AuditShape(TypedDict):
    """One link of the audit chain."""

    seq: int
    at: str
    actor: str
    action: str
    agent: str
    commit: str
    message: str
    diff: Mapping[str, Any]
    hash: str


def moment(at_ms: int) -> str:
    """Unix milliseconds as RFC 3339 in UTC; "" for 0, which stands for never."""
    if not at_ms:
        return ""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def running(record: Record) -> tuple[int, str]:
    """(number, commit) of the revision that is applied: after a rollback the good one, not the one that failed."""
    good = record.good
    if good is not None and good.spec_hash == record.spec_hash:
        return good.number, good.commit
    return record.revision, record.commit


def record_json(record: Record) -> RecordShape:
    """A record."""
    quarantine, override, good = record.quarantine, record.override, record.good
    number, commit = running(record)
    return {
        "namespace": record.name.namespace,
        "name": record.name.name,
        "id": record.id,
        "state": str(record.state),
        "message": record.message,
        "labels": dict(record.labels),
        "revision": number,
        "lastTried": record.revision,
        "commit": commit,
        "source": record.source_path,
        "templates": list(record.lineage),
        "placement": {placed.cluster: placed.replicas for placed in record.placement},
        "home": record.home,
        "behind": list(record.behind),
        "protect": record.protect,
        "suspended": record.suspended,
        "quarantine": {"since": moment(quarantine.since_ms), "reason": quarantine.reason} if quarantine else None,
        "override": {
            "replicas": override.replicas,
            "author": override.author,
            "reason": override.reason,
            "since": moment(override.since_ms),
            "until": moment(override.until_ms),
        }
        if override
        else None,
        "lastGood": {"revision": good.number, "commit": good.commit} if good else None,
        "created": moment(record.created_ms),
        "updated": moment(record.updated_ms),
        "lastSeen": moment(record.last_seen_ms),
    }


def revision_json(revision: AgentRevision) -> RevisionShape:
    """One revision of an agent."""
    return {
        "revision": revision.number,
        "at": moment(revision.at_ms),
        "commit": revision.commit,
        "outcome": revision.outcome,
        "specHash": revision.spec_hash,
    }


def audit_json(entry: AuditEntry) -> AuditShape:
    """One link of the audit chain."""
    fact = entry.fact
    return {
        "seq": entry.seq,
        "at": moment(entry.at_ms),
        "actor": fact.actor,
        "action": fact.action,
        "agent": str(fact.agent) if fact.agent else "",
        "commit": fact.commit,
        "message": fact.message,
        "diff": fact.diff,
        "hash": entry.hash,
    }


class ApprovalShape(TypedDict):
    """What may be deleted now although it was held."""

    approval: str
    commit: str
    code: str
    agents: list[str]
    author: str
    reason: str
    until: str


def approval_json(key: str, made: Approval) -> ApprovalShape:
    """An approval by the `key` that it was given under."""
    return {
        "approval": key,
        "commit": made.commit,
        "code": made.code,
        "agents": [str(name) for name in made.agents],
        "author": made.author,
        "reason": made.reason,
        "until": moment(made.until_ms),
    }
