"""The ports: what the engine needs of the world. Adapters implement them, tests fake them, bootstrap joins them.

Must not know: any adapter, the engine, or how a back end works. All failures are those of model.errors. Every
implementation of a port passes the one contract suite of that port (tests/contracts/).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from reconciler.model.alert import AlertChange, AlertState, Answer, Notification, Queued, Waiting
from reconciler.model.audit import AuditVerdict
from reconciler.model.health import ProbeRequest, Sample
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import (
    FIELD_MANAGER,
    Capacity,
    ClusterIdentity,
    LiveObject,
    LiveSet,
    LogOptions,
    Manifest,
    Observation,
    Precondition,
    Scope,
    Usage,
)
from reconciler.model.ownership import OwnedPath
from reconciler.model.query import GroupCount, Page, Query, QueryPlan
from reconciler.model.registry import (
    AgentRevision,
    AuditEntry,
    JournalEntry,
    Lease,
    Record,
    RegistrySnapshot,
    Write,
)
from reconciler.model.series import HealthChange, HealthPoint, Retention
from reconciler.model.source import Blob, Revision
from reconciler.model.transfer import Kept
from reconciler.model.upkeep import BackedUp, Fault, Pruned


class Clock(Protocol):
    """Time as a parameter. Wall time is only shown and recorded; waits and time-outs use `monotonic`."""

    def now_ms(self) -> int: ...
    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class Source(Protocol):
    """A Git repository: a bare mirror, or a working tree."""

    async def fetch(self) -> None:
        """Bring what is known up to date with where it comes from. Raises SourceError; what was known stays then."""

    async def revision(self, ref: str) -> Revision:
        """Resolve `ref` ("" is what is checked out). Raises SourceError for a ref that does not exist or is no ref."""

    async def blobs(self, revision: Revision) -> Mapping[str, Blob]:
        """All regular files and links below the fleet's folder, by path from that folder. Raises SourceError."""

    async def changed(self, old: Revision, new: Revision) -> frozenset[str]:
        """Paths, as in `blobs`, that differ between two revisions."""

    async def is_ancestor(self, old: Revision, new: Revision) -> bool:
        """Whether `old` is reachable from `new`; False also when `old` is no longer there (a force-push)."""

    def changed_here(self) -> AsyncGenerator[None, None]:
        """Tell whenever what is written on this machine may make another revision or other files; maybe too often.

        Ends at once where nobody writes here. Raises SourceError where it cannot be told: then ask every so often.
        """


class Cluster(Protocol):
    """One cluster, spoken to as Kubernetes is: objects, server-side apply, preconditions, watches."""

    @property
    def name(self) -> str: ...

    @property
    def reaches_pods(self) -> bool:
        """Whether pods' addresses lead there from here. From outside of a cluster they may lead to somebody else."""

    async def identity(self) -> Observation[ClusterIdentity]:
        """Who the cluster is, and which optional APIs it serves. Asked first of every look, and must be cheap.

        Unreadable is `refused` where somebody answered and does not let us in, or where our own configuration names
        nobody to ask: nothing follows from that of how the cluster is. Anything else counts as an outage.
        """

    async def observe(self, scope: Scope) -> Observation[LiveSet]:
        """A complete list of the scope, or Unreadable. What alone cannot be read is listed inside.

        A kind that the cluster does not have is not there: it is neither unreadable nor an error.
        While somebody listens to `changes`, it may be answered from a copy that the events keep, moments old.
        """

    async def get(self, ref: ObjectRef) -> Observation[LiveObject]:
        """One object, read live, never from a cache."""

    async def apply(
        self,
        manifest: Manifest,
        expect: Precondition,
        *,
        manager: str = FIELD_MANAGER,
        force: bool = False,
        take: Sequence[OwnedPath] = (),
    ) -> LiveObject:
        """Server-side apply.

        Fields at `take` are taken over from hand edits first (see model.ownership), so that they go where the manifest
        does not say them. May be repeated.
        Raises PreconditionFailed, FieldConflict, Rejected, NotAllowed, ClusterUnavailable, OutcomeUnknown.
        """

    async def delete(self, ref: ObjectRef, expect: Precondition) -> None:
        """Delete with background propagation; an object that is not there is no error unless `expect` is MustBe.

        Raises PreconditionFailed (also when it is another uid), Rejected, NotAllowed, ClusterUnavailable,
        OutcomeUnknown.
        """

    def changes(self, scope: Scope) -> AsyncGenerator[ObjectRef, None]:
        """References of objects that changed since the call: "look again", nothing more; may repeat, may be late."""

    async def capacity(self) -> Observation[Capacity]:
        """What can be placed. A cluster counts as out of order when it says that no node is ready: see Capacity."""

    async def usage(self, scope: Scope) -> Observation[Usage]: ...

    def logs(self, pod: ObjectRef, options: LogOptions) -> AsyncIterator[str]:
        """Lines of a pod's log. Raises Rejected when there is no such pod."""


class Registry(Protocol):
    """Records, inventory, journal, audit, history, leases. Every write is one transaction."""

    def new_id(self) -> str:
        """A time-ordered, collision-free id for a new record (lower-case, DNS-label safe)."""

    async def snapshot(self) -> Observation[RegistrySnapshot]: ...

    async def get(self, name: AgentName) -> Observation[Record]: ...

    async def find(self, query: Query, *, limit: int, after: str = "") -> Page:
        """The first `limit` (1 to MAX_PAGE) live records of an answer, or those that follow a page's `next`.

        Raises QueryError for a token of another query, RegistryError when the registry cannot be read.
        """

    async def count(self, query: Query, *, by: str = "") -> tuple[GroupCount, ...]:
        """How many live records a query answers: all in one group of value None, or by their values at a path.

        Groups come in the order of their values, nothing first. The order of the query does not matter.
        """

    async def explain(self, query: Query, *, limit: int, after: str = "") -> QueryPlan:
        """How `find` would answer now: it may depend on what is stored."""

    async def commit(self, write: Write) -> int:
        """Do all of `write` or nothing, and answer the change sequence.

        Raises RegistryConflict (nothing written), RegistryError (nothing written), OutcomeUnknown (repeat the same
        Write: its op_id makes that safe).
        """

    async def open_journal(self) -> tuple[JournalEntry, ...]:
        """Entries in phase intent, oldest first."""

    async def revisions(self, name: AgentName) -> tuple[AgentRevision, ...]:
        """An agent's applied specs, newest first, also of an agent that is gone."""

    def audit(self, *, name: AgentName | None = None, since: int = 0) -> AsyncIterator[AuditEntry]:
        """Audit entries with seq > `since`, ascending."""

    async def verify_audit(self) -> AuditVerdict:
        """Check the whole audit chain, its end included. Raises RegistryError when it cannot be read."""

    def changes(self, since: int) -> AsyncIterator[tuple[int, AgentName]]:
        """(sequence, agent) of every record write after `since`, ascending, each once; ends at the present."""

    async def acquire(self, lease: str, *, holder: str, ttl_ms: int, now_ms: int, says: str = "") -> Lease:
        """Take or renew a lease, and let others know what it `says`.

        Raises RegistryConflict naming the holder and when it expires.
        """

    async def leases(self, prefix: str) -> tuple[Lease, ...]:
        """All leases that were ever taken whose names begin so, by name: who holds each, "" for nobody, and until when.

        Raises RegistryError.
        """

    async def release(self, lease: Lease) -> None:
        """Give a lease up; one that is no longer held is no error."""

    async def record_health(
        self, changes: Sequence[HealthChange], points: Sequence[HealthPoint], *, op_id: str
    ) -> None:
        """Keep changes of agents' health, and points, in one transaction. Nothing else moves: no record, no feed.

        A change at a moment that is on record of the agent replaces it; a point is merged with that of its span, and
        into the longer spans that it is part of. May be repeated with its `op_id` as long as few others wrote to the
        same spans: what was done before is not done twice. Raises RegistryError (nothing written),
        OutcomeUnknown.
        """

    async def health_changes(self, name: AgentName | None, *, since_ms: int) -> tuple[HealthChange, ...]:
        """Changes of an agent, or of all, from `since_ms` on, and of each agent at least its last; by agent and time.

        Raises RegistryError.
        """

    async def health_points(
        self, name: AgentName | None, *, since_ms: int, until_ms: int, span_ms: int
    ) -> tuple[HealthPoint, ...]:
        """Points of an agent, or of all, whose span (one of model.series.SPANS) begins at `since_ms` or later, and
        before `until_ms`; by agent and time. Raises RegistryError.
        """

    async def prune_health(self, retention: Retention, *, now_ms: int, most: int) -> int:
        """Take away history of health that is older than it is kept, `most` rows at most, and answer how many went.

        The last change of each agent stays unless that is `unknown`. Raises RegistryError.
        """

    async def close(self) -> None: ...


class Movable(Registry, Protocol):
    """A registry that can be taken out whole, and put into an empty one."""

    def export(self) -> AsyncIterator[Kept]:
        """All that is kept, as it was at one moment. Raises RegistryError when it cannot be read."""

    async def load(self, kept: AsyncIterator[Kept]) -> Mapping[str, int]:
        """Fill this registry, which must be empty, and answer how many values of each kind it was filled with.

        All or nothing, checked by model.transfer.Intake; sequence numbers stay as they were. Nobody may write
        meanwhile. Raises RegistryError.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a copy of a registry has come: change `seq`, known to be the last one at `as_of_ms`.

    0 and 0 while it is empty.
    """

    seq: int
    as_of_ms: int


class Mirror(Protocol):
    """Keeps a copy of a registry's records, to be searched. Every failure is a RegistryError."""

    async def position(self) -> Position: ...

    async def fill(self, snapshot: RegistrySnapshot, *, as_of_ms: int) -> None:
        """Hold exactly these records."""

    async def take(self, records: Mapping[int, tuple[AgentName, Record | None]], position: Position) -> bool:
        """Hold these records too, each by the change that it came with, None for an agent that is gone.

        False, and nothing is done, where another process has brought the copy further meanwhile.
        """

    async def find(self, query: Query, *, limit: int, after: str = "") -> Page: ...

    async def count(self, query: Query, *, by: str = "") -> tuple[GroupCount, ...]: ...

    async def explain(self, query: Query, *, limit: int, after: str = "") -> QueryPlan: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """Why the last answers came from a copy that could not be brought up to date, and of when they are."""

    as_of_ms: int
    reason: str


@runtime_checkable
class Aging(Protocol):
    """A registry whose queries may be answered from a copy while it is away."""

    @property
    def stale(self) -> Stale | None:
        """None where the last question was answered as the registry is."""


@runtime_checkable
class Upkeep(Protocol):
    """What a registry that we look after ourselves can do beside `Registry`."""

    async def integrity(self) -> tuple[Fault, ...]:
        """What is wrong with how records are kept: files, indexes, rows. Raises RegistryError when it cannot look."""

    async def prune(self, *, before_ms: int, said: Write | None) -> Pruned:
        """Take away history that is older. `said`, which is what the audit says of it, is written in the same
        transaction, or in the first of several.

        With None it is only counted. Kept whatever its age: of each live agent the newest revision and the last good
        one, the last change of each agent, open journal entries, and the whole audit log. Raises RegistryError.
        """

    async def backup(self, target: Path) -> BackedUp:
        """Copy all of it as it is at one moment into a file, while others write: a registry's file, or an export.

        Raises RegistryError.
        """


class Signer(Protocol):
    """Makes and checks signatures with keys in files. Blocks: a person may be asked for a passphrase."""

    def sign(self, data: bytes, key: Path, *, purpose: str) -> str:
        """A signature of `data` as text, good for `purpose` only. Raises ReconcilerError."""

    def verify(self, data: bytes, signature: str, public: Path, *, purpose: str) -> str:
        """The key's fingerprint. Raises ReconcilerError where it is not a signature of exactly this with that key."""


class Prober(Protocol):
    """Asks an agent's endpoints how they are. Endpoints are hostile: bounded in time and size, no redirects."""

    async def probe(self, request: ProbeRequest) -> Sample:
        """One measurement. Never raises for what the endpoint does: that is what a Sample says."""

    async def close(self) -> None: ...


class AlertSink(Protocol):
    """Where one route's notifications go. Receivers are hostile: bounded in time and size, no redirects."""

    async def send(self, notification: Notification) -> Answer:
        """One attempt. Never raises for what the receiver does: that is what an Answer says, without any secret."""

    async def close(self) -> None: ...


class AlertBook(Protocol):
    """What is active, what routes were told, and what is still to be sent: durable. Every failure is a RegistryError.

    A route's notifications are kept in their order and up to a bound: beyond it the oldest is dropped, and counted.
    """

    async def state(self) -> AlertState: ...

    async def unsent(self) -> frozenset[tuple[str, str]]:
        """(route, key) of the groups of which something is still to be sent."""

    async def commit(self, change: AlertChange) -> Mapping[str, int]:
        """Write all of it or nothing, and answer how many notifications were dropped for it, by route."""

    async def next(self, route: str) -> Queued | None:
        """What is to be sent next on a route; it stays where it is until it was tried with success."""

    async def tried(self, queued: Queued, answer: Answer) -> None:
        """Note what became of an attempt. What was sent, or is refused for good, leaves the queue."""

    async def forget(self, routes: frozenset[str]) -> int:
        """Drop what is queued for routes other than these, and answer how many notifications that were."""

    async def waiting(self) -> tuple[Waiting, ...]:
        """By route, sorted."""

    async def close(self) -> None: ...
