"""`reconciler plan`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import options
from reconciler.cli.command import build, invocation
from reconciler.cli.fleets import PlanRequest, opened, run
from reconciler.cli.output import emit, note, wants_color
from reconciler.cli.planning import findings_note, has_errors, leaves_out, save, shown_plan
from reconciler.model.plan import Plan

CHANGES_EXIT = 2


def plan(  # noqa: PLR0917 - options of a command
    ref: options.Ref = None,
    working_tree: options.WorkingTree = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Save the plan, for `apply FILE` (mode 0600).")
    ] = None,
    output: options.PlanOutput = "text",
    detailed_exitcode: Annotated[
        bool,
        typer.Option(
            "--detailed-exitcode",
            help="Exit 0 without changes, 1 on an error, 2 with changes, also those that are held.",
        ),
    ] = False,
    target: options.Target = None,
    cluster: options.Cluster = None,
    max_deletes: options.MaxDeletes = None,
    allow_empty: options.AllowEmpty = False,
    accept_rewind: options.AcceptRewind = False,
    accept_cluster: options.AcceptCluster = None,
    forget_cluster: options.ForgetCluster = None,
    ignore_windows: options.IgnoreWindows = False,
) -> None:
    """Show what would be done to reach the state that the commit which is checked out declares.

    Findings in files do not stop the plan: healthy agents are planned, the findings are printed, the exit code is 1.
    """
    settings = invocation().settings(maxDeletes=max_deletes)
    request = PlanRequest(
        ref=ref,
        working_tree=working_tree,
        policy=options.policy(
            target,
            cluster,
            settings.text("maxDeletes"),
            allow_empty=allow_empty,
            accept_rewind=accept_rewind,
            accept_clusters=accept_cluster,
            forget_clusters=forget_cluster,
            ignore_windows=ignore_windows,
        ),
    )
    path = options.out_file(invocation().folder() / out) if out is not None else None

    async def work() -> Plan:
        async with opened(working_tree=working_tree) as session:
            return await session.plan(request)

    made = run(work())
    if path is not None:
        save(made, path)
    color = wants_color(settings.text("color"), sys.stdout, os.environ)
    emit(shown_plan(made, output, color=color))
    findings_note(made)
    if out is not None:
        here = invocation()
        note(f"Saved to {here.typed(out)}. Exactly this is done by: {here.program} apply {shlex.quote(str(out))}")
    if has_errors(made):
        raise typer.Exit(1)
    if detailed_exitcode and (made.changes or leaves_out(made)):
        raise typer.Exit(CHANGES_EXIT)


command = build(
    plan,
    name="plan",
    examples=(
        "reconciler plan",
        "reconciler plan --working-tree",
        "reconciler plan --out next.plan",
        "reconciler plan -o markdown",
        "reconciler plan --detailed-exitcode --target demo/hello",
    ),
)
