"""Observing: everything that a plan is compared with, read at once, each read with a deadline.

A read that fails, or that does not end in time, is Unreadable with its reason; it never ends the others. A cluster is
first asked who it is: one that does not say so soon is asked for nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from reconciler.engine.world import Patience, Stores
from reconciler.model.errors import ReconcilerError
from reconciler.model.objects import (
    RENDERED_KINDS,
    Capacity,
    ClusterIdentity,
    Found,
    LiveSet,
    Observation,
    Scope,
    Unreadable,
    served_kinds,
)
from reconciler.model.registry import RegistrySnapshot
from reconciler.placement.wellness import Sight
from reconciler.ports import Cluster

Value = TypeVar("Value")


class Silent(ReconcilerError):
    """An answer that did not come in time. `gone`: meanwhile the cluster did not even say who it is."""

    def __init__(self, message: str, *, gone: bool) -> None:
        super().__init__(message)
        self.gone = gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One look at the world, by cluster name where there is one."""

    registry: Observation[RegistrySnapshot]
    clusters: Mapping[str, Sight]

    @property
    def live(self) -> dict[str, Observation[LiveSet]]:
        return {name: sight.live for name, sight in self.clusters.items()}

    @property
    def identities(self) -> dict[str, Observation[ClusterIdentity]]:
        return {name: sight.identity for name, sight in self.clusters.items()}

    @property
    def capacities(self) -> dict[str, Observation[Capacity]]:
        return {name: sight.capacity for name, sight in self.clusters.items()}


async def observe(stores: Stores, scope: Scope) -> Observed:
    """Read the registry, and of every cluster its identity, its objects in `scope` and its capacity."""
    names = sorted(stores.clusters)

    # asked for where it is waited for: who is stopped before it begins leaves no question that nobody asked
    async def on_record() -> Observation[RegistrySnapshot]:
        return await bounded(stores.registry.snapshot(), "the registry", stores.patience.read_s)

    registry, sights = await asyncio.gather(
        on_record(),
        asyncio.gather(*(look_at(name, stores.clusters[name], scope, stores.patience) for name in names)),
    )
    return Observed(registry=registry, clusters=dict(zip(names, sights, strict=True)))


async def look_at(name: str, cluster: Cluster | Unreadable, scope: Scope, patience: Patience) -> Sight:
    """One cluster: who it is, then all else at once. A scope of all that we render is of what the cluster has of it."""
    if isinstance(cluster, Unreadable):
        return Sight(identity=cluster, live=cluster, capacity=cluster)
    identity = await ask_who(cluster, patience)
    if not isinstance(identity, Found):
        silent = identity if isinstance(identity, Unreadable) else Unreadable(reason=f"cluster {name} is nobody")
        return Sight(identity=identity, live=silent, capacity=silent)
    if scope.kinds == RENDERED_KINDS:
        scope = replace(scope, kinds=served_kinds(identity.value))

    async def objects() -> Observation[LiveSet]:
        return await read(cluster.observe(scope), cluster, patience)

    async def room() -> Observation[Capacity]:
        return await read(cluster.capacity(), cluster, patience)

    live, capacity = await asyncio.gather(objects(), room())
    return Sight(identity=identity, live=live, capacity=capacity)


async def ask_who(cluster: Cluster, patience: Patience) -> Observation[ClusterIdentity]:
    """Who a cluster is, as soon as whoever is there can say so.

    What fails at once is asked once more: a connection that broke while nobody used it says nothing of the cluster. A
    refusal is an answer.
    """

    async def asked() -> Observation[ClusterIdentity]:
        with suppress(ReconcilerError):
            answer = await cluster.identity()
            if isinstance(answer, Found) or _is_refusal(answer):
                return answer
        return await cluster.identity()

    return await bounded(asked(), f"cluster {cluster.name}", patience.connect_s)


def _is_refusal(who: Observation[ClusterIdentity]) -> bool:
    return isinstance(who, Unreadable) and who.refused


async def read(work: Awaitable[Observation[Value]], cluster: Cluster, patience: Patience) -> Observation[Value]:
    """The answer of a long read, Unreadable when it raises, takes too long, or the cluster goes silent meanwhile."""
    try:
        return await attend(work, cluster, patience, limit_s=patience.read_s)
    except ReconcilerError as error:
        return Unreadable(reason=error.message)


async def attend(work: Awaitable[Value], cluster: Cluster, patience: Patience, *, limit_s: float) -> Value:
    """The answer of `work`, waited for as long as the cluster says who it is, at most `limit_s` seconds.

    Raises what `work` raises, and Silent: then nothing is known of what came of it.
    """
    loop = asyncio.get_running_loop()
    gone: list[str] = []
    doubts: list[asyncio.Task[None]] = []

    async def doubt() -> None:
        while True:
            who = await ask_who(cluster, patience)
            if not (isinstance(who, Found) or _is_refusal(who)):
                break  # who only does not let us in is there
            await asyncio.sleep(patience.connect_s)
        if not deadline.expired():
            gone.append(who.reason if isinstance(who, Unreadable) else f"cluster {cluster.name} is nobody")
            deadline.reschedule(loop.time())

    # most answers come before anybody doubts: a task of its own for each call would cost more than the call
    later = loop.call_later(patience.connect_s, lambda: doubts.append(loop.create_task(doubt())))
    try:
        async with asyncio.timeout(limit_s) as deadline:
            return await work
    except TimeoutError as error:
        if not deadline.expired():
            raise
        silence = f"cluster {cluster.name} did not answer within {limit_s:g} s"
        raise Silent(gone[0] if gone else silence, gone=bool(gone)) from error
    finally:
        later.cancel()
        for task in doubts:
            task.cancel()
        await asyncio.gather(*doubts, return_exceptions=True)


async def bounded(work: Awaitable[Observation[Value]], what: str, deadline_s: float) -> Observation[Value]:
    """The answer of a read, Unreadable when it raises or takes longer than `deadline_s` seconds."""
    try:
        async with asyncio.timeout(deadline_s):
            return await work
    except TimeoutError:
        return Unreadable(reason=f"{what} did not answer within {deadline_s:g} s")
    except ReconcilerError as error:
        return Unreadable(reason=error.message)
