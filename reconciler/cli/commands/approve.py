"""`reconciler approve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import options
from reconciler.cli.command import build
from reconciler.cli.fleets import PlanRequest, opened, run, whoami
from reconciler.cli.output import emit, note, one_line, table, to_json
from reconciler.cli.views.records import moment
from reconciler.model.errors import UsageError
from reconciler.model.plan import Plan, Policy
from reconciler.model.units import Duration

if TYPE_CHECKING:
    from reconciler.model.registry import Approval


def approve(
    approval: Annotated[
        str | None, typer.Argument(metavar="[APPROVAL]", help="What to approve, as it is listed without.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept on record.")] = "",
    until: Annotated[str, typer.Option("--for", metavar="DURATION", help="How long it counts.")] = "1d",
    ref: Annotated[
        str | None, typer.Option("--ref", metavar="REF", help="Of this commit instead of the one checked out.")
    ] = None,
    output: options.Output = "text",
) -> None:
    """Allow deletions that are held: too many at once, of a branch that was rewound, or of all agents.

    Without an argument they are listed. An approval counts for exactly the commit and the agents that were seen:
    another commit, or one agent more, is held again. A daemon deletes them when it looks next, or `reconciler apply`.
    """
    try:
        span = Duration.parse(until).ms
    except ValueError as error:
        raise UsageError(f"--for: {error}") from error
    if span <= 0:
        raise UsageError("--for: must be more than nothing")
    if approval is None:
        _list(run(_planned(ref)), output)
        return
    from reconciler.shapes.records import approval_json

    made = run(_approve(approval, ref, reason, span))
    if output == "json":
        emit(to_json(approval_json(approval, made)))
        return
    agents = f"{len(made.agents)} agent{'s' if len(made.agents) != 1 else ''}"
    emit(f"Approved for {made.commit[:7]} until {moment(made.until_ms)}: the deletion of {agents}.")
    note("A daemon does it when it looks next, or `reconciler apply`.")


def _list(plan: Plan, output: str) -> None:
    from reconciler.plan.approval import approvable
    from reconciler.shapes.plan import hold_json

    known = approvable(plan)
    if output == "json":
        emit(to_json({"commit": plan.revision.commit, "held": [hold_json(hold, plan) for hold in known.values()]}))
        return
    if not known:
        note("Nothing is held that can be approved.")
        return
    emit(
        table(
            ("APPROVAL", "WHY", "AGENTS"),
            [(key, one_line(hold.text, 200), str(len(hold.agents))) for key, hold in known.items()],
        )
    )
    for key, hold in known.items():
        emit(f"\n# {key}, at {plan.revision.short}")
        for name in hold.agents:
            emit(f"  - {name}")


async def _planned(ref: str | None) -> Plan:
    async with opened() as session:
        return await session.plan(PlanRequest(ref=ref, policy=Policy()))


async def _approve(key: str, ref: str | None, reason: str, span: int) -> Approval:
    from reconciler.engine.approving import approve as put

    async with opened() as session:
        plan = await session.plan(PlanRequest(ref=ref, policy=Policy()))
        stores = await session.stores()
        return await put(session.hand(stores, whoami()), plan, key, reason=reason, for_ms=span)


command = build(
    approve,
    name="approve",
    examples=("reconciler approve", 'reconciler approve 3f2c1ab09d7e --reason "the team is gone"'),
)
