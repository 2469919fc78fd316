"""Writing an agent's record under the lock, and waiting for the pods of what was deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from reconciler.engine.observe import read
from reconciler.engine.rollout import pod_scope
from reconciler.engine.run import Run, Unfinished
from reconciler.model.errors import RegistryConflict
from reconciler.model.objects import Found, Unreadable
from reconciler.model.registry import AgentRevision, AuditFact, JournalEntry, Record
from reconciler.model.source import JsonObject

CONFLICTS = 5
PODS_GONE_WITHIN_S = 90.0
POLL_S = 0.1


async def settle(
    run: Run,
    record: Record,
    build: Callable[[Record], Record | None],
    *,
    journal_entries: Iterable[JournalEntry] = (),
    revisions: Iterable[AgentRevision] = (),
    audit: Iterable[AuditFact] = (),
) -> Record:
    """Write what `build` makes of the record, with journal, history and audit in one transaction; answers it.

    Somebody may write the record meanwhile without the lock (suspend, scale): then it is read and built again. Where
    `build` makes nothing of it then, nothing is written, and it is answered as it is.
    Raises RegistryConflict when it keeps changing, or when it became another agent's (a new id).
    """
    entries, history, facts = tuple(journal_entries), tuple(revisions), tuple(audit)
    for attempt in range(CONFLICTS):
        built = build(record)
        if built is None:
            return record
        made = replace(built, version=record.version + 1, updated_ms=run.clock.now_ms())
        try:
            await run.commit(records=(made,), journal=entries, revisions=history, audit=facts)
        except RegistryConflict:
            await run.lock.check()
            fresh = await run.read(record.name)
            if fresh is None or fresh.id != record.id or attempt + 1 == CONFLICTS:
                raise
            record = fresh
        else:
            return made
    raise AssertionError("unreachable: the last attempt answers or raises")


async def wait_pods_gone(run: Run, deployments: Sequence[tuple[str, JsonObject]]) -> None:
    """Wait until no pod is left of Deployments that were deleted. Raises Unfinished when some stay too long."""
    until = run.clock.monotonic() + PODS_GONE_WITHIN_S
    for cluster_name, body in deployments:
        cluster, scope = run.reach(cluster_name), pod_scope(body)
        while scope is not None:
            match await read(cluster.observe(scope), cluster, run.patience):
                case Found(value=found) if not found.objects and not found.unreadable:
                    break
                case Found(value=found):
                    left = f"{len(found.objects)} pods on {cluster_name} are still ending"
                case Unreadable(reason=reason):
                    left = f"the pods on {cluster_name} cannot be read: {reason}"
                case _:
                    break
            if run.clock.monotonic() >= until:
                raise Unfinished(f"{left} after {PODS_GONE_WITHIN_S:.0f} s")
            await run.lock.keep()
            await run.clock.sleep(POLL_S)
