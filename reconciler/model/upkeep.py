"""What looking after a registry finds and does: faults, what pruning took away, what a backup holds. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Fault:
    """Something in a registry that cannot be right: `where` names the agent, table or file, `what` is for people."""

    where: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How much history was taken away, or would be. Audit entries are never among it."""

    revisions: int = 0
    changes: int = 0
    """Lines of the change feed that a later line of the same agent has replaced."""
    operations: int = 0
    """Ids of writes that were done, kept so that a write may be repeated."""
    journal: int = 0
    """Journal entries that have an outcome."""

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(
            revisions=self.revisions + other.revisions,
            changes=self.changes + other.changes,
            operations=self.operations + other.operations,
            journal=self.journal + other.journal,
        )

    @property
    def total(self) -> int:
        return self.revisions + self.changes + self.operations + self.journal


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUp:
    """What a backup holds: the registry as it was at change sequence `seq`, its audit chain up to `audit_seq`."""

    seq: int
    audit_seq: int
    audit_hash: str
    records: int
    size: int
    """In bytes."""
