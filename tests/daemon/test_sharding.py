"""Several daemons share a fleet: each does its own part, and what one leaves another goes on with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.daemon import service as services
from reconciler.daemon import standing
from reconciler.daemon.loop import Mode
from reconciler.daemon.service import Settings
from reconciler.daemon.sharding import Sharding
from reconciler.daemon.telling import Teller
from reconciler.engine.shardlocks import ShardLost
from reconciler.model.alert import Alert
from reconciler.model.errors import RegistryConflict, RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.registry import AuditFact, Lease, Write
from reconciler.model.shards import shard_of
from tests.daemon.test_service import Fleet, running
from tests.daemon.waiting import PATIENTLY_S, until
from tests.doubles.clock import FakeClock, ShiftedClock
from tests.doubles.never_ready import SILENT
from tests.doubles.pods_cluster import PodsCluster
from tests.doubles.prober import TableProber
from tests.doubles.source import MemorySource
from tests.doubles.world import open_cluster, open_registry
from tests.engine.fleets import NOTHING, OPTIONS, PROCESSES, agent

COUNT = 4
NAMES = [AgentName.parse(f"support/a{number}") for number in range(12)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "STEP_S", 0.05)
    monkeypatch.setattr(standing, "GIVE_UP_S", PATIENTLY_S)
    monkeypatch.setattr(standing, "TTL_S", 120.0)  # a machine that is busy must not take a lease away
    monkeypatch.setattr(services, "REGISTRY_POLL_S", 0.05)


@pytest.fixture
def source() -> MemorySource:
    made = MemorySource()
    made.commit({"fleet.yaml": NOTHING} | {f"agents/{name.name}.yaml": agent(name.name) for name in NAMES})
    return made


Making = Callable[[str], Fleet]


@pytest.fixture
def made(tmp_path: Path, source: MemorySource) -> Making:
    def make(holder: str) -> Fleet:
        fleet = Fleet(tmp_path, source, Mode.APPLY)
        fleet.service.settings = Settings(poll_s=0.05, sweep_s=60.0, shards=COUNT)
        fleet.service.options = replace(OPTIONS, holder=holder, actor=holder)
        return fleet

    return make


def applied(fleet: Fleet) -> list[str]:
    return [line["agent"] for line in fleet.told("change-ended", outcome="applied")]


def has_done(fleet: Fleet, names: Iterable[AgentName]) -> bool:
    """Whether a daemon has ended changes of all of them. A plan that is older than such an end finds it once more."""
    return set(map(str, names)) <= set(applied(fleet))


def shards_of(fleet: Fleet) -> set[int]:
    found = fleet.service.standing
    if not isinstance(found, Sharding):
        return set()
    return {shard for shard in range(COUNT) if shard in found._shards and shard not in found._leaving}


def owner(name: AgentName, fleets: Iterable[Fleet]) -> Fleet:
    (found,) = (fleet for fleet in fleets if shard_of(name, COUNT) in shards_of(fleet))
    return found


def change(source: MemorySource, *names: AgentName, image: str = "acme/agent:2") -> None:
    source.commit({f"agents/{name.name}.yaml": agent(name.name, image=image) for name in names})


async def both(stack: AsyncExitStack, made: Making) -> tuple[Fleet, Fleet]:
    """Two daemons that have shared the fleet out, and brought it up."""
    one = await stack.enter_async_context(running(made("one")))
    await until(lambda: has_done(one, NAMES))
    two = await stack.enter_async_context(running(made("two")))
    await until(lambda: len(shards_of(two)) == COUNT // 2 and len(shards_of(one)) == COUNT // 2)
    return one, two


async def test_one_that_is_alone_looks_after_all_and_hands_over_half_to_one_that_joins(
    made: Making, source: MemorySource
) -> None:
    async with AsyncExitStack() as stack:
        one, two = await both(stack, made)
        assert shards_of(one) | shards_of(two) == set(range(COUNT))
        one.lines.clear()
        change(source, *NAMES)
        first = {name for name in NAMES if owner(name, (one, two)) is one}
        await until(lambda: has_done(one, first) and has_done(two, set(NAMES) - first))
        assert set(applied(one)).isdisjoint(applied(two))


async def test_one_that_ends_hands_all_over_at_once(made: Making, source: MemorySource) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(running(made("one")))
        await until(lambda: has_done(one, NAMES))
        async with running(made("two")) as two:
            await until(lambda: len(shards_of(two)) == COUNT // 2)
        await until(lambda: shards_of(one) == set(range(COUNT)))
        one.lines.clear()
        change(source, *NAMES)
        await until(lambda: has_done(one, NAMES))


async def test_the_agents_of_one_that_is_gone_are_taken_over_when_its_leases_end(
    made: Making, source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ShiftedClock()
    async with AsyncExitStack() as stack:
        one = made("one")
        one.clock = clock
        await stack.enter_async_context(running(one))
        await until(lambda: has_done(one, NAMES))
        two = made("two")
        async with running(two):
            await until(lambda: len(shards_of(two)) == COUNT // 2)
            monkeypatch.setattr(two.registries["registry.db"], "release", _nobody_hears)
        assert len(shards_of(one)) == COUNT // 2, "nobody knows yet"
        clock.advance(standing.TTL_S)
        one.lines.clear()
        change(source, *NAMES)
        await until(lambda: has_done(one, NAMES))


async def _nobody_hears(_lease: Lease) -> None:
    pass


async def test_who_depends_on_an_agent_of_another_shard_waits_for_it(made: Making, source: MemorySource) -> None:
    async with AsyncExitStack() as stack:
        one, two = await both(stack, made)
        first = next(name for name in NAMES if owner(name, (one, two)) is one)
        second = next(name for name in NAMES if owner(name, (one, two)) is two)
        one.lines.clear()
        needs = f"  dependsOn: [{first}]\n"
        source.commit(
            {
                f"agents/{first.name}.yaml": agent(first.name, image=f"acme/{SILENT}:1"),
                f"agents/{second.name}.yaml": agent(second.name, needs, image="acme/agent:2"),
            }
        )
        await until(lambda: one.told("change-started", agent=str(first)))
        await until(lambda: two.told("planned", commit=source.commits[-1][:12]))
        change(source, first)
        await until(lambda: two.told("change-ended", agent=str(second), outcome="applied"))
        registry = await one.registry()
        done = [
            str(entry.fact.agent)
            async for entry in registry.audit()
            if entry.fact.action == "applied" and entry.fact.commit in source.commits[1:]
        ]
        assert done.index(str(first)) < done.index(str(second))


async def test_work_under_way_on_a_shard_that_goes_is_gone_on_with_where_it_goes_to(
    made: Making, source: MemorySource
) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(running(made("one")))
        await until(lambda: has_done(one, NAMES))
        change(source, *NAMES, image=f"acme/{SILENT}:1")
        await until(lambda: len(one.told("change-started", action="update")) == OPTIONS.parallelism)
        two = await stack.enter_async_context(running(made("two")))
        await until(lambda: len(shards_of(two)) == COUNT // 2)
        theirs = {str(name) for name in NAMES if owner(name, (one, two)) is two}
        await until(lambda: theirs & {line["agent"] for line in two.told("change-started")})
        change(source, *NAMES)
        await until(lambda: has_done(two, [name for name in NAMES if str(name) in theirs]))
        assert not theirs & {line["agent"] for line in one.told("change-ended", action="update", outcome="applied")}


CHECKED = """\
  ports: [{name: http, port: 8080}]
  health: {failureThreshold: 20, checks: [{name: answers, connectivity: {http: {path: /healthz, port: http}}}]}
"""


async def test_when_most_of_a_fleet_fails_at_once_none_of_those_that_share_it_takes_a_remedy(
    tmp_path: Path, source: MemorySource, made: Making
) -> None:
    """Each sees four agents fail: too few to tell anything by itself."""
    few = [name for shard in range(COUNT) for name in [one for one in NAMES if shard_of(one, COUNT) == shard][:2]]
    gone: dict[str, str | None] = {f"agents/{name.name}.yaml": None for name in NAMES if name not in few}
    source.commit(gone | {f"agents/{name.name}.yaml": agent(name.name, CHECKED) for name in few})
    source.commit({"fleet.yaml": PROCESSES})
    alerts: dict[str, list[Alert]] = {"one": [], "two": []}
    ill = False

    def begun(holder: str) -> Fleet:
        fleet = made(holder)
        fleet.cluster = open_cluster(PodsCluster, tmp_path)
        fleet.service.settings = replace(fleet.service.settings, sweep_s=0.1)
        fleet.service.prober = TableProber(lambda _request: "HTTP 500" if ill else "")
        fleet.service.raise_ = alerts[holder].append
        return fleet

    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(running(begun("one")))
        await until(lambda: has_done(one, few))
        two = await stack.enter_async_context(running(begun("two")))
        await until(lambda: len(shards_of(two)) == COUNT // 2 and len(one.service.assessed) == len(few) // 2)
        await until(lambda: all(found.is_healthy for each in (one, two) for found in each.service.assessed.values()))
        ill = True
        await until(lambda: alerts["one"] and alerts["two"])
        assert {alert.key for each in alerts.values() for alert in each} == {"FleetUnhealthy"}
        assert "8 of 8 agents fail at once" in alerts["two"][0].text
        assert one.told("remedies-stop")
        assert two.told("remedies-stop")
        ill = False
        await until(lambda: one.told("remedies-go-on") and two.told("remedies-go-on"))
        assert not one.told("remedy") + two.told("remedy")


class Member:
    """A sharding alone, without a fleet."""

    def __init__(self, registry: SqliteRegistry, holder: str) -> None:
        self.lines: list[str] = []
        self.over: asyncio.Event | None = None
        self.stop = asyncio.Event()
        self.gone = 0
        clock = SystemClock()
        self.sharding = Sharding(
            registry=registry,
            clock=clock,
            holder=holder,
            count=COUNT,
            tell=Teller(clock=clock, write=self.lines.append),
            changed=lambda _leads: None,
            hand_over=self.hand_over,
        )

    async def hand_over(self) -> None:
        self.gone += 1

    async def work(self, over: asyncio.Event) -> None:
        self.over = over
        await over.wait()

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.sharding.lead(self.work, self.stop))

    @property
    def held(self) -> set[int]:
        return set(self.sharding._shards)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[SqliteRegistry]:
    opened = await open_registry(tmp_path, SystemClock())
    yield opened
    await opened.close()


async def put(registry: SqliteRegistry, member: Member) -> None:
    fact = AuditFact(actor="me", action="try", agent=None)
    await registry.commit(Write(op_id=registry.new_id(), at_ms=1, audit=(fact,), fences=member.sharding.fences()))


async def test_a_shard_that_another_took_is_written_for_no_more_even_before_that_is_known(registry) -> None:
    one = Member(registry, "one")
    task = one.start()
    await until(lambda: len(one.held) == COUNT)
    await put(registry, one)
    later = SystemClock().now_ms() + 3_600_000  # as if `one` had slept for an hour
    await registry.acquire(f"daemon/shard-2-of-{COUNT}", holder="two", ttl_ms=60_000, now_ms=later)
    with pytest.raises(RegistryConflict, match="daemon/shard-2-of-4 has moved on"):
        await put(registry, one)
    one.sharding._shards[2].asked -= standing.TTL_S / 3  # it is time to renew it
    await until(lambda: 2 not in one.held and one.gone)
    assert any("shard-lost" in line and "two" in line for line in one.lines)
    await put(registry, one)
    one.stop.set()
    await asyncio.wait_for(task, PATIENTLY_S)


async def test_shards_that_could_not_be_renewed_in_time_are_nobodys(registry, monkeypatch) -> None:
    one = Member(registry, "one")
    task = one.start()
    await until(lambda: len(one.held) == COUNT)

    async def away(*_: object, **__: object) -> Lease:
        raise RegistryError("it is away")

    monkeypatch.setattr(registry, "acquire", away)
    monkeypatch.setattr(standing, "TTL_S", 0.0)
    with pytest.raises(ShardLost):
        one.sharding.fences()
    await asyncio.wait_for(task, PATIENTLY_S)
    assert one.over is not None
    assert one.over.is_set()


async def test_what_one_says_the_others_hear_until_it_is_gone(registry) -> None:
    members = [Member(registry, f"m{number}") for number in range(3)]
    tasks = [member.start() for member in members]
    await until(lambda: all(member.held for member in members))
    for number, member in enumerate(members):
        member.sharding.say(f"sees {number}")
    await until(lambda: set(members[0].sharding.others) == {"sees 1", "sees 2"})
    members[1].sharding.say("sees more")
    await until(lambda: set(members[0].sharding.others) == {"sees more", "sees 2"})
    members[1].stop.set()
    await until(lambda: members[0].sharding.others == ("sees 2",))
    for member in members:
        member.stop.set()
    await asyncio.gather(*tasks)


async def test_more_daemons_than_shards_stand_by_until_a_seat_is_free(registry) -> None:
    members = [Member(registry, f"m{number}") for number in range(COUNT + 1)]
    tasks = [member.start() for member in members]
    await until(lambda: sum(len(member.held) == 1 for member in members) == COUNT)
    (last,) = (member for member in members if not member.held)
    await until(lambda: any("all 4 seats are taken" in line for line in last.lines))
    first = next(member for member in members if member.held)
    first.stop.set()
    await until(lambda: len(last.held) == 1)
    for member in members:
        member.stop.set()
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENTLY_S)
    assert all(not lease.holder for lease in await registry.leases("daemon/")), "all is given up"


async def test_who_has_no_seat_any_more_leaves_its_shards_to_those_who_have_one(registry) -> None:
    one = Member(registry, "one")
    task = one.start()
    await until(lambda: len(one.held) == COUNT)
    later = SystemClock().now_ms() + 3_600_000  # as if `one` had slept for an hour
    for number in range(COUNT):
        await registry.acquire(f"daemon/seat-{number}-of-{COUNT}", holder="two", ttl_ms=60_000, now_ms=later)
    assert one.sharding._seat is not None
    one.sharding._seat[1].asked -= standing.TTL_S / 3  # it is time to renew it
    await asyncio.wait_for(task, PATIENTLY_S)
    assert all(not lease.holder for lease in await registry.leases("daemon/shard-"))
    assert any("shard-handed-over" in line for line in one.lines)


async def test_who_was_killed_comes_back_to_its_seat_and_to_what_it_kept_there(registry) -> None:
    """Else what it was to tell people would wait for ever, at a seat that nobody takes."""
    clock = FakeClock()

    def sharding(holder: str, *known: str) -> Sharding:
        return Sharding(
            registry=registry, clock=clock, holder=holder, count=COUNT, changed=lambda _leads: None,
            tell=Teller(clock=clock, write=lambda _text: None), known=lambda: known,
        )  # fmt: skip

    killed, again = sharding("one"), sharding("one again", "0-of-4", "1-of-8", "")
    assert await killed._seated()
    assert not await again._seated(), "though there are others"
    clock.advance(standing.TTL_S)
    assert await again._seated()
    assert again.seat == killed.seat == "0-of-4"
    late = sharding("another on this machine", "0-of-4")
    assert not await late._seated()
    for _ in range(2):
        clock.advance(standing.TTL_S / 2)
        assert await again._seated()
    assert await late._seated()
    assert late.seat == "1-of-4", "it is no dead one's"
