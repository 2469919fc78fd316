"""Sixteen writers at once, on one agent and on many: no update is lost, the feed has neither gap nor double."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import replace

from reconciler.model.errors import RegistryConflict
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Found
from reconciler.ports import Registry
from tests.contracts.values import bare, fact, write

WRITERS = 16
EACH = int(os.environ.get("RECONCILER_TEST_WRITES", "4"))
"""Writes of each writer; on one agent most of them are tried many times."""
SHARED = AgentName(namespace="writers", name="shared")


async def add_one(registry: Registry, name: AgentName, op_id: str) -> None:
    """Count one up in an agent's record, reading and deciding again until nobody came between."""
    while True:
        match await registry.get(name):
            case Found(value=held):
                count = int(held.labels["count"])
                made = replace(held, version=held.version + 1, labels={"count": str(count + 1)})
            case Absent():
                made = replace(bare(name), labels={"count": "1"})
            case unreadable:
                raise AssertionError(unreadable)
        try:
            await registry.commit(write(made, op_id=op_id, audit=(fact(op_id, name),)))
        except RegistryConflict:
            continue
        return


async def count_of(registry: Registry, name: AgentName) -> int:
    answer = await registry.get(name)
    assert isinstance(answer, Found)
    return int(answer.value.labels["count"])


async def follow(registry: Registry, until: int) -> list[int]:
    """The feed as somebody sees it who asks again and again from where it ended."""
    seen: list[int] = []
    while not seen or seen[-1] < until:
        async for seq, _ in registry.changes(seen[-1] if seen else 0):
            seen.append(seq)
        await asyncio.sleep(0)
    return seen


async def assert_whole(registry: Registry, writes: int) -> None:
    feed = [item async for item in registry.changes(0)]
    assert [seq for seq, _ in feed] == list(range(1, writes + 1))
    verdict = await registry.verify_audit()
    assert (verdict.sound, verdict.count) == (True, writes), verdict.reason
    actions = Counter([entry.fact.action async for entry in registry.audit()])
    assert set(actions.values()) == {1}, "each write is on record once"


async def test_writers_of_one_agent_lose_no_update(open_registry) -> None:
    registries = [await open_registry() for _ in range(4)]
    following = asyncio.create_task(follow(await open_registry(), WRITERS * EACH))

    async def writer(number: int) -> None:
        for turn in range(EACH):
            await add_one(registries[number % 4], SHARED, f"w{number}-{turn}")

    await asyncio.gather(*(writer(number) for number in range(WRITERS)))
    assert await following == list(range(1, WRITERS * EACH + 1))
    assert await count_of(registries[0], SHARED) == WRITERS * EACH
    await assert_whole(registries[1], WRITERS * EACH)


async def test_writers_of_many_agents_keep_one_feed_and_one_chain(open_registry) -> None:
    registries = [await open_registry() for _ in range(4)]
    names = [AgentName(namespace="writers", name=f"w{number}") for number in range(WRITERS)]

    async def writer(number: int) -> None:
        for turn in range(EACH):
            await add_one(registries[number % 4], names[number], f"w{number}-{turn}")

    await asyncio.gather(*(writer(number) for number in range(WRITERS)))
    assert [await count_of(registries[0], name) for name in names] == [EACH] * WRITERS
    await assert_whole(registries[2], WRITERS * EACH)
    feed = Counter([name async for _, name in registries[3].changes(0)])
    assert feed == dict.fromkeys(names, EACH)
