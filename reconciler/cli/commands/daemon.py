"""`reconciler daemon`."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reconciler.cli import options
from reconciler.cli.command import build, invocation
from reconciler.cli.fleets import PlanRequest, locate, run, whoami
from reconciler.cli.settings import Settings
from reconciler.model.errors import UsageError
from reconciler.model.units import Duration

if TYPE_CHECKING:
    from reconciler.bootstrap import Session
    from reconciler.daemon.history import History
    from reconciler.daemon.service import Service
    from reconciler.ports import Prober

LEAST_S = 1.0
LEAST_HISTORY_S = 8 * 86_400.0
"""Availability looks a week back."""


def daemon(  # noqa: PLR0917 - options of a command
    repo: Annotated[
        str | None, typer.Option("--repo", metavar="URL", help="Follow this repository instead of the one around here.")
    ] = None,
    branch: Annotated[
        str | None, typer.Option("--branch", metavar="NAME", help="The branch to follow, else what is current there.")
    ] = None,
    path: Annotated[str, typer.Option("--path", metavar="DIR", help="Where the fleet lies in --repo.")] = "",
    state: Annotated[
        Path | None, typer.Option("--state", metavar="DIR", help="Where --repo is mirrored, and state is kept.")
    ] = None,
    mode: Annotated[
        Literal["apply", "plan-only"], typer.Option("--mode", help="Whether it acts, or only tells what it would do.")
    ] = "apply",
    poll: Annotated[str, typer.Option("--poll", metavar="DURATION", help="How often Git is asked.")] = "10s",
    resync: Annotated[
        str, typer.Option("--resync", metavar="DURATION", help="How often it looks at everything unasked.")
    ] = "1m",
    sweep: Annotated[str, typer.Option("--sweep", metavar="DURATION", help="How often health is swept.")] = "30s",
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Serve /healthz, /readyz and /metrics there.")
    ] = "",
    history: Annotated[
        str, typer.Option("--history", metavar="DURATION", help="How long the history of health is kept.")
    ] = "30d",
    log: Annotated[Literal["text", "json"], typer.Option("--log", help="Format of the lines on stderr.")] = "text",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option("--log-level", help="The least that is told.")
    ] = "info",
    max_deletes: options.MaxDeletes = None,
    parallelism: options.Parallelism = None,
    timeout: options.Timeout = None,
) -> None:
    """Keep the fleet in the state that Git declares: plan and apply on every commit, and undo what drifts.

    It looks when a commit comes, when something that it made changes on a cluster, when people wish something by hand,
    and every so often. Each agent is worked on by itself; what fails is tried again after a growing while. Of several
    daemons of one fleet one acts, the others stand by. SIGTERM and Ctrl-C: nothing new is started, and what is under
    way writes down where it is.
    """
    if repo is None and (path or state):
        raise UsageError("--path and --state go with --repo", hint="a fleet here is found by itself, or with -C DIR")
    PlanRequest(ref=branch)
    settings = invocation().settings(maxDeletes=max_deletes, parallelism=parallelism, timeout=timeout)
    given = Given(
        repo=repo,
        ref=branch or "",
        path=path,
        state=state,
        mode=mode,
        poll_s=_seconds("--poll", poll),
        resync_s=_seconds("--resync", resync),
        sweep_s=_seconds("--sweep", sweep),
        history_s=_seconds("--history", history, LEAST_HISTORY_S),
        as_json=log == "json",
        level=log_level,
    )
    run(_run(given, settings, listen))


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What was typed, checked; times in seconds."""

    repo: str | None
    ref: str
    path: str
    state: Path | None
    mode: str
    poll_s: float
    resync_s: float
    sweep_s: float
    history_s: float
    as_json: bool
    level: str


def _seconds(option: str, text: str, least_s: float = LEAST_S) -> float:
    try:
        seconds = Duration.parse(text).seconds
    except ValueError as error:
        raise UsageError(f"{option}: {error}", hint="like 30s or 5m") from error
    if seconds < least_s:
        raise UsageError(f"{option}: {text} is too short", hint=f"at least {Duration.of_ms(int(least_s * 1000)).text}")
    return seconds


async def _run(given: Given, settings: Settings, listen: str) -> None:
    from reconciler.bootstrap import follow_remote, open_fleet

    folder = invocation().folder()
    async with AsyncExitStack() as stack:
        if given.repo is None:
            opened = await open_fleet(locate())
        else:
            opened = await follow_remote(given.repo, folder / (given.state or "."), given.path)
        world = await stack.enter_async_context(opened)
        prober = world.prober()
        stack.push_async_callback(prober.close)
        service = _service(given, settings, world, prober)
        stack.push_async_callback(_remember(service, given.history_s).close)
        await _serve(service, stack, listen)


def _service(given: Given, settings: Settings, world: Session, prober: Prober) -> Service:
    from reconciler.daemon.alarming import Alarming
    from reconciler.daemon.loop import Mode
    from reconciler.daemon.measures import Measures
    from reconciler.daemon.service import Service
    from reconciler.daemon.service import Settings as Daemon
    from reconciler.daemon.telling import Teller
    from reconciler.daemon.wakes import Pace
    from reconciler.engine.apply import ApplyOptions

    tell = Teller(clock=world.clock, write=_line, as_json=given.as_json, level=given.level)
    measures = Measures()
    service = Service(
        world=world,
        settings=Daemon(
            ref=given.ref,
            mode=Mode(given.mode),
            policy=options.policy(None, None, settings.text("maxDeletes"), allow_empty=False, accept_rewind=False),
            poll_s=given.poll_s,
            resync_s=given.resync_s,
            sweep_s=given.sweep_s,
        ),
        options=ApplyOptions(
            actor=f"daemon, {whoami()}",
            holder=f"daemon of {whoami()}, process {os.getpid()}",
            parallelism=settings.number("parallelism"),
            timeout_s=settings.seconds("timeout"),
            retry=world.retry,
        ),
        prober=prober,
        tell=tell,
        measures=measures,
        jitter=random.random,
        ready=_notify,
        tidy=world.close_others,
    )
    service.alarming = Alarming(
        clock=world.clock,
        open_book=world.alert_book,
        open_sink=world.alert_sink,
        declared=lambda: service.cache.declaration,
        pace=Pace(jitter=random.random, first_s=2.0),
        tell=tell,
        measures=measures,
    )
    return service


def _remember(service: Service, history_s: float) -> History:
    """Let the daemon go on from the history of health, and keep it: one that only plans writes nothing."""
    from reconciler.daemon.history import History
    from reconciler.daemon.loop import Mode
    from reconciler.model.series import Retention

    kept_ms = round(history_s * 1000)
    history = History(
        clock=service.world.clock, tell=service.tell, retention=Retention(changes_ms=kept_ms, hours_ms=kept_ms)
    )
    service.recall = history.recall
    if service.settings.mode is Mode.APPLY:
        service.heard = (*service.heard, history.heard)
    return history


async def _serve(service: Service, stack: AsyncExitStack, listen: str) -> None:
    """Run until a signal says so. Raises UsageError for an address that cannot be listened at."""
    if listen:
        from reconciler.daemon.http import served

        where = await stack.enter_async_context(served(listen, service.measures, service.not_ready))
        service.tell.say("info", "listens", address=where)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked(name: str) -> None:
        service.tell.say("info", "stops", because=name)
        _notify("STOPPING=1")
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, asked, number.name)
    try:
        await service.run(stop)
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
    service.tell.say("info", "stopped")


def _line(text: str) -> None:
    """Whoever reads stderr has to go on reading: a pipe that is full holds the daemon up."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _notify(state: str = "READY=1") -> None:
    """Tell systemd how it goes, where it asked for that. Protocol: sd_notify(3), one datagram to NOTIFY_SOCKET."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        line.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


command = build(
    daemon,
    name="daemon",
    examples=(
        "reconciler daemon",
        "reconciler daemon --mode plan-only --log json",
        "reconciler daemon --repo https://git.example/fleet.git --branch main --state state",
    ),
)
