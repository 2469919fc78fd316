"""Observing: everything that a plan is compared with, read at once, each read with a deadline.

A read that fails, or that does not end in time, is Unreadable with its reason; it never ends the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from reconciler.engine.world import Stores
from reconciler.model.errors import ReconcilerError
from reconciler.model.objects import (
    Capacity,
    ClusterIdentity,
    LiveSet,
    Observation,
    Scope,
    Unreadable,
)
from reconciler.model.registry import RegistrySnapshot
from reconciler.ports import Cluster

DEADLINE_S = 60.0

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One look at the world, by cluster name where there is one."""

    registry: Observation[RegistrySnapshot]
    live: Mapping[str, Observation[LiveSet]]
    identities: Mapping[str, Observation[ClusterIdentity]]
    capacities: Mapping[str, Observation[Capacity]]


async def observe(stores: Stores, scope: Scope, *, deadline_s: float = DEADLINE_S) -> Observed:
    """Read the registry, and of every cluster its identity, its objects in `scope` and its capacity."""
    names = sorted(stores.clusters)
    registry, answers = await asyncio.gather(
        bounded(stores.registry.snapshot(), "the registry", deadline_s),
        asyncio.gather(*(_one(name, stores.clusters[name], scope, deadline_s) for name in names)),
    )
    return Observed(
        registry=registry,
        live={name: answer[0] for name, answer in zip(names, answers, strict=True)},
        identities={name: answer[1] for name, answer in zip(names, answers, strict=True)},
        capacities={name: answer[2] for name, answer in zip(names, answers, strict=True)},
    )


async def _one(
    name: str, cluster: Cluster | Unreadable, scope: Scope, deadline_s: float
) -> tuple[Observation[LiveSet], Observation[ClusterIdentity], Observation[Capacity]]:
    if isinstance(cluster, Unreadable):
        return cluster, cluster, cluster
    return await asyncio.gather(
        bounded(cluster.observe(scope), f"cluster {name}", deadline_s),
        bounded(cluster.identity(), f"cluster {name}", deadline_s),
        bounded(cluster.capacity(), f"cluster {name}", deadline_s),
    )


async def bounded(read: Awaitable[Observation[Value]], what: str, deadline_s: float = DEADLINE_S) -> Observation[Value]:
    """The answer of a read, Unreadable when it raises or takes longer than `deadline_s` seconds."""
    try:
        async with asyncio.timeout(deadline_s):
            return await read
    except TimeoutError:
        return Unreadable(reason=f"{what} did not answer within {deadline_s:g} s")
    except ReconcilerError as error:
        return Unreadable(reason=error.message)
