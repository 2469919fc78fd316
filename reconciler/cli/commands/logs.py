"""`reconciler logs`."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from reconciler.cli import options
from reconciler.cli.command import build
from reconciler.cli.fleets import OpenStores, opened, run
from reconciler.cli.looking import Pod, look, record_of
from reconciler.cli.output import clean, emit, note, terminal
from reconciler.model.errors import Rejected, UsageError
from reconciler.model.identity import AgentName
from reconciler.model.objects import LogOptions, Unreadable


def logs(
    agent: options.Agent,
    namespace: options.InNamespace = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until Ctrl-C.")] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", metavar="N", min=0, help="Only the last N lines of each pod.")
    ] = None,
    previous: Annotated[bool, typer.Option("-p", "--previous", help="Of the run before the last restart.")] = False,
    pod: Annotated[str | None, typer.Option("--pod", metavar="POD", help="Only this pod.")] = None,
) -> None:
    """Print what an agent's pods print; with several pods each line begins with its pod's name."""
    if follow and previous:
        raise UsageError("--follow and --previous exclude each other", hint="what has ended prints nothing more")
    run(_logs(options.agent_named(agent, namespace), LogOptions(tail=tail, follow=follow, previous=previous), pod))


async def _logs(name: AgentName, wanted: LogOptions, only: str | None) -> None:
    async with opened() as session:
        stores = await session.stores()
        record = await record_of(stores.registry, name)
        sight = await look(stores, frozenset({name.namespace}))
        seen = sight.of(record)
        for why in seen.unreadable:
            note(f"warning: {clean(why)}")
        pods = [pod for pod in seen.pods if only in (None, pod.ref.name)]
        if not pods:
            raise UsageError(
                f"{name} has no pod{f' {only[:80]}' if only else ''} to print the log of",
                hint=f"`reconciler why {name}` says what keeps it" if not only else "`reconciler describe` lists pods",
            )
        prefixed = len(pods) > 1
        if wanted.follow:
            await asyncio.gather(*(_print(stores, pod, wanted, prefixed=prefixed) for pod in pods))
        else:
            for pod in pods:
                await _print(stores, pod, wanted, prefixed=prefixed)


async def _print(stores: OpenStores, pod: Pod, wanted: LogOptions, *, prefixed: bool) -> None:
    raw = not terminal(sys.stdout)
    prefix = f"[{pod.ref.name}] " if prefixed else ""
    cluster = stores.clusters[pod.cluster]
    if isinstance(cluster, Unreadable):
        raise UsageError(f"cluster {pod.cluster} cannot be read: {cluster.reason}")
    empty = True
    try:
        async for line in cluster.logs(pod.ref, wanted):
            empty = False
            text = line.rstrip("\n")
            emit(prefix + (text if raw else clean(text)))
    except Rejected as error:
        if not prefixed:
            raise
        note(f"{pod.ref.name}: {clean(error.message)}")
    else:
        if empty and wanted.previous:
            note(f"{pod.ref.name} was not restarted, or printed nothing before it was.")


command = build(logs, name="logs", examples=("reconciler logs demo/hello", "reconciler logs demo/hello --tail 20"))
