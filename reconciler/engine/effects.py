"""Effects on single objects: put one, remove one, each with preconditions, each safe to repeat.

What a lost reply left behind is observed before anything is tried again: server-side apply of the same manifest changes
nothing the second time, and a delete names the uid that it means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from reconciler.engine.journal import ref_text
from reconciler.engine.run import Failed, Replan, Run, Unfinished, describe
from reconciler.model.errors import (
    ClusterUnavailable,
    FieldConflict,
    NotAllowed,
    OutcomeUnknown,
    PreconditionFailed,
    Rejected,
)
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import (
    FIELD_MANAGER,
    HANDOVER_MANAGER,
    KIND_ORDER,
    TRACKING_ANNOTATION,
    Absent,
    Found,
    LiveObject,
    Manifest,
    MustBe,
    MustBeAbsent,
    Observation,
    Precondition,
    Unreadable,
)
from reconciler.model.ownership import OwnedPath
from reconciler.model.plan import ObjectChange, TakeBack, Verb
from reconciler.plan.foreign import is_known
from reconciler.plan.scaling import replicas_of
from reconciler.ports import Cluster

GONE_WITHIN_S = 60.0
POLL_S = 0.1
ORDER = {(group, kind): index for index, (group, _version, kind) in enumerate(KIND_ORDER)}

Item = TypeVar("Item")


def tracking_id(ref: ObjectRef, fleet: str) -> str:
    """What the tracking annotation of our object says."""
    return f"{ref_text(ref)}:{fleet}"


def is_ours(live: LiveObject, fleet: str) -> bool:
    """Whether an object says of itself that this fleet made it: the object that it is, not a copy of another."""
    return bool(_annotations(live).get(TRACKING_ANNOTATION) == tracking_id(live.ref, fleet))


def _annotations(live: LiveObject) -> Mapping[str, str]:
    return live.metadata.get("annotations") or {}


def backwards(refs: Iterable[tuple[str, ObjectRef]]) -> list[tuple[str, ObjectRef]]:
    """Objects in the order of deletion: kinds in reverse of their application, what we do not know first."""
    return sorted(set(refs), key=lambda key: (-ORDER.get((key[1].group, key[1].kind), len(ORDER)), key))


async def look(run: Run, cluster: Cluster, ref: ObjectRef) -> LiveObject | None:
    """Read one object live; None when it is not there. Raises Unfinished when it cannot be read."""
    answer: Observation[LiveObject] = Unreadable(reason="never asked")
    for attempt in range(run.retry.attempts):
        answer = await run.get(cluster, ref)
        match answer:
            case Found(value=live):
                return live
            case Absent():
                return None
            case Unreadable():
                await run.missed(cluster, attempt)
    assert isinstance(answer, Unreadable)  # noqa: S101 - the loop left nothing else
    raise Unfinished(f"{ref} on {cluster.name} cannot be read: {answer.reason}")


async def put(run: Run, change: ObjectChange) -> LiveObject:
    """Do a create, apply or replace, and answer the object as it is then.

    Raises Replan when it is not as planned, Failed when it was refused, Unfinished when the cluster does not answer.
    """
    manifest = change.manifest
    if manifest is None:
        raise ValueError(f"{change.ref}: only a delete has no manifest")
    cluster = run.reach(change.cluster)
    expect = change.expect
    if change.verb is Verb.REPLACE:
        await remove(run, change.cluster, change.ref, uid=expect.uid if isinstance(expect, MustBe) else "")
        await wait_gone(run, change.cluster, change.ref)
        expect = MustBeAbsent()
    force, count = bool(change.force), change.hand_over_replicas
    if change.take_back is not None:
        return await _take_back(run, cluster, manifest, expect, change.take_back, force=force, take=change.take)
    if count is not None and isinstance(expect, MustBeAbsent):
        made = await _apply(run, cluster, manifest, expect, force=force)
        return await _hold(run, cluster, manifest, MustBe(uid=made.uid), count, force=False)
    if count is not None:
        expect = await _hand_over(run, cluster, manifest, expect, count)
    return await _apply(run, cluster, manifest, expect, force=force, take=change.take)


async def _hand_over(run: Run, cluster: Cluster, manifest: Manifest, expect: Precondition, least: int) -> Precondition:
    """Co-own `spec.replicas` under a second manager, so that dropping it from ours does not reset it to 1.

    What runs stays as it is, or is raised to `least`: an autoscaler would leave a Deployment of zero alone. Raises
    Replan for another object of that name.
    """
    live = await look(run, cluster, manifest.ref)
    if live is None:
        return expect
    if isinstance(expect, MustBe) and live.uid != expect.uid:
        raise Replan(f"{manifest.ref} on {cluster.name} is another object than the one that was planned for")
    now = replicas_of(live)
    held = await _hold(run, cluster, manifest, MustBe(uid=live.uid), max(now, least), force=now < least)
    return MustBe(uid=held.uid)


async def _take_back(
    run: Run,
    cluster: Cluster,
    manifest: Manifest,
    expect: Precondition,
    how: TakeBack,
    *,
    force: bool,
    take: Sequence[OwnedPath],
) -> LiveObject:
    """Make `spec.replicas` ours again: the second manager takes it from whoever has it, we join, and it lets go.

    So nothing else of the object is taken by force for it.
    """
    live = await look(run, cluster, manifest.ref)
    count = int(manifest.body["spec"]["replicas"])
    if live is not None and how is TakeBack.AT_LEAST_LIVE:
        count = max(count, replicas_of(live))
        manifest = replace(manifest, body={**manifest.body, "spec": {**manifest.body["spec"], "replicas": count}})
    held = await _hold(run, cluster, manifest, expect, count, force=True)
    await _apply(run, cluster, manifest, MustBe(uid=held.uid), force=force, take=take)
    return await _hold(run, cluster, manifest, MustBe(uid=held.uid), None, force=False)


async def _hold(
    run: Run, cluster: Cluster, manifest: Manifest, expect: Precondition, count: int | None, *, force: bool
) -> LiveObject:
    """Let the second manager own the count of a Deployment, and nothing else; None lets go of it."""
    body = {
        "apiVersion": manifest.body["apiVersion"],
        "kind": manifest.body["kind"],
        "metadata": {"name": manifest.ref.name, "namespace": manifest.ref.namespace},
        **({} if count is None else {"spec": {"replicas": count}}),
    }
    second = Manifest(ref=manifest.ref, body=body, hash="", agent=manifest.agent)
    return await _apply(run, cluster, second, expect, force=force, manager=HANDOVER_MANAGER)


async def _apply(
    run: Run,
    cluster: Cluster,
    manifest: Manifest,
    expect: Precondition,
    *,
    force: bool,
    manager: str = FIELD_MANAGER,
    take: Sequence[OwnedPath] = (),
) -> LiveObject:
    for attempt in range(run.retry.attempts):
        await run.lock.keep()
        try:
            work = cluster.apply(manifest, expect, manager=manager, force=force, take=take)
            return await run.write(cluster, work)
        except ClusterUnavailable as error:
            last: Exception = error
            await run.missed(cluster, attempt)
        except OutcomeUnknown as error:
            last = error
            await run.missed(cluster, attempt)
            expect, force = await _after_unknown(run, cluster, manifest, expect, force=force)
        except PreconditionFailed as error:
            raise Replan(describe(error)) from error
        except FieldConflict as error:
            owners = ", ".join(f"{path} by {owner}" for path, owner in sorted(error.owners.items()))
            raise Replan(f"{manifest.ref} on {cluster.name}: owned by others: {owners}") from error
        except (NotAllowed, Rejected) as error:
            raise _refused(error) from error
    raise Unfinished(f"{manifest.ref} on {cluster.name} could not be applied: {last}") from last


def _refused(error: NotAllowed | Rejected) -> Failed | Unfinished:
    """What a refusal means. A right that we lack says nothing against the object: it goes on once we have it."""
    return Unfinished(describe(error)) if isinstance(error, NotAllowed) else Failed(describe(error))


async def _after_unknown(
    run: Run, cluster: Cluster, manifest: Manifest, expect: Precondition, *, force: bool
) -> tuple[Precondition, bool]:
    """What to ask for when a reply was lost. Repeating is safe: what did happen changes nothing the second time.

    Without force, when the object moved: if it was us, we own the fields and there is no conflict; if it was somebody
    else, the conflict is what must be seen.
    """
    live = await look(run, cluster, manifest.ref)
    if live is None:
        return (MustBeAbsent() if isinstance(expect, MustBeAbsent) else expect), force
    if isinstance(expect, MustBe) and live.uid != expect.uid:
        return expect, force
    if isinstance(expect, MustBeAbsent) and not is_ours(live, run.fleet):
        return expect, force
    moved = not isinstance(expect, MustBe) or expect.resource_version != live.resource_version
    return MustBe(uid=live.uid), force and not moved


async def remove(run: Run, cluster_name: str, ref: ObjectRef, *, uid: str = "") -> bool:
    """Delete an object that is ours; whether it was there. Reads it live, checks that it is ours, names its uid.

    `uid` is the object that is meant, where it is known; one that lost our mark is ours still when it has that uid,
    and a stranger's object that took its name is left alone. Where it is not known ours shows that we made it.
    An object with a known uid is gone when the cluster refuses to delete that uid, not when a read misses it.
    Raises Replan for another object of that name, Failed for one that is not ours or may not be deleted, Unfinished
    when the cluster does not answer.
    """
    cluster = run.reach(cluster_name)
    last: Exception | None = None
    for attempt in range(run.retry.attempts * 2):  # a status write between read and delete is common
        await run.lock.keep()
        live = await look(run, cluster, ref)
        if live is not None and _is_strangers(live, uid, run.fleet):
            live = None
        if live is None and not uid:
            return attempt > 0
        if live is not None and _is_going(run, cluster_name, live, uid):
            return True
        expect = MustBe(uid=live.uid, resource_version=live.resource_version) if live else MustBe(uid=uid)
        try:
            await run.write(cluster, cluster.delete(ref, expect))
        except PreconditionFailed as error:
            if live is None:
                return attempt > 0  # two answers agree that it is gone
            last = error
        except (ClusterUnavailable, OutcomeUnknown) as error:
            last = error
            await run.missed(cluster, attempt)
        except (NotAllowed, Rejected) as error:
            raise _refused(error) from error
        else:
            return True
    raise Unfinished(f"{ref} on {cluster_name} could not be deleted: {last}") from last


def _is_strangers(live: LiveObject, uid: str, fleet: str) -> bool:
    """Whether somebody else has the name: ours is gone, which the refusal of its uid confirms, or never came to be."""
    if uid:
        return live.uid != uid and TRACKING_ANNOTATION not in _annotations(live)
    return not is_known(live, "", fleet)


def _is_going(run: Run, cluster_name: str, live: LiveObject, uid: str) -> bool:
    """Whether an object is being deleted already. Raises Failed and Replan when it is not the one to delete."""
    if not is_ours(live, run.fleet) and (live.uid != uid or TRACKING_ANNOTATION in _annotations(live)):
        raise Failed(
            f"{live.ref} on {cluster_name} does not carry our tracking annotation, so it is not deleted",
            hint="delete it by hand if it should go",
        )
    if uid and live.uid != uid:
        raise Replan(f"{live.ref} on {cluster_name} is another object than the one that was planned to go")
    return bool(live.metadata.get("deletionTimestamp"))


async def wait_gone(run: Run, cluster_name: str, ref: ObjectRef) -> None:
    """Wait until an object that is being deleted is no longer there. Raises Unfinished when it stays."""
    cluster = run.reach(cluster_name)
    until = run.clock.monotonic() + GONE_WITHIN_S
    while await look(run, cluster, ref) is not None:
        if run.clock.monotonic() >= until:
            raise Unfinished(f"{ref} on {cluster_name} is still being deleted after {GONE_WITHIN_S:.0f} s")
        await run.lock.keep()
        await run.clock.sleep(POLL_S)
