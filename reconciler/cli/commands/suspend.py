"""`reconciler suspend`."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options
from reconciler.cli.acting import act
from reconciler.cli.command import build
from reconciler.cli.fleets import run


def suspend(
    agent: options.Agent,
    namespace: options.InNamespace = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept on record.")] = "",
) -> None:
    """Stop an agent at once and keep it stopped, without removing it: `resume` starts it again."""
    from reconciler.engine.operate import suspend as by_hand

    name = options.agent_named(agent, namespace)
    code = run(act(name, lambda hand: by_hand(hand, name, reason=reason), "suspended by hand"))
    if code:
        raise typer.Exit(code)


command = build(suspend, name="suspend", examples=('reconciler suspend demo/hello --reason "the model is down"',))
