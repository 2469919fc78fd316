"""`reconciler rollback`."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options
from reconciler.cli.acting import go_back
from reconciler.cli.command import build
from reconciler.cli.fleets import run


def rollback(
    agent: options.Agent,
    namespace: options.InNamespace = None,
    to: Annotated[
        int | None,
        typer.Option("--to", metavar="N", min=1, help="The revision to return to, as in `history`."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept on record.")] = "",
) -> None:
    """Return an agent to its last good revision before the present one, or to revision N, at once.

    What Git declares for it is quarantined: it is not tried again until it changes, or until `reconciler resume`.
    """
    code = run(go_back(options.agent_named(agent, namespace), to=to, reason=reason))
    if code:
        raise typer.Exit(code)


command = build(
    rollback,
    name="rollback",
    examples=('reconciler rollback demo/hello --reason "answers in the wrong language"',),
)
