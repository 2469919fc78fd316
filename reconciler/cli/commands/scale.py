"""`reconciler scale`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from reconciler.cli import options
from reconciler.cli.acting import act
from reconciler.cli.command import build
from reconciler.cli.fleets import run
from reconciler.cli.output import one_line
from reconciler.cli.views.diagnostics import plural
from reconciler.model.errors import UsageError
from reconciler.model.units import Duration


def scale(
    agent: options.Agent,
    namespace: options.InNamespace = None,
    count: Annotated[int | None, typer.Argument(metavar="REPLICAS", help="How many replicas.")] = None,
    replicas: Annotated[
        int | None, typer.Option("--replicas", metavar="N", help="The same, as kubectl says it.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="Git takes over again after this time.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept on record.")] = "",
    end: Annotated[bool, typer.Option("--end", help="End a scaling by hand: Git takes over again now.")] = False,
) -> None:
    """Run so many replicas of an agent at once, whatever Git says, until the time is over or it is ended.

    The plan shows it meanwhile, with who asked for it and why. An autoscaled agent is its autoscaler's to scale.
    """
    name = options.agent_named(agent, namespace)
    if count is not None and replicas not in (None, count):
        raise UsageError(f"{count} replicas, or {replicas}?", hint="say the number once")
    wanted = count if count is not None else replicas
    if end == (wanted is not None):
        raise UsageError("give a number of replicas, or --end", hint=f"like: reconciler scale {name} 6 --for 2h")
    try:
        span = Duration.parse(until).ms if until is not None else 0
    except ValueError as error:
        raise UsageError(f"--for: {error}") from error
    if until is not None and span <= 0:
        raise UsageError("--for: must be more than nothing", hint="leave it out to scale until `--end`")
    if wanted is None:
        from reconciler.engine.operate import unscale

        code = run(act(name, lambda hand: unscale(hand, name, reason=reason), "Git says again how many replicas"))
    else:
        from reconciler.engine.operate import scale as by_hand

        span_told, why = f" for {until}" if until else "", f" ({one_line(reason)})" if reason else ""
        told = f"{plural(wanted, 'replica')} by hand{span_told}{why}"
        code = run(act(name, partial(by_hand, name=name, replicas=wanted, for_ms=span, reason=reason), told))
    if code:
        raise typer.Exit(code)


command = build(
    scale,
    name="scale",
    examples=(
        'reconciler scale demo/hello 2 --for 2h --reason "launch day"',
        "reconciler scale demo/hello --end",
    ),
)
