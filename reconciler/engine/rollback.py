"""The ways back: an update to the last good revision, a creation to nothing. Each starts from the record alone.

So they go on after a crash from what the journal says, without the plan that failed. A way back is written to the
journal, with the quarantine of the spec that failed, before its first effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.engine import journal
from reconciler.engine.effects import backwards, is_ours, look, put, remove
from reconciler.engine.journal import Key, Step
from reconciler.engine.rollout import RolloutEnd, RolloutResult, Target, watch
from reconciler.engine.run import Failed, Replan, Run, Unfinished, together
from reconciler.engine.settle import settle, wait_pods_gone
from reconciler.model.events import Outcome
from reconciler.model.identity import AgentName
from reconciler.model.objects import FIELD_MANAGER, LiveObject, Manifest, MustBe, MustBeAbsent
from reconciler.model.plan import ObjectChange, Verb
from reconciler.model.registry import (
    AgentRevision,
    AgentState,
    AuditFact,
    Good,
    JournalEntry,
    JournalPhase,
    PlacedReplicas,
    Quarantine,
    Record,
    Reservation,
)
from reconciler.model.source import JsonObject
from reconciler.plan.foreign import is_meant
from reconciler.plan.judgement import over
from reconciler.plan.scaling import AUTOSCALER, taken_back
from reconciler.render.canonical import digest

DEFAULT_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How going back ended, for people and for the event."""

    outcome: Outcome
    text: str
    reason: str
    ready: int = 0
    wanted: int = 0


async def turn(
    run: Run,
    record: Record,
    entry: JournalEntry,
    step: Step,
    *,
    reason: str,
    history: AgentRevision,
    applied: Iterable[tuple[Key, LiveObject]],
) -> tuple[Record, JournalEntry]:
    """Write down that a change goes back, and quarantine its spec, before anything is undone.

    `applied` are the objects that the change has made or touched: on the way back their uids are known.
    """
    uids = {key: live.uid for key, live in applied}
    turned = journal.turned(entry, step, reason=reason, at_ms=run.clock.now_ms())

    def build(fresh: Record) -> Record:
        held = Quarantine(spec_hash=history.spec_hash, since_ms=run.clock.now_ms(), reason=reason)
        inventory = journal.identified(fresh.inventory, uids)
        return replace(fresh, inventory=inventory, quarantine=held, revision=history.number, message=reason)

    fact = AuditFact(
        actor=run.actor, action=step.value, agent=record.name, commit=entry.commit, message=reason, diff={}
    )
    made = await settle(run, record, build, journal_entries=(turned,), revisions=(history,), audit=(fact,))
    return made, turned


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A revision to go back to by hand, placed and rendered as it is to run now."""

    good: Good
    labels: Mapping[str, str]
    lineage: tuple[str, ...]
    placement: tuple[PlacedReplicas, ...]
    reservations: tuple[Reservation, ...]
    untouched: tuple[str, ...] = ()
    """Clusters that cannot be read now: they stay as they are."""


async def turn_by_hand(
    run: Run, record: Record, goal: Goal, *, reason: str, left: AgentRevision | None
) -> tuple[Record, JournalEntry]:
    """Write down that an agent goes back by hand; from there on it is the way of a failed change, after a crash too.

    Quarantined is what Git asks for: the present spec, or what was quarantined when an earlier rollback left it.
    `left` is the revision that it leaves, which history says so of.
    """
    now = run.clock.now_ms()
    opened = [item for item in await run.registry.open_journal() if item.agent == record.name]
    older = [journal.closed(item, JournalPhase.UNDONE, at_ms=now) for item in opened]
    entry = journal.hand_back(record, goal.good, goal.reservations, reason=reason, at_ms=now, untouched=goal.untouched)
    keys = [
        (cluster, manifest.ref)
        for cluster, manifest in _manifests(goal.good, record.name)
        if cluster not in goal.untouched
    ]

    def build(fresh: Record) -> Record:
        spec_hash = fresh.quarantine.spec_hash if fresh.quarantine else fresh.spec_hash
        return replace(
            fresh,
            state=AgentState.RECOVERING,
            good=goal.good,
            labels=goal.labels,
            lineage=goal.lineage,
            placement=goal.placement,
            reservations=journal.intended_reservations(goal.reservations, fresh),
            inventory=journal.unconfirmed(fresh.inventory, keys),
            quarantine=Quarantine(spec_hash=spec_hash, since_ms=now, reason=reason),
            message=reason,
            behind=tuple(sorted({*fresh.behind, *goal.untouched})),
        )

    history = (replace(left, outcome=reason),) if left else ()
    fact = AuditFact(
        actor=run.actor, action=Step.ROLL_BACK.value, agent=record.name, commit=goal.good.commit, message=reason
    )
    made = await settle(run, record, build, journal_entries=(*older, entry), revisions=history, audit=(fact,))
    return made, entry


async def undo_creation(run: Run, record: Record, entry: JournalEntry) -> Way:
    """Delete all that a failed creation made, release its reservation, and keep the record as quarantined.

    What it took over from somebody else is no creation of ours: that gets back what it had, and is let go.
    """
    reason = str(entry.detail.get("reason", ""))
    untouched = journal.untouched_by(entry)
    uids = {(item.cluster, item.ref): item.uid for item in record.inventory if item.cluster not in untouched}
    for (cluster, ref), body in reversed(journal.former_objects(entry).items()):
        await _let_go(run, cluster, Manifest(ref=ref, body=body, hash="", agent=record.name))
        uids.pop((cluster, ref), None)
    scopes = await remove_all(run, uids)
    await wait_pods_gone(run, scopes)

    def build(fresh: Record) -> Record:
        left = tuple(item for item in fresh.inventory if item.cluster in untouched)
        return replace(
            fresh,
            state=AgentState.QUARANTINED,
            placement=(),
            reservations=(),
            inventory=left,
            behind=tuple(sorted({item.cluster for item in left})),
            message=reason,
        )

    done = journal.closed(entry, JournalPhase.UNDONE, at_ms=run.clock.now_ms())
    fact = AuditFact(
        actor=run.actor, action=Outcome.UNDONE.value, agent=record.name, commit=entry.commit, message=reason, diff={}
    )
    await settle(run, record, build, journal_entries=(done,), audit=(fact,))
    return Way(outcome=Outcome.UNDONE, text="taken back", reason=reason)


async def _let_go(run: Run, cluster: str, former: Manifest) -> None:
    """Give an object that was taken over its former values back. One that is gone meanwhile has none to get."""
    live = await look(run, run.reach(cluster), former.ref)
    if live is not None:
        await put(
            run,
            ObjectChange(
                cluster=cluster,
                ref=former.ref,
                verb=Verb.APPLY,
                expect=MustBe(uid=live.uid),
                manifest=former,
                force=(FIELD_MANAGER,),
                take_back=taken_back(former, live, retakes=False),
            ),
        )


async def remove_all(run: Run, uids: Mapping[Key, str]) -> Sequence[tuple[str, JsonObject]]:
    """Delete objects in reverse order of kinds; answers the Deployments that were there, with their clusters.

    Raises Failed and Unfinished after the others were tried, so that one object does not keep the rest.
    """
    deployments: list[tuple[str, JsonObject]] = []
    failures: list[Failed | Replan | Unfinished] = []
    for cluster, ref in backwards(uids):
        try:
            live = await look(run, run.reach(cluster), ref) if ref.kind == "Deployment" else None
            if live is not None and (is_ours(live, run.fleet) or live.uid == uids[cluster, ref]):
                deployments.append((cluster, live.body))
            await remove(run, cluster, ref, uid=uids[cluster, ref])
        except (Failed, Replan, Unfinished) as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return deployments


async def roll_back(run: Run, record: Record, entry: JournalEntry, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Way:
    """Apply the last good revision again, delete what it does not have, and watch it to ready."""
    good = record.good
    if good is None:
        raise Failed(f"{record.name} has no good revision to go back to")
    reason = str(entry.detail.get("reason", ""))
    untouched = journal.untouched_by(entry)
    wanted: dict[str, list[Manifest]] = {}
    for cluster, manifest in _manifests(good, record.name):
        if cluster not in untouched:
            wanted.setdefault(cluster, []).append(manifest)
    kept = {(cluster, manifest.ref) for cluster, manifests in wanted.items() for manifest in manifests}
    surplus = {
        key: item.uid
        for item in record.inventory
        if (key := (item.cluster, item.ref)) not in kept and item.cluster not in untouched
    }
    scalers = {key: uid for key, uid in surplus.items() if key[1].kind == AUTOSCALER}
    applied: dict[Key, tuple[LiveObject, str]] = {}
    for done in await together(
        _restore_all(run, record, cluster, wanted.get(cluster, ()), scalers)
        for cluster in sorted(wanted.keys() | {key[0] for key in scalers})
    ):
        applied |= done
    await remove_all(run, {key: uid for key, uid in surplus.items() if key not in scalers})
    targets = [
        Target(cluster=cluster, ref=ref, applied=live)
        for (cluster, ref), (live, _hash) in applied.items()
        if ref.kind == "Deployment"
    ]
    result = await watch(run, record.name, targets, timeout_s=timeout_s)
    return await _restored(run, record, entry, result, applied=applied, deleted=list(surplus), reason=reason)


def _manifests(good: Good, name: AgentName) -> list[tuple[str, Manifest]]:
    return [
        (cluster, Manifest(ref=journal.ref_of(body), body=body, hash=digest(body), agent=name))
        for cluster, bodies in sorted(good.manifests.items())
        for body in bodies
    ]


async def _restore_all(
    run: Run, record: Record, cluster: str, manifests: Sequence[Manifest], scalers: Mapping[Key, str]
) -> dict[Key, tuple[LiveObject, str]]:
    """Apply the good manifests of one cluster; on each by itself, so that one that is away leaves no other as it is.

    Autoscalers that the good revision does not have go before the replicas that they have are taken back from them.
    """
    here = {key: uid for key, uid in scalers.items() if key[0] == cluster}
    await remove_all(run, here)
    uids = {item.ref: item.uid for item in record.inventory if item.cluster == cluster}
    restored: dict[Key, tuple[LiveObject, str]] = {}
    for manifest in manifests:
        live = await _restore(run, cluster, manifest, uids.get(manifest.ref, ""), retakes=bool(here))
        restored[cluster, manifest.ref] = live, manifest.hash
    return restored


async def _restore(run: Run, cluster: str, manifest: Manifest, uid: str, *, retakes: bool) -> LiveObject:
    """Apply a good manifest over what is there now: what a person edited is undone, what others hold is theirs.

    `uid` is the object's on record. Raises Failed where a stranger's has its name.
    """
    for _attempt in range(run.retry.attempts):
        live = await look(run, run.reach(cluster), manifest.ref)
        if live is None:
            verb, expect = Verb.CREATE, MustBeAbsent()
            change = ObjectChange(cluster=cluster, ref=manifest.ref, verb=verb, expect=expect, manifest=manifest)
        elif not is_meant(live, uid, run.fleet):
            raise Failed(
                f"{manifest.ref} on {cluster} is somebody else's now, and is not taken over on the way back",
                hint="take it away, or leave it and change the agent",
            )
        else:
            change = over(cluster, manifest, live, fleet=run.fleet, retakes=retakes)
        change = replace(change, hand_over_replicas=_handed_over(manifest, live))
        try:
            return await put(run, change)
        except Replan as error:
            last = error
    raise Failed(f"the last good {manifest.ref} on {cluster} could not be applied: {last.message}") from last


def _handed_over(manifest: Manifest, live: LiveObject | None) -> int | None:
    """The live count to co-own when the good revision leaves replicas to an autoscaler and the failed one did not."""
    if live is None or manifest.ref.kind != "Deployment" or "replicas" in manifest.body.get("spec", {}):
        return None
    count = live.body.get("spec", {}).get("replicas")
    return count if isinstance(count, int) else None


async def _restored(
    run: Run,
    record: Record,
    entry: JournalEntry,
    result: RolloutResult,
    *,
    applied: Mapping[Key, tuple[LiveObject, str]],
    deleted: Sequence[Key],
    reason: str,
) -> Way:
    good = record.good
    assert good is not None  # noqa: S101 - the caller has checked
    if result.end is RolloutEnd.INTERRUPTED or result.end is RolloutEnd.UNREADABLE:
        return Way(
            outcome=Outcome.FAILED,
            text="going back to the last good revision",
            reason=f"{reason}; {result.reason}; the next apply goes on with it",
            ready=result.ready,
            wanted=result.wanted,
        )
    well = result.end is RolloutEnd.READY
    back = f"back at revision {good.number} ({good.commit[:7]})"
    text = f"{reason}; {back}" if well else f"{reason}; {back}, which does not become ready either: {result.reason}"

    def build(fresh: Record) -> Record:
        return replace(
            fresh,
            state=_state(fresh, well=well),
            document=good.document,
            spec_hash=good.spec_hash,
            commit=good.commit,
            reservations=journal.former_reservations(entry) if "reservations" in entry.detail else fresh.reservations,
            inventory=journal.exact_inventory(
                fresh.inventory,
                applied=applied,
                deleted=deleted,
                wanted=applied,
                untouched=journal.untouched_by(entry),
            ),
            message=text,
        )

    phase = JournalPhase.UNDONE if well else JournalPhase.FAILED
    outcome = Outcome.ROLLED_BACK if well else Outcome.FAILED
    fact = AuditFact(
        actor=run.actor, action=outcome.value, agent=record.name, commit=entry.commit, message=text, diff={}
    )
    closed = journal.closed(entry, phase, at_ms=run.clock.now_ms())
    await settle(run, record, build, journal_entries=(closed,), audit=(fact,))
    return Way(outcome=outcome, text=back, reason=text, ready=result.ready, wanted=result.wanted)


def _state(record: Record, *, well: bool) -> AgentState:
    if not well:
        return AgentState.DEGRADED
    return AgentState.SUSPENDED if record.suspended else AgentState.RUNNING
