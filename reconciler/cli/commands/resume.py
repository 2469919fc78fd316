"""`reconciler resume`."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options
from reconciler.cli.acting import act
from reconciler.cli.command import build
from reconciler.cli.fleets import run


def resume(
    agent: options.Agent,
    namespace: options.InNamespace = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept on record.")] = "",
) -> None:
    """Start a suspended agent again, or try a quarantined spec once more, as the commit that is checked out says."""
    from reconciler.engine.operate import resume as by_hand

    name = options.agent_named(agent, namespace)
    code = run(act(name, lambda hand: by_hand(hand, name, reason=reason), "resumed", newest=True))
    if code:
        raise typer.Exit(code)


command = build(resume, name="resume", examples=("reconciler resume demo/hello",))
