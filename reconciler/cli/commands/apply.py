"""`reconciler apply`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reconciler.cli import options
from reconciler.cli.applying import Manner, carry_out
from reconciler.cli.command import build, invocation
from reconciler.cli.fleets import ApplyRequest, PlanRequest, Session, opened, run
from reconciler.cli.output import few
from reconciler.model.errors import SourceError, UsageError

if TYPE_CHECKING:
    from reconciler.plan.planfile import SavedPlan


def apply(  # noqa: PLR0917 - options of a command
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A plan saved by `plan --out`.")] = None,
    ref: options.Ref = None,
    working_tree: options.WorkingTree = False,
    auto_approve: options.AutoApprove = False,
    output: Annotated[
        Literal["text", "json"], typer.Option("-o", "--output", help="Format; json prints one event a line.")
    ] = "text",
    target: options.Target = None,
    cluster: options.Cluster = None,
    max_deletes: options.MaxDeletes = None,
    allow_empty: options.AllowEmpty = False,
    accept_rewind: options.AcceptRewind = False,
    accept_cluster: options.AcceptCluster = None,
    forget_cluster: options.ForgetCluster = None,
    ignore_windows: options.IgnoreWindows = False,
    parallelism: options.Parallelism = None,
    timeout: options.Timeout = None,
    lock_timeout: options.LockTimeout = None,
) -> None:
    """Bring the fleet to its declared state: plan, ask, apply. With FILE: do exactly the saved plan, or refuse.

    What is held, invalid, quarantined or unplaceable is left out, the rest is done, and the exit code is 1. Ctrl-C
    starts nothing new and waits no longer; the next apply goes on from there. A protected agent that is gone from Git
    is held like any other. A field that another manager holds is told and left, which fails nothing.
    """
    settings = invocation().settings(
        maxDeletes=max_deletes, parallelism=parallelism, timeout=timeout, lockTimeout=lock_timeout
    )
    manner = Manner(approved=auto_approve or file is not None, output=output, settings=settings, show_plan=file is None)
    request = ApplyRequest.of(settings)
    if file is not None:
        given = (ref, working_tree, target, cluster, max_deletes, allow_empty, accept_rewind)
        if any((*given, accept_cluster, forget_cluster, ignore_windows)):
            raise UsageError(
                "a saved plan is applied as it is", hint="give those options to `reconciler plan --out FILE`"
            )
        code = run(_saved(invocation().folder() / file, request, manner))
    else:
        policy = options.policy(
            target,
            cluster,
            settings.text("maxDeletes"),
            allow_empty=allow_empty,
            accept_rewind=accept_rewind,
            accept_clusters=accept_cluster,
            forget_clusters=forget_cluster,
            ignore_windows=ignore_windows,
        )
        code = run(_fresh(PlanRequest(ref=ref, working_tree=working_tree, policy=policy), request, manner))
    if code:
        raise typer.Exit(code)


async def _fresh(plan_request: PlanRequest, request: ApplyRequest, manner: Manner) -> int:
    async with opened(working_tree=plan_request.working_tree) as session:
        return await carry_out(session, await session.plan(plan_request, noting=True), request, manner)


async def _saved(path: Path, request: ApplyRequest, manner: Manner) -> int:
    """Plan again what the file was a plan of, and do exactly its changes. Raises UsageError where they are others."""
    from reconciler.cli.savedplan import read_saved, told
    from reconciler.plan.planfile import compare, restrict

    saved = read_saved(path)
    ref, working_tree = saved.document.get("ref") or None, bool(saved.document.get("workingTree"))
    async with opened(working_tree=working_tree) as session:
        if ref and not working_tree:
            await _refuse_gone(session, ref, saved, path)
        request_again = PlanRequest(ref=None if working_tree else ref, working_tree=working_tree, policy=saved.policy)
        plan = await session.plan(request_again, noting=True)
        if plan.fleet != saved.fleet:
            raise UsageError(f"{path.name} is a plan for fleet {saved.fleet}, this is {plan.fleet}")
        await (await session.stores()).refuse_spent(saved.digest)
        differences = compare(saved, plan)
        if differences:
            names = few(differences, 5, lambda difference: str(difference.agent))
            raise UsageError(
                f"{path.name} no longer holds: {names} would not be changed as planned",
                hint=f"{told(differences)}\nmake a new plan with `reconciler plan --out FILE`",
            )
        return await carry_out(session, restrict(plan, saved), request.spending(saved.digest), manner)


async def _refuse_gone(session: Session, ref: str, saved: SavedPlan, path: Path) -> None:
    """Say of a plan whose branch is not here, as after a merge, what became of it. Raises UsageError, SourceError."""
    source = session.world.source
    try:
        await source.revision(ref)
    except SourceError as error:
        try:
            await source.revision(saved.commit)
        except SourceError:
            raise error from None
        raise UsageError(
            f"{path.name} is a plan of {ref} at {saved.commit[:7]}, and there is no {ref} here",
            hint="fetch it; or, where it was merged, go there and make a new plan with `reconciler plan --out FILE`",
        ) from error


command = build(
    apply,
    name="apply",
    examples=(
        "reconciler apply --auto-approve",
        "reconciler plan --out next.plan && reconciler apply next.plan",
        "reconciler apply --auto-approve --target demo/hello",
        "reconciler apply --auto-approve -o json",
    ),
)
