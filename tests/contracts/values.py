"""Records and writes to test registries with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from reconciler.model.agent import Remedy
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.recovery import Ended, RecoveryState, Taken
from reconciler.model.registry import (
    AgentRevision,
    AgentState,
    Approval,
    AuditFact,
    ClusterHealth,
    ClusterState,
    FleetRecord,
    Good,
    InventoryEntry,
    JournalEntry,
    JournalPhase,
    PlacedReplicas,
    Quarantine,
    Record,
    Reservation,
    ScaleOverride,
    Write,
)
from reconciler.ports import Registry

_numbers: Iterator[int] = count(1)
TRIAGE = AgentName(namespace="support", name="triage")
MINER = AgentName(namespace="research", name="miner")
DEPLOYMENT = ObjectRef(group="apps", kind="Deployment", namespace="support", name="triage")
ODD = [
    "'; DROP TABLE records; --", '" OR 1=1 --', "%", "_", "*", "[a-z]", "NEAR(a b)", '"a" * OR b', "\\", "a\\%", "{}",
    "@p", "?", ":x", "\u2029", "\U0001f600", "'''", "x' OR 'x'='x", "/*", "${x}",
    "FOR a IN agents REMOVE a IN agents", "x" * 16_000,
]  # fmt: skip
"""Text that would be more than text, if anything took it for a part of a query, of a key or of a page."""


def record(
    name: AgentName = TRIAGE, *, id_: str = "", version: int = 1, state: AgentState = AgentState.REGISTERED
) -> Record:
    """A record with something in every field."""
    document = {"image": "triage:1", "env": [{"name": "A", "value": "ü\n\u2028"}], "wave": -1, "ratio": 0.5, "x": None}
    return Record(
        id=id_ or f"id-{name.name}",
        name=name,
        version=version,
        state=state,
        labels={"team": "support"},
        document=document,
        spec_hash="ab" * 32,
        lineage=("base", "service"),
        source_path="agents/support/triage.yaml",
        commit="c" * 40,
        revision=3,
        placement=(PlacedReplicas(cluster="local", replicas=2),),
        reservations=(Reservation(cluster="local", replicas=2, requests={"cpu": "100m"}),),
        inventory=(InventoryEntry(cluster="local", ref=DEPLOYMENT, uid="u-1", resource_version="12", hash="cd" * 32),),
        protect=True,
        quarantine=Quarantine(spec_hash="ef" * 32, since_ms=5, reason="did not become ready"),
        override=ScaleOverride(replicas=6, author="ada", reason="launch", since_ms=1, until_ms=9),
        good=Good(
            number=2,
            commit="b" * 40,
            spec_hash="aa" * 32,
            document={"image": "triage:0"},
            manifests={"local": ({"kind": "Deployment", "spec": {"replicas": 2}}, {"kind": "Service"})},
        ),
        created_ms=1,
        updated_ms=2,
        last_seen_ms=3,
        message="because",
        behind=("eu-1",),
        begun="abc",
        home="us-1",
        recovery=RecoveryState(
            spec_hash="ab" * 32,
            since_ms=4,
            step=2,
            due_ms=11,
            well_ms=12,
            left=True,
            avoid=("asia-1",),
            taken=(
                Taken(
                    remedy=Remedy.RESTART,
                    at_ms=6,
                    because="answers: 1 of 2 do not answer",
                    clusters=("eu-1", "local"),
                    ended=Ended.DONE,
                    ended_ms=8,
                    text="1 pod restarted",
                ),
                Taken(remedy=Remedy.ROLLBACK, at_ms=10, because="ü"),
            ),
        ),
    )


def bare(name: AgentName = TRIAGE) -> Record:
    """A record with little in it, for tests that write many."""
    return Record(
        id=f"id-{name.name}", name=name, version=1, state=AgentState.REGISTERED, labels={}, document={},
        spec_hash="ab" * 32, lineage=(), source_path="", commit="", revision=1, placement=(), reservations=(),
        inventory=(),
    )  # fmt: skip


def write(*records: Record, op_id: str = "", at_ms: int = 1000, **rest) -> Write:
    return Write(op_id=op_id or f"op-{next(_numbers)}", at_ms=at_ms, records=records, **rest)


def fact(action: str = "update", agent: AgentName | None = TRIAGE) -> AuditFact:
    return AuditFact(actor="ada", action=action, agent=agent, commit="c" * 40, message="ü", diff={"image": ["a", "b"]})


def intent(id_: str, phase: JournalPhase = JournalPhase.INTENT, agent: AgentName = TRIAGE) -> JournalEntry:
    detail = {"refs": [{"kind": "Deployment"}], "hash": id_}
    return JournalEntry(id=id_, agent=agent, action="update", phase=phase, commit="c" * 40, detail=detail, at_ms=7)


def revision(number: int, agent: AgentName = TRIAGE, outcome: str = "applied") -> AgentRevision:
    return AgentRevision(
        agent=agent,
        number=number,
        commit="c" * 40,
        spec_hash="h",
        at_ms=number,
        outcome=outcome,
        document={"n": number},
    )


def fleet(version: int) -> FleetRecord:
    approval = Approval(
        commit="c" * 40, code="rewind", agents=(TRIAGE,), author="ada", reason="ü", since_ms=1, until_ms=9
    )
    return FleetRecord(
        name="acme", version=version, commit="c" * 40, cluster_uids={"local": "u"}, spent_plans=("p1", "p2"),
        approvals=(approval,),
    )  # fmt: skip


def health(cluster: str = "eu-1", *, version: int = 1, state: ClusterState = ClusterState.UNWELL) -> ClusterHealth:
    reason = "no answer" if state is ClusterState.UNWELL else ""
    return ClusterHealth(cluster=cluster, version=version, state=state, since_ms=version * 1000, reason=reason)


async def filled(registry: Registry, writes: int = 5) -> None:
    """Write so often, each time something of every kind that grows old."""
    for number in range(1, writes + 1):
        await registry.commit(
            write(
                replace(record(version=number), revision=number, document={"description": "Sorts refunds"}),
                journal=(intent(f"j{number}", JournalPhase.DONE),),
                revisions=(revision(number),),
                audit=(fact(f"a{number}"),),
                fleet=fleet(number),
                clusters=(health(version=number),),
            )
        )
