"""A daemon that stood by for long: what it fetched when it began to is old, and is not what the fleet goes back to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reconciler.daemon import current, standing
from reconciler.daemon.loop import Mode
from reconciler.daemon.standing import LEADER_LEASE
from reconciler.model.errors import SourceError
from reconciler.model.registry import Lease
from reconciler.model.source import Revision
from tests.daemon.test_service import Fleet, running
from tests.daemon.waiting import until
from tests.doubles.source import MemorySource
from tests.doubles.world import GivenWorld
from tests.engine.fleets import NOTHING, agent, applied


class Mirrored(MemorySource):
    """A repository that is far: only what was fetched is here."""

    def __init__(self) -> None:
        super().__init__()
        self.here = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.away = ""

    async def fetch(self) -> None:
        await self.answers.wait()
        if self.away:
            raise SourceError(self.away)
        self.here = len(self.commits)

    async def revision(self, ref: str) -> Revision:
        if not self.here:
            raise SourceError("it was never fetched")
        return await super().revision(ref or self.commits[self.here - 1])

    async def is_ancestor(self, old: Revision, new: Revision) -> bool:
        known = self.commits[: self.here]
        return {old.commit, new.commit} <= {*known} and known.index(old.commit) <= known.index(new.commit)

    def whole(self) -> MemorySource:
        """The same repository for somebody who has fetched all of it."""
        made = MemorySource()
        made.commits, made.trees = self.commits, self.trees
        return made


class Two:
    """A daemon that stands by while another one leads, which holds `lease` and has applied a newer commit."""

    def __init__(self, folder: Path) -> None:
        self.source = Mirrored()
        self.fleet = Fleet(folder, self.source, Mode.APPLY)
        self.source.commit({"fleet.yaml": NOTHING, "agents/fast.yaml": agent("fast"), "agents/old.yaml": agent("old")})
        self.lease: Lease | None = None

    async def other_leads(self) -> None:
        registry = await self.fleet.registry()
        now = self.fleet.clock.now_ms()
        self.lease = await registry.acquire(LEADER_LEASE, holder="the other", ttl_ms=600_000, now_ms=now)

    async def other_applies(self) -> None:
        declared = await self.fleet.stores((await _declared(self.source)).fleet)
        await applied(GivenWorld(self.source.whole(), self.fleet.clock, declared))

    async def other_ends(self) -> None:
        assert self.lease is not None
        await (await self.fleet.registry()).release(self.lease)


async def _declared(source: Mirrored):
    from reconciler.spec import read_fleet

    whole = source.whole()
    now = await whole.revision("")
    return read_fleet(now, await whole.blobs(now))


@pytest.fixture
async def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Two]:
    monkeypatch.setattr(standing, "STEP_S", 0.02)
    monkeypatch.setattr(current, "PATIENCE_S", 0.05)
    made = Two(tmp_path)
    await made.other_leads()
    await made.other_applies()
    async with running(made.fleet) as fleet:
        await until(lambda: fleet.told("stands-by"))
        yield made
        made.source.answers.set()


async def test_who_comes_to_lead_does_not_go_back_to_what_it_fetched_when_it_began_to_stand_by(two: Two) -> None:
    two.source.commit({"agents/fast.yaml": agent("fast", image="acme/agent:2"), "agents/old.yaml": None})
    await two.other_applies()
    two.source.answers.clear()
    await two.other_ends()
    await until(lambda: two.fleet.told("pass-failed"))
    assert "is not known here" in two.fleet.told("pass-failed")[0]["error"]
    assert two.fleet.service.not_ready()
    two.source.answers.set()
    await until(lambda: two.fleet.told("planned", commit=two.source.commits[-1][:12]))
    await until(lambda: not two.fleet.service.not_ready())
    assert two.fleet.told("change-started") == []


async def test_an_apply_by_hand_that_is_ahead_of_the_next_look_at_git_is_not_undone(two: Two) -> None:
    await two.other_ends()
    await until(lambda: two.fleet.told("planned"))
    two.source.answers.clear()
    two.source.commit({"agents/fast.yaml": agent("fast", image="acme/agent:2")})
    await two.other_applies()
    await until(lambda: two.fleet.told("pass-failed"))
    two.source.answers.set()
    await until(lambda: two.fleet.told("planned", commit=two.source.commits[-1][:12]))
    assert two.fleet.told("change-started") == []


async def test_while_the_repository_is_away_what_all_know_counts_on(two: Two) -> None:
    two.source.away = "no route to host"
    await two.other_ends()
    await until(lambda: two.fleet.told("planned", commit=two.source.commits[-1][:12]))


async def test_a_branch_that_was_rewound_meanwhile_is_followed_once_the_repository_said_so(two: Two) -> None:
    gone = two.source.commit({"agents/fast.yaml": agent("fast", image="acme/agent:2")})
    await two.other_applies()
    two.source.commits.remove(gone)
    await two.other_ends()
    await until(lambda: two.fleet.told("change-ended", agent="support/fast", outcome="applied"))


async def test_it_ends_at_once_while_it_begins_and_the_repository_does_not_answer(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, source := Mirrored(), Mode.APPLY)
    source.commit({"fleet.yaml": NOTHING})
    source.answers.clear()
    serving = asyncio.create_task(fleet.service.run(fleet.stop))
    await asyncio.sleep(0)
    fleet.stop.set()
    done, _ = await asyncio.wait({serving}, timeout=10)
    source.answers.set()
    await serving
    await fleet.cluster.close()
    assert done
