"""Approving deletions that are held: they go with the next plan of that commit, and no others do."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import pytest

from reconciler.engine.approving import approve
from reconciler.engine.operate import Hand
from reconciler.model.errors import UsageError
from reconciler.model.objects import Found
from reconciler.model.plan import Action, HoldCode, Plan
from reconciler.model.registry import FleetRecord
from reconciler.plan.approval import approvable
from reconciler.spec import read_fleet
from tests.doubles.clock import ShiftedClock
from tests.engine.fleets import NOTHING, OPTIONS, FleetRepo, agent, applied, plan_of

AGENTS = {f"agents/a{i}.yaml": agent(f"a{i}") for i in range(6)}
GONE: dict[str, str | None] = {f"agents/a{i}.yaml": None for i in range(5)}


class Held:
    """A fleet that lost five of six agents."""

    def __init__(self, folder: Path) -> None:
        self.repo, self.clock = FleetRepo(folder, NOTHING), ShiftedClock()

    async def __aenter__(self) -> Self:
        self.repo.commit(AGENTS)
        self.world = await self.repo.session(self.clock)
        await applied(self.world)
        self.repo.commit(GONE)
        declared = read_fleet(now := await self.world.source.revision(""), await self.world.source.blobs(now))
        assert declared.fleet is not None
        self.registry = (await self.world.stores(declared.fleet)).registry
        self.hand = Hand(registry=self.registry, clock=self.clock, actor="ada", retry=OPTIONS.retry)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.world.close()

    async def fleet(self) -> FleetRecord:
        answer = await self.registry.snapshot()
        assert isinstance(answer, Found)
        assert answer.value.fleet is not None
        return answer.value.fleet


def held(plan: Plan) -> list[HoldCode]:
    return [hold.code for hold in plan.holds]


async def test_what_is_approved_goes_and_the_record_says_who_allowed_it(tmp_path: Path) -> None:
    async with Held(tmp_path / "fleet") as fleet:
        plan = await plan_of(fleet.world)
        (key,) = approvable(plan)
        assert held(plan) == [HoldCode.DELETION_BUDGET]
        made = await approve(fleet.hand, plan, key, reason="the team is gone")
        assert len(made.agents) == 5
        after = await plan_of(fleet.world)
        assert (held(after), after.count(Action.DELETE)) == ([], 5)
        assert "approved by ada: the team is gone" in after.changes[0].reasons[0].text
        events = await applied(fleet.world, after)
        assert (await plan_of(fleet.world)).changes == ()
        assert events
        said = [entry.fact async for entry in fleet.registry.audit() if entry.fact.action == "approve"]
        assert [(fact.actor, fact.commit) for fact in said] == [("ada", plan.revision.commit)]
        assert "5 deletes" in said[0].message


async def test_another_commit_is_held_again(tmp_path: Path) -> None:
    async with Held(tmp_path / "fleet") as fleet:
        plan = await plan_of(fleet.world)
        await approve(fleet.hand, plan, next(iter(approvable(plan))))
        fleet.repo.commit({"README.md": "another commit"})
        assert held(await plan_of(fleet.world)) == [HoldCode.DELETION_BUDGET]


async def test_an_approval_that_is_over_holds_again(tmp_path: Path) -> None:
    async with Held(tmp_path / "fleet") as fleet:
        plan = await plan_of(fleet.world)
        await approve(fleet.hand, plan, next(iter(approvable(plan))), for_ms=60_000)
        fleet.clock.advance(61)
        assert held(await plan_of(fleet.world)) == [HoldCode.DELETION_BUDGET]


async def test_what_was_not_seen_cannot_be_approved(tmp_path: Path) -> None:
    async with Held(tmp_path / "fleet") as fleet:
        plan = await plan_of(fleet.world)
        with pytest.raises(UsageError, match="may have changed since") as told:
            await approve(fleet.hand, plan, "0" * 12)
        assert next(iter(approvable(plan))) in told.value.hint
        assert (await fleet.fleet()).approvals == ()


async def test_one_that_is_made_again_lasts_anew(tmp_path: Path) -> None:
    async with Held(tmp_path / "fleet") as fleet:
        plan = await plan_of(fleet.world)
        key = next(iter(approvable(plan)))
        first = await approve(fleet.hand, plan, key)
        fleet.clock.advance(10)
        again = await approve(fleet.hand, plan, key)
        assert (await fleet.fleet()).approvals == (again,)
        assert again.until_ms > first.until_ms


async def test_a_branch_that_was_rewound_is_approved_with_all_that_follows(tmp_path: Path) -> None:
    repo = FleetRepo(tmp_path / "fleet", NOTHING)
    repo.commit({"agents/a0.yaml": AGENTS["agents/a0.yaml"]})
    repo.commit(AGENTS)
    world = await repo.session(clock := ShiftedClock())
    try:
        await applied(world)
        repo.rewind()
        plan = await plan_of(world)
        assert held(plan) == [HoldCode.REWIND]
        declared = read_fleet(now := await world.source.revision(""), await world.source.blobs(now))
        assert declared.fleet is not None
        registry = (await world.stores(declared.fleet)).registry
        hand = Hand(registry=registry, clock=clock, actor="ada", retry=OPTIONS.retry)
        await approve(hand, plan, next(iter(approvable(plan))))
        await applied(world)
        assert (await plan_of(world)).changes == ()
    finally:
        await world.close()
