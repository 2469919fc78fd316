"""Acting on one agent by hand: write the wish into its record, then bring it about at once, that agent alone."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.cli.applying import Manner, carry_out, follow
from reconciler.cli.command import invocation
from reconciler.cli.entry import INTERRUPTED_EXIT
from reconciler.cli.fleets import ApplyRequest, PlanRequest, Session, opened, whoami
from reconciler.cli.looking import record_of
from reconciler.cli.output import emit, note, wants_color
from reconciler.cli.views.apply import closing
from reconciler.cli.views.plan_words import hold_text
from reconciler.daemon.standing import LEADER_LEASE
from reconciler.engine.locks import LockHeld
from reconciler.model.errors import SourceError, UsageError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from reconciler.model.plan import Policy
from reconciler.model.registry import Record

if TYPE_CHECKING:
    from reconciler.engine.operate import Hand
    from reconciler.ports import Clock, Registry

TAKEN_UP_S, TAKEN_UP_STEP_S = 5.0, 0.1
"""How long a daemon is given to begin with a wish: one that leads looks for them every second."""

Wish = Callable[["Hand"], Awaitable[Record]]


async def act(name: AgentName, wish: Wish, told: str, *, newest: bool = False) -> int:
    """Write a wish and apply it to its agent; answers the exit code. `told` says what was written.

    The agent is planned at the commit that it was last applied from, so that acting by hand brings no other change
    with it; with `newest` at the commit that is checked out. One that came from files which are not committed is
    planned with those. It is never deleted by this. Where a daemon takes the wish up it is left to it: to act
    beside it would hold up all its other work until this agent is ready.
    """
    async with opened() as session:
        stores = await session.stores()
        before = await record_of(stores.registry, name)
        record = await wish(session.hand(stores, whoami()))
        if before.quarantine is not None and record.quarantine is None:
            told += ", and what was quarantined is tried again"
        emit(f"{name}: {told}." if record != before else f"{name}: nothing to change.")
        if record != before and await _taken_up(stores.registry, session.clock, record):
            note(f"A daemon keeps this fleet, and brings {name} to this.")
            return 0
        try:
            return await _bring_about(session, record, "" if newest else record.commit)
        except LockHeld as error:
            if not await _somebody_leads(stores.registry, session.clock):
                raise LockHeld(error.message, hint="what you asked for is on record: the next apply does it") from error
            note(f"A daemon keeps this fleet, and is at work: it brings {name} to this as well.")
            return 0


async def _somebody_leads(registry: Registry, clock: Clock) -> bool:
    """Whether a daemon looks after the fleet, or a part of it: wishes on record are seen by it at once."""
    now_ms = clock.now_ms()
    return any(lease.holder and lease.expires_ms > now_ms for lease in await registry.leases(LEADER_LEASE))


async def _taken_up(registry: Registry, clock: Clock, record: Record) -> bool:
    """Whether a daemon has begun with what was just written: then its record is another one."""
    until = clock.monotonic() + TAKEN_UP_S
    if not await _somebody_leads(registry, clock):
        return False
    while clock.monotonic() < until:
        await clock.sleep(TAKEN_UP_STEP_S)
        now = await registry.get(record.name)
        if isinstance(now, Found) and now.value.version != record.version:
            return True
    return False


async def go_back(name: AgentName, *, to: int | None, reason: str) -> int:
    """Return an agent to an earlier revision; answers the exit code."""
    async with opened() as session:
        settings = invocation().settings()
        stop = asyncio.Event()
        events = session.roll_back(name, ApplyRequest.of(settings), stop, to=to, reason=reason)
        color = wants_color(settings.text("color"), sys.stdout, os.environ)
        ledger = await follow(events, stop, [name], as_json=False, color=color)
        emit(closing(ledger))
        if ledger.end is not None and ledger.end.interrupted:
            return INTERRUPTED_EXIT
        return 0 if ledger.all_applied else 1


async def _bring_about(session: Session, record: Record, commit: str) -> int:
    """Plan one agent at a commit, "" for what is checked out, and apply that. Raises UsageError where it would go."""
    try:
        there = (await session.declaration(commit or None)).knows(record.name, record.spec_hash if commit else "")
    except SourceError:
        there = False
    if there:
        return await _plan_and_apply(session, record.name, commit)
    async with opened(working_tree=True) as files:
        if (await files.declaration()).knows(record.name, record.spec_hash):
            return await _plan_and_apply(files, record.name, "")
    if not (await session.declaration(commit or None)).knows(record.name):
        raise UsageError(
            f"{record.name} is left as it is: it is declared nowhere as it runs, and would be deleted",
            hint="what you asked for is on record, for when it is declared again; `reconciler apply` deletes it",
        )
    return await _plan_and_apply(session, record.name, commit)


async def _plan_and_apply(session: Session, name: AgentName, commit: str) -> int:
    policy = Policy(targets=(name,), accept_rewind=True, allow_empty=True)
    plan = await session.plan(PlanRequest(ref=commit or None, policy=policy))
    holds = tuple(hold for hold in plan.holds if name in hold.agents)
    for hold in holds if not plan.changes else ():
        if not hold.blocks_exit:  # those that do are told by whoever carries it out
            note(f"note: {hold_text(hold)}")
    settings = invocation().settings()
    manner = Manner(approved=True, output="text", settings=settings, show_plan=False)
    return await carry_out(session, replace(plan, holds=holds, diagnostics=()), ApplyRequest.of(settings), manner)
