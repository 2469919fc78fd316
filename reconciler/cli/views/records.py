"""Records of the registry as JSON values and as times that people read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from reconciler.model.registry import AgentRevision, AuditEntry, Record


def age(then_ms: int, now_ms: int) -> str:
    """How long ago, as kubectl writes it: `45s`, `12m`, `5h`, `3d`."""
    seconds = max(0, now_ms - then_ms) // 1000
    for unit, size, most in (("s", 1, 120), ("m", 60, 120), ("h", 3600, 48)):
        if seconds < size * most:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86_400}d"


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


def record_json(record: Record) -> dict[str, Any]:
    """A record in YAML names, without the whole document and manifests."""
    quarantine = record.quarantine
    override = record.override
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
        "quarantine": quarantine and {"since": moment(quarantine.since_ms), "reason": quarantine.reason},
        "override": override
        and {
            "replicas": override.replicas,
            "author": override.author,
            "reason": override.reason,
            "since": moment(override.since_ms),
            "until": moment(override.until_ms),
        },
        "lastGood": record.good and {"revision": record.good.number, "commit": record.good.commit},
        "created": moment(record.created_ms),
        "updated": moment(record.updated_ms),
        "lastSeen": moment(record.last_seen_ms),
    }


def revision_json(revision: AgentRevision) -> dict[str, Any]:
    """One revision of an agent, without its document."""
    return {
        "revision": revision.number,
        "at": moment(revision.at_ms),
        "commit": revision.commit,
        "outcome": revision.outcome,
        "specHash": revision.spec_hash,
    }


def audit_json(entry: AuditEntry) -> dict[str, Any]:
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
