"""Moving a registry: all that one keeps, as a stream of values, and the check that such a stream is whole.

May hold values and pure functions over them only. A stream begins with a Heading and ends with an Ending; between them
each kind comes in an order of its own. Leases are left out: whoever holds one holds it where it was taken.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.audit import GENESIS, link_fault
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.registry import AgentRevision, AuditEntry, ClusterHealth, FleetRecord, JournalEntry, Record
from reconciler.model.series import HealthChange

FORMAT = 2
"""2: with the history of health."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """Where the registry stood: its change sequence, and the end of its audit chain."""

    seq: int
    audit_seq: int
    audit_hash: str
    format: int = FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRecord:
    """A record, also one that is gone, with the change sequence of its last write."""

    seq: int
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptChange:
    """A line of the change feed."""

    seq: int
    agent: AgentName


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptJournal:
    """A journal entry, open or closed, with its place in the order of open ones."""

    position: int
    entry: JournalEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptOperation:
    """A write that was done: a repetition of it is known afterwards too. `digest` is hex."""

    position: int
    op_id: str
    seq: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPoints:
    """Points of health of many agents for one span of time, as registries keep them: see adapters/stored/series."""

    span_ms: int
    start_ms: int
    part: int
    points: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How many values of each kind came before: without it a stream was cut."""

    counts: Mapping[str, int]


Kept = (
    Heading
    | FleetRecord
    | ClusterHealth
    | KeptRecord
    | KeptChange
    | KeptJournal
    | AgentRevision
    | AuditEntry
    | KeptOperation
    | HealthChange
    | KeptPoints
    | Ending
)

KINDS: Mapping[type, str] = {
    Heading: "heading",
    FleetRecord: "fleet",
    ClusterHealth: "cluster",
    KeptRecord: "record",
    KeptChange: "change",
    KeptJournal: "journal",
    AgentRevision: "revision",
    AuditEntry: "audit",
    KeptOperation: "operation",
    HealthChange: "health-change",
    KeptPoints: "health-points",
    Ending: "ending",
}


@dataclass(slots=True)
class Tally:
    """Counts what goes by, for the Ending."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, item: Kept) -> None:
        self.counts[KINDS[type(item)]] += 1

    def ending(self) -> Ending:
        return Ending(counts=dict(sorted(self.counts.items())))


@dataclass(slots=True)
class Intake:
    """Checks a stream value by value while it is taken in. Every method raises RegistryError at the first fault."""

    heading: Heading | None = None
    _tally: Tally = field(default_factory=Tally)
    _audit: tuple[int, str] = (0, GENESIS)
    _feed: int = 0
    _ended: bool = False

    def take(self, item: Kept) -> None:
        """The next value."""
        if self._ended:
            raise _broken("something follows its end")
        match item:
            case Heading():
                self._open(item)
            case _ if self.heading is None:
                raise _broken("it does not begin as one")
            case Ending(counts=counts):
                if dict(counts) != dict(self._tally.counts):
                    raise _broken("values are missing from it, or were put in")
                self._ended = True
                return
            case AuditEntry():
                self._link(item)
            case KeptRecord(seq=seq):
                self._within(seq)
            case KeptChange(seq=seq):
                self._within(seq)
                if seq <= self._feed:
                    raise _broken(f"change {seq} does not come after change {self._feed}")
                self._feed = seq
            case _:
                _check_digest(item)
        self._tally.add(item)

    def end(self) -> Heading:
        """After the last value: the heading, when the stream was whole."""
        if self.heading is None or not self._ended:
            raise _broken("it ends early")
        if self._audit != (self.heading.audit_seq, self.heading.audit_hash):
            raise _broken(f"its audit chain ends with entry {self._audit[0]}, not {self.heading.audit_seq}")
        return self.heading

    @property
    def counts(self) -> Mapping[str, int]:
        """How many values of each kind came."""
        return self._tally.counts

    def _open(self, heading: Heading) -> None:
        if self.heading is not None:
            raise _broken("it begins twice")
        if heading.format > FORMAT:
            raise RegistryError(
                f"the export has format {heading.format}, and this program knows formats up to {FORMAT}",
                hint="a newer reconciler wrote it: use that one, or upgrade this one",
            )
        self.heading = heading

    def _link(self, entry: AuditEntry) -> None:
        seq, previous = self._audit
        fault = link_fault(entry, seq=seq + 1, previous=previous)
        if fault:
            raise _broken(f"its audit chain is broken: {fault}")
        self._audit = entry.seq, entry.hash

    def _within(self, seq: int) -> None:
        if self.heading is None or not 0 < seq <= self.heading.seq:
            raise _broken(f"change sequence {seq} is none of this registry's")


_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


def _check_digest(item: Kept) -> None:
    if isinstance(item, KeptOperation) and not _DIGEST.match(item.digest):
        raise _broken(f"the digest of operation {item.op_id[:80]} is none")


def _broken(why: str) -> RegistryError:
    return RegistryError(f"the export is not whole: {why}", hint="nothing was taken from it; export the registry again")
