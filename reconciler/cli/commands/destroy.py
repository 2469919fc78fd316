"""`reconciler destroy`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import typer

from reconciler.cli import options
from reconciler.cli.applying import Manner, carry_out
from reconciler.cli.command import build, invocation
from reconciler.cli.fleets import ApplyRequest, PlanRequest, opened, run


def destroy(
    auto_approve: options.AutoApprove = False,
    output: Annotated[
        Literal["text", "json"], typer.Option("-o", "--output", help="Format; json prints one event a line.")
    ] = "text",
    target: options.Target = None,
    cluster: options.Cluster = None,
    parallelism: options.Parallelism = None,
    timeout: options.Timeout = None,
    lock_timeout: options.LockTimeout = None,
) -> None:
    """Plan towards nothing: every agent is stopped and removed, its history stays. Files in Git are left alone.

    A protected agent is left as it is, the others go, and the exit code is 1.
    """
    settings = invocation().settings(parallelism=parallelism, timeout=timeout, lockTimeout=lock_timeout)
    policy = options.policy(target, cluster, "", allow_empty=True, accept_rewind=True, destroy=True)
    manner = Manner(
        approved=auto_approve,
        output=output,
        settings=settings,
        question="Remove all of these? This cannot be undone.",
        unasked="add --auto-approve",
    )
    request = ApplyRequest.of(settings)

    async def work() -> int:
        async with opened() as session:
            plan = await session.plan(PlanRequest(policy=policy), noting=True)
            if plan.fleet:  # all is to go: what is wrong in agents' files matters no more
                plan = replace(plan, diagnostics=())
            return await carry_out(session, plan, request, manner)

    code = run(work())
    if code:
        raise typer.Exit(code)


command = build(
    destroy,
    name="destroy",
    examples=("reconciler destroy --auto-approve", "reconciler destroy --auto-approve --target demo/hello"),
)
