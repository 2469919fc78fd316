"""Whole passes over a fleet: a plan that was just made, or a saved one that is held to what it said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from reconciler.engine.apply import ApplyOptions, apply
from reconciler.engine.reconcile import PlanningCache, compute_plan, open_stores, replanner
from reconciler.engine.world import World
from reconciler.model.errors import ReconcilerError, RegistryError, UsageError
from reconciler.model.events import ApplyEvent
from reconciler.model.objects import Found, Unreadable
from reconciler.model.plan import Plan
from reconciler.plan.guard import names_text
from reconciler.plan.planfile import Difference, SavedPlan, compare, restrict


class PlanChanged(ReconcilerError):
    """A saved plan would do something else now. `differences` show plan against plan, by agent; `now` is all of it."""

    def __init__(self, message: str, *, differences: tuple[Difference, ...], now: Plan, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.differences = differences
        self.now = now


class PlanSpent(ReconcilerError):
    """A saved plan that was applied before."""


async def apply_plan(
    world: World, plan: Plan, *, options: ApplyOptions, stop: asyncio.Event, cache: PlanningCache | None = None
) -> AsyncGenerator[ApplyEvent, None]:
    """Apply a plan that `compute_plan` made in this world; events as `engine.apply.apply` tells them, and its errors.

    Raises UsageError for a plan without a fleet.
    """
    memory = cache if cache is not None else PlanningCache()
    stores = await open_stores(world, plan, memory)
    if stores is None:
        raise UsageError("fleet.yaml cannot be used, so nothing can be applied", hint="`reconciler validate` says why")
    again = replanner(world, plan, memory)
    events = apply(plan, stores, world.clock, options=options, replan=again, stop=stop)
    async with aclosing(events):
        async for event in events:
            yield event


async def check_saved(world: World, saved: SavedPlan, *, ref: str = "", cache: PlanningCache | None = None) -> Plan:
    """What of a saved plan is to be done now: its changes, computed again, when they are the same still.

    Raises PlanSpent for a plan that was applied before, UsageError for another fleet's, PlanChanged when one of its
    agents would be changed otherwise than it says; and as compute_plan.
    """
    plan = await compute_plan(world, policy=saved.policy, ref=ref, cache=cache)
    if plan.fleet != saved.fleet:
        raise UsageError(f"this plan is for the fleet {saved.fleet!r}, and this is {plan.fleet!r}")
    memory = cache if cache is not None else PlanningCache()
    stores = await open_stores(world, plan, memory)
    if stores is not None:
        match await stores.registry.snapshot():
            case Found(value=snapshot) if snapshot.fleet and saved.digest in snapshot.fleet.spent_plans:
                raise PlanSpent("this plan was applied before", hint="make a new one with `reconciler plan --out FILE`")
            case Unreadable(reason=reason):
                raise RegistryError(f"whether this plan was applied before cannot be known: {reason}")
            case _:
                pass
    differences = compare(saved, plan)
    if differences:
        names = names_text([item.agent for item in differences])
        raise PlanChanged(
            f"since this plan was made, what it would do has changed for {names}",
            differences=differences,
            now=plan,
            hint="look at what differs, and make a new plan with `reconciler plan --out FILE`",
        )
    return restrict(plan, saved)


async def apply_saved(
    world: World,
    saved: SavedPlan,
    *,
    options: ApplyOptions,
    stop: asyncio.Event,
    ref: str = "",
    cache: PlanningCache | None = None,
) -> AsyncGenerator[ApplyEvent, None]:
    """Do exactly what a saved plan says, once. Raises as `check_saved` and `apply_plan`."""
    memory = cache if cache is not None else PlanningCache()
    plan = await check_saved(world, saved, ref=ref, cache=memory)
    events = apply_plan(world, plan, options=replace(options, spends=saved.digest), stop=stop, cache=memory)
    async with aclosing(events):
        async for event in events:
            yield event
