"""What the registry keeps: records, reservations, inventory, journal, audit, history, leases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.model.alert import Silence
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.recovery import RecoveryState
from reconciler.model.source import JsonObject


class AgentState(StrEnum):
    """States of a record. Which may follow which is in docs/architecture.md and held by TRANSITIONS."""

    REGISTERED = "registered"
    DEPLOYING = "deploying"
    RUNNING = "running"
    DEGRADED = "degraded"
    RECOVERING = "recovering"
    QUARANTINED = "quarantined"
    SUSPENDED = "suspended"
    TERMINATING = "terminating"
    GONE = "gone"


S = AgentState
TRANSITIONS: Mapping[AgentState, frozenset[AgentState]] = {
    S.REGISTERED: frozenset({S.DEPLOYING, S.DEGRADED, S.QUARANTINED, S.SUSPENDED, S.TERMINATING, S.GONE}),
    S.DEPLOYING: frozenset({S.RUNNING, S.DEGRADED, S.QUARANTINED, S.SUSPENDED, S.RECOVERING, S.TERMINATING, S.GONE}),
    S.RUNNING: frozenset({S.DEPLOYING, S.DEGRADED, S.RECOVERING, S.QUARANTINED, S.SUSPENDED, S.TERMINATING}),
    S.DEGRADED: frozenset({S.DEPLOYING, S.RUNNING, S.RECOVERING, S.QUARANTINED, S.SUSPENDED, S.TERMINATING}),
    S.RECOVERING: frozenset({S.DEPLOYING, S.RUNNING, S.DEGRADED, S.QUARANTINED, S.SUSPENDED, S.TERMINATING}),
    S.QUARANTINED: frozenset({S.DEPLOYING, S.RUNNING, S.DEGRADED, S.RECOVERING, S.SUSPENDED, S.TERMINATING}),
    S.SUSPENDED: frozenset({S.DEPLOYING, S.RUNNING, S.DEGRADED, S.RECOVERING, S.QUARANTINED, S.TERMINATING}),
    S.TERMINATING: frozenset({S.GONE, S.DEPLOYING}),
    S.GONE: frozenset({S.REGISTERED}),
}
"""Remaining in a state is always allowed. `gone` to `registered` is a new record with a new id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedReplicas:
    """How many replicas of an agent one cluster runs."""

    cluster: str
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Resources that a record holds on one cluster: requests of one replica, times `replicas`.

    `requests` maps resource names to canonical quantity text.
    """

    cluster: str
    replicas: int
    requests: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryEntry:
    """One object that we own. `hash` is of the manifest last applied; "" while intent is journalled but not confirmed.

    `resource_version` and `generation` are those that our last apply answered.
    """

    cluster: str
    ref: ObjectRef
    uid: str = ""
    resource_version: str = ""
    hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """A spec that failed. Lifted when the agent's spec hash differs from `spec_hash`, or by `resume`."""

    spec_hash: str
    since_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleOverride:
    """Scaling by hand: `replicas` until `until_ms` (0: until lifted)."""

    replicas: int
    author: str
    reason: str
    since_ms: int
    until_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Good:
    """The last revision of the agent that became ready: what a rollback returns to.

    `manifests` maps a cluster to the bodies that were applied there.
    """

    number: int
    commit: str
    spec_hash: str
    document: JsonObject
    manifests: Mapping[str, tuple[JsonObject, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An agent in the registry.

    `version` counts writes of this record (optimistic locking); 0 means not written yet. `document` and `spec_hash`
    are those of the agent as last applied (Agent.document). `revision` numbers the specs that were ever applied.
    Times are Unix milliseconds.
    """

    id: str
    name: AgentName
    version: int
    state: AgentState
    labels: Mapping[str, str]
    document: JsonObject = field(repr=False)
    spec_hash: str
    lineage: tuple[str, ...]
    source_path: str
    commit: str
    revision: int
    placement: tuple[PlacedReplicas, ...]
    reservations: tuple[Reservation, ...]
    inventory: tuple[InventoryEntry, ...]
    protect: bool = False
    suspended: bool = False
    """Suspended by hand (`suspend`), which is apart from `suspend` in Git."""
    quarantine: Quarantine | None = None
    override: ScaleOverride | None = None
    good: Good | None = field(default=None, repr=False)
    created_ms: int = 0
    updated_ms: int = 0
    last_seen_ms: int = 0
    message: str = ""
    """Why the state is what it is, for people."""
    behind: tuple[str, ...] = ()
    """Clusters on which something of the last change is still to be done: they could not be read, or were not asked
    for. What the inventory holds there may run as it did before."""
    begun: str = ""
    """The spec hash of the change that was begun last, ended or not; "" where nobody noted it."""
    home: str = ""
    """The cluster that a failover left, to which the agent goes back when that is well; "" where it is at home."""
    recovery: RecoveryState | None = None
    """What was done about its illnesses; None where it never had one. See `present_recovery`."""

    @property
    def present_recovery(self) -> RecoveryState | None:
        """`recovery` of the spec that runs. What was done about another one counts no more, and is never noted well."""
        state = self.recovery
        return state if state is not None and state.spec_hash == self.spec_hash else None

    @property
    def running_on(self) -> frozenset[str]:
        """The clusters on which pods of it are wanted."""
        return frozenset(share.cluster for share in self.placement if share.replicas)


class ClusterState(StrEnum):
    """How a cluster was when it was last looked at by somebody who writes it down."""

    WELL = "well"
    UNWELL = "unwell"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterHealth:
    """A cluster's state, and since when: written when the state changes, never else. Without one it was never unwell.

    `since_ms` is the first look that found it so: what it was between two looks nobody knows. `version` counts writes.
    """

    cluster: str
    version: int
    state: ClusterState
    since_ms: int
    reason: str = ""
    """What the look found, for people; "" for a cluster that is well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """That a person allowed what a plan of `commit` held back, for `code`: to delete `agents`, until `until_ms`."""

    commit: str
    code: str
    agents: tuple[AgentName, ...]
    author: str
    reason: str
    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRecord:
    """What is known of the fleet as a whole. `cluster_uids` pins each cluster's identity at first contact."""

    name: str
    version: int
    commit: str = ""
    cluster_uids: Mapping[str, str] = field(default_factory=dict)
    spent_plans: tuple[str, ...] = ()
    """Digests of saved plans that were applied, newest last, at most 100."""
    silences: tuple[Silence, ...] = ()
    """For which alerts nobody is told anything, until when."""
    approvals: tuple[Approval, ...] = ()
    """What may be deleted although it is held, newest last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySnapshot:
    """A consistent read of all live records (state other than gone) at change sequence `seq`; `clusters` by name."""

    seq: int
    fleet: FleetRecord | None
    records: Mapping[AgentName, Record]
    clusters: Mapping[str, ClusterHealth] = field(default_factory=dict)


class JournalPhase(StrEnum):
    INTENT = "intent"
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One effect on one agent, written before it starts. `id` is deterministic: agent, action and fingerprint.

    `detail` holds what finishing or undoing needs after a crash (refs, manifest hashes, the action).
    """

    id: str
    agent: AgentName
    action: str
    phase: JournalPhase
    commit: str
    detail: JsonObject
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFact:
    """What a writer says of a write. `diff` holds field changes with secrets already masked."""

    actor: str
    action: str
    agent: AgentName | None
    commit: str = ""
    message: str = ""
    diff: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A link of the audit chain: `hash` = hex SHA-256 over the canonical JSON of all other fields, `previous` too."""

    seq: int
    at_ms: int
    fact: AuditFact
    previous: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRevision:
    """One spec of an agent that was applied, kept as history."""

    agent: AgentName
    number: int
    commit: str
    spec_hash: str
    at_ms: int
    outcome: str
    document: JsonObject = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """A lease that a write depends on, and its epoch when the writer took it."""

    lease: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One transaction: all of it or nothing.

    `op_id` makes it repeatable: a Write whose `op_id` was committed before answers with the sequence of then and
    changes nothing. `records` are put as given; each must have the `version` that the registry holds plus one
    (1 for a new one), else RegistryConflict; so must `fleet` and each of `clusters`. A record in state gone leaves
    the live set and its reservations go with it. `epoch`, when given, must be at least the lease's current epoch
    (fencing), else RegistryConflict; so must be that of each of `fences`, leases that a write depends on as well.
    """

    op_id: str
    at_ms: int
    records: tuple[Record, ...] = ()
    fleet: FleetRecord | None = None
    journal: tuple[JournalEntry, ...] = ()
    revisions: tuple[AgentRevision, ...] = ()
    audit: tuple[AuditFact, ...] = ()
    clusters: tuple[ClusterHealth, ...] = ()
    lease: str = ""
    epoch: int = 0
    fences: tuple[Fence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A lease that is held. `epoch` grows with every change of holder; `expires_ms` is wall-clock time."""

    name: str
    holder: str
    epoch: int
    expires_ms: int
    says: str = ""
    """What its holder lets those know who list leases, since it last took or renewed it."""
