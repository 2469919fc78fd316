"""`reconciler daemon`."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import sys
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from reconciler.cli import daemonoptions as own
from reconciler.cli import listening as serving
from reconciler.cli import options
from reconciler.cli.command import build, invocation
from reconciler.cli.fleets import PlanRequest, holder_name, locate, run, whoami
from reconciler.cli.settings import Settings
from reconciler.model.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from reconciler.bootstrap import FleetLocation, Session
    from reconciler.daemon.history import History
    from reconciler.daemon.service import Service
    from reconciler.engine.world import Stores
    from reconciler.ports import Prober


def daemon(  # noqa: PLR0917 - options of a command
    repo: own.Repo = None,
    branch: own.Branch = None,
    working_tree: options.WorkingTree = False,
    path: own.Path = None,
    state: own.State = None,
    mode: own.Mode = None,
    poll: own.Poll = None,
    resync: own.Resync = None,
    sweep: own.Sweep = None,
    remedies_at_once: own.RemediesAtOnce = None,
    remedies_begun: own.RemediesBegun = None,
    plugin_dir: own.PluginDir = None,
    shards: own.Shards = None,
    shared_registry: own.SharedRegistry = None,
    listen: own.Listen = None,
    access: own.Access = None,
    anonymous_read: own.AnonymousRead = None,
    tls_cert: own.TlsCert = None,
    tls_key: own.TlsKey = None,
    client_ca: own.ClientCa = None,
    trusted_proxies: own.TrustedProxies = None,
    history: own.History = None,
    keep_revisions: own.KeepRevisions = None,
    log: own.Log = None,
    log_level: own.LogLevel = None,
    max_deletes: options.MaxDeletes = None,
    parallelism: options.Parallelism = None,
    timeout: options.Timeout = None,
) -> None:
    """Keep the fleet in the state that Git declares: plan and apply on every commit, and undo what drifts.

    It looks when a commit comes, when something that it made changes on a cluster, when people wish something by hand,
    and every so often. Each agent is worked on by itself; what fails is tried again after a growing while. Of several
    daemons of one fleet one acts, the others stand by, or with --shards each does a part. SIGTERM and Ctrl-C: nothing
    new is started, and what is under way writes down where it is. Each option but --plugin-dir and --working-tree
    is also a setting, of reconciler.yaml or RECONCILER_*: `reconciler config view --show-origin`.
    """
    settings = invocation().settings(
        repo=repo, branch=branch, path=path, state=state, mode=mode, poll=poll, resync=resync, sweep=sweep,
        shards=shards, listen=listen, history=history, keepRevisions=keep_revisions, log=log, logLevel=log_level,
        maxDeletes=max_deletes, parallelism=parallelism, timeout=timeout, access=access, tlsCert=tls_cert,
        anonymousRead=None if anonymous_read is None else str(anonymous_read).lower(), tlsKey=tls_key,
        clientCa=client_ca, sharedRegistry=None if shared_registry is None else str(shared_registry).lower(),
        remediesAtOnce=remedies_at_once, remediesBegun=remedies_begun, trustedProxies=trusted_proxies,
    )  # fmt: skip
    if not settings.text("repo") and (settings.text("path") or settings.text("state")):
        raise UsageError("--path and --state go with --repo", hint="a fleet here is found by itself, or with -C DIR")
    if working_tree and (settings.text("repo") or settings.text("branch")):
        raise UsageError("--working-tree reads the files here, and goes with neither --repo nor --branch")
    PlanRequest(ref=settings.text("branch") or None)
    serving.Served.of(settings).check()
    run(_run(settings, plugin_dir, working_tree=working_tree))


async def _run(settings: Settings, plugins: str | None, *, working_tree: bool) -> None:
    from reconciler.bootstrap import follow_remote, open_fleet
    from reconciler.daemon.collecting import collect_seldom

    collect_seldom()
    folder, repo = invocation().folder(), settings.text("repo")
    async with AsyncExitStack() as stack:
        if not repo:
            opened = await open_fleet(_checked_out(), working_tree=working_tree)
        else:
            place, branch = folder / (settings.text("state") or "."), settings.text("branch")
            opened = await follow_remote(_address(repo, folder), place, settings.text("path"), branch=branch)
        world = await stack.enter_async_context(opened)
        prober = world.prober(folder / plugins if plugins else None)
        stack.push_async_callback(prober.close)
        service = _service(settings, world, prober)
        stack.push_async_callback(_remember(service, settings.length("history")).close)
        await _serve(service, stack, serving.Served.of(settings))


def _address(repo: str, folder: Path) -> str:
    """A repository as it is named, a path in full: Git runs in the mirror's folder, where another would be meant."""
    return repo if ":" in repo or repo.startswith("-") else str(folder / repo)


def _checked_out() -> FleetLocation:
    """Where the fleet lies that is to be kept. Raises UsageError where only a mirror is: it would never be fetched."""
    location = locate()
    if location.followed:
        raise UsageError(
            f"{location.root} holds a mirror of {location.followed.url} and no fleet.yaml",
            hint=f"to keep that fleet, name its address again: --repo URL --state {location.root}",
        )
    return location


def _service(settings: Settings, world: Session, prober: Prober) -> Service:
    from reconciler.daemon.alarming import Alarming
    from reconciler.daemon.loop import Mode
    from reconciler.daemon.measures import Measures
    from reconciler.daemon.service import Service
    from reconciler.daemon.service import Settings as Daemon
    from reconciler.daemon.telling import Teller
    from reconciler.daemon.wakes import Pace
    from reconciler.engine.apply import ApplyOptions

    tell = Teller(
        clock=world.clock, write=_line, as_json=settings.text("log") == "json", level=settings.text("logLevel")
    )
    mode = Mode(settings.text("mode"))
    measures = Measures(leads=mode is not Mode.PLAN_ONLY)
    world.keep_answers(measures.cached)
    service = Service(
        world=world,
        settings=Daemon(
            ref=settings.text("branch"),
            mode=mode,
            policy=options.policy(None, None, settings.text("maxDeletes"), allow_empty=False, accept_rewind=False),
            poll_s=settings.length("poll"),
            resync_s=settings.length("resync"),
            sweep_s=settings.seconds("sweep"),
            limits=own.limits(settings),
            shards=settings.number("shards"),
            shared_registry=settings.text("sharedRegistry") == "true",
            keep_revisions_s=settings.seconds("keepRevisions"),
        ),
        options=ApplyOptions(
            actor=f"daemon, {whoami()}",
            holder=f"daemon of {holder_name()}",
            parallelism=settings.number("parallelism"),
            timeout_s=settings.seconds("timeout"),
            retry=world.retry,
        ),
        prober=prober,
        tell=tell,
        measures=measures,
        jitter=random.random,
        ready=_notify,
        tidy=_tidy(world),
    )
    service.alarming = alarming = Alarming(
        clock=world.clock,
        open_book=world.alert_book,
        seats=world.alert_seats,
        open_sink=world.alert_sink,
        declared=lambda: service.cache.declaration,
        pace=Pace(jitter=random.random, first_s=2.0),
        tell=tell,
        measures=measures,
    )
    service.raise_ = alarming.raise_
    return service


def _tidy(world: Session) -> Callable[[Stores], Awaitable[None]]:
    """What is done while nobody works with anything."""
    from reconciler.daemon.collecting import Collector

    collector = Collector(monotonic=world.clock.monotonic)

    async def tidy(stores: Stores) -> None:
        await world.close_others(stores)
        collector.look()

    return tidy


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


async def _serve(service: Service, stack: AsyncExitStack, http: serving.Served) -> None:
    """Run until a signal says so. Raises UsageError for an address that cannot be listened at."""
    from reconciler.daemon.telling import Logged

    if http.listen:
        from reconciler.daemon.http import Inside, served

        listening = serving.listening(http, os.environ, service.tell, service.world.clock)
        where = await stack.enter_async_context(served(listening, Inside.of(service)))
        service.tell.say("info", "listens", address=where)
    heard = Logged(service.tell)
    logging.getLogger().addHandler(heard)
    stack.callback(logging.getLogger().removeHandler, heard)
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
