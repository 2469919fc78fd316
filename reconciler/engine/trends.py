"""What the history of health on record comes to: for one agent, or for all of a fleet. Reads; decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import groupby
from operator import attrgetter
from typing import TypeVar

from reconciler.health.trends import HISTORY_MS, LATENCY_MS, LEAST_POINTS, MOST_POINTS, limit_of, trend_of
from reconciler.model.agent import Health
from reconciler.model.identity import AgentName
from reconciler.model.series import FINE_MS, HOUR_MS, HealthChange, HealthPoint
from reconciler.model.trend import Trend
from reconciler.ports import Registry

AT_ONCE = 50
"""Agents that are looked at before others have their turn: a slope is of hundreds of pairs."""
T = TypeVar("T", HealthChange, HealthPoint)
_agent = attrgetter("agent")


async def trend_on_record(registry: Registry, name: AgentName, health: Health | None, *, now_ms: int) -> Trend | None:
    """The trend of one agent; None where nothing is on record. `health` says which limit of latency is looked ahead to.

    Raises RegistryError.
    """
    changes = await registry.health_changes(name, since_ms=now_ms - HISTORY_MS)
    if not changes:
        return None
    hours = await _points(registry, name, HOUR_MS, LATENCY_MS + HOUR_MS, now_ms)
    fine = await _points(registry, name, FINE_MS, MOST_POINTS * FINE_MS, now_ms) if len(hours) < LEAST_POINTS else ()
    return trend_of(
        name, changes, fine=fine, hours=hours, limit=limit_of(health) if health is not None else None, now_ms=now_ms
    )


async def trends_on_record(
    registry: Registry, agents: Mapping[AgentName, Health | None], *, now_ms: int
) -> dict[AgentName, Trend]:
    """The trends of those of `agents` that anything is on record of: with as many readings as for one.

    Raises RegistryError.
    """
    changes = _by_agent(await registry.health_changes(None, since_ms=now_ms - HISTORY_MS))
    hours = _by_agent(await _points(registry, None, HOUR_MS, LATENCY_MS + HOUR_MS, now_ms))
    young = any(len(hours.get(name, ())) < LEAST_POINTS for name in agents if name in changes)
    fine = _by_agent(await _points(registry, None, FINE_MS, MOST_POINTS * FINE_MS, now_ms)) if young else {}
    found: dict[AgentName, Trend] = {}
    for index, (name, health) in enumerate(agents.items(), 1):
        if not index % AT_ONCE:
            await asyncio.sleep(0)
        trend = trend_of(
            name,
            changes.get(name, ()),
            fine=fine.get(name, ()),
            hours=hours.get(name, ()),
            limit=limit_of(health) if health is not None else None,
            now_ms=now_ms,
        )
        if trend is not None:
            found[name] = trend
    return found


async def _points(
    registry: Registry, name: AgentName | None, span_ms: int, back_ms: int, now_ms: int
) -> tuple[HealthPoint, ...]:
    return await registry.health_points(name, since_ms=now_ms - back_ms, until_ms=now_ms + 1, span_ms=span_ms)


def _by_agent(found: tuple[T, ...]) -> dict[AgentName, tuple[T, ...]]:
    return {name: tuple(items) for name, items in groupby(found, key=_agent)}
