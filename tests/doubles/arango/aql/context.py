"""What one running query carries: its bind parameters, transaction, options, counts and warnings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.doubles.arango.errors import ArangoError
from tests.doubles.arango.store import Collection, Database
from tests.doubles.arango.transactions import Transaction

Env = dict[str, Any]


@dataclass(slots=True)
class Stats:
    writes_executed: int = 0
    writes_ignored: int = 0
    document_lookups: int = 0
    scanned_full: int = 0
    scanned_index: int = 0
    cursors_created: int = 0
    filtered: int = 0
    full_count: int | None = None

    def shown(self, seconds: float) -> dict[str, Any]:
        return {
            "writesExecuted": self.writes_executed,
            "writesIgnored": self.writes_ignored,
            "documentLookups": self.document_lookups,
            "seeks": 0,
            "scannedFull": self.scanned_full,
            "scannedIndex": self.scanned_index,
            "searchParallelism": 1,
            "cursorsCreated": self.cursors_created,
            "cursorsRearmed": 0,
            "cacheHits": 0,
            "cacheMisses": 0,
            "filtered": self.filtered,
            "httpRequests": 0,
            **({} if self.full_count is None else {"fullCount": self.full_count}),
            "executionTime": seconds,
            "peakMemoryUsage": 0,
            "intermediateCommits": 0,
        }


@dataclass(slots=True)
class Context:
    """`rights` raises where the user may not read or write a collection."""

    db: Database
    trx: Transaction
    binds: dict[str, Any]
    now_ms: int
    full_count: bool = False
    fail_on_warning: bool = False
    max_warnings: int = 10
    stats: Stats = field(default_factory=Stats)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    used_binds: set[str] = field(default_factory=set)
    read: dict[str, Collection] = field(default_factory=dict)
    written: dict[str, Collection] = field(default_factory=dict)
    node_number: int = 3  # of the first data-modification in the plan, for messages
    exclusive: bool = False  # an OPTIONS asks for its collections alone
    modified: set[str] = field(default_factory=set)  # while compiling: collections that a clause before this changed

    def warn(self, number: int, message: str) -> None:
        if self.fail_on_warning:
            raise ArangoError(number, f"AQL: {message} (while executing)")
        if len(self.warnings) < self.max_warnings:
            self.warnings.append({"code": number, "message": message})

    def bind(self, name: str) -> Any:
        self.used_binds.add(name)
        if name not in self.binds:
            raise ArangoError(1551, f"AQL: no value specified for declared bind parameter '{name}' (while parsing)")
        return self.binds[name]

    def bind_name(self, name: str) -> str:
        """The name of a collection that `@@name` stands for."""
        value = self.bind(name)
        if not isinstance(value, str) or not value:
            raise ArangoError(1553, f"AQL: bind parameter '{name}' has an invalid value or type (while parsing)")
        return value

    def reading(self, name: str) -> Collection:
        """A collection that the query reads. Raises 1203, and 1579 when the query changed it before."""
        found = self.db.collection(name)
        if found.name in self.modified:
            raise ArangoError(
                1579, f"AQL: access after data-modification by collection '{found.name}' (while instantiating plan)"
            )
        self.read[found.name] = found
        return found

    def writing(self, name: str) -> Collection:
        found = self.reading(name)
        self.written[found.name] = found
        return found
