"""Looking after a registry, whatever it is made of: what a check finds, what pruning keeps, what a backup is worth."""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import Any

from reconciler.model.identity import AgentName
from reconciler.model.registry import AgentState, JournalPhase, Record, Write
from reconciler.ports import Upkeep
from tests.contracts.conftest import REGISTRIES
from tests.contracts.values import TRIAGE, fact, filled, intent, record, revision, write

BACK_ENDS = REGISTRIES
"""What is behind a cache is looked after as it is without one: tests/adapters/cache."""
OTHER = AgentName(namespace="support", name="other")


async def test_a_whole_registry_has_no_faults(registry) -> None:
    looked_after: object = registry
    assert isinstance(looked_after, Upkeep)
    assert await registry.integrity() == ()
    await filled(registry)
    await registry.commit(write(replace(record(version=6), state=AgentState.GONE, reservations=())))
    assert await registry.integrity() == ()


async def test_a_backup_is_private_and_says_what_it_holds(registry, tmp_path) -> None:
    await filled(registry)
    await registry.commit(write(replace(record(OTHER), state=AgentState.REGISTERED)))
    await registry.commit(write(replace(record(OTHER, version=2), state=AgentState.GONE), audit=(fact(),)))
    target = tmp_path / "kept" / "backup"
    target.parent.mkdir()
    target.write_text("an older one")
    done = await registry.backup(target)
    verdict = await registry.verify_audit()
    assert (done.seq, done.audit_seq, done.audit_hash, done.records) == (7, 6, verdict.head, 1)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert done.size == target.stat().st_size
    assert [item.name for item in target.parent.iterdir()] == ["backup"], "one file, nothing beside it"


# history by age


def pruning() -> Write:
    return write(audit=(fact("prune", None),))


def aged(version: int, at_ms: int, **changes: Any) -> Record:
    return replace(record(version=version), revision=version, updated_ms=at_ms, **changes)


async def numbers(registry, name: AgentName = TRIAGE) -> list[int]:
    return [item.number for item in await registry.revisions(name)]


async def test_old_history_goes_and_what_a_live_agent_needs_stays(registry) -> None:
    """Its last good revision is 2 (see record), its newest is 8; the rest of what is old goes."""
    for number in range(1, 9):
        await registry.commit(
            write(
                aged(number, number * 100),
                revisions=(replace(revision(number), at_ms=number * 100),),
                journal=(replace(intent(f"j{number}", JournalPhase.DONE), at_ms=number * 100),),
                audit=(fact(f"a{number}"),),
            )
        )
    await registry.commit(write(journal=(replace(intent("open"), at_ms=1),)))
    pretended = await registry.prune(before_ms=10_000, said=None)
    assert await numbers(registry) == [8, 7, 6, 5, 4, 3, 2, 1], "pretending takes nothing away"
    done = await registry.prune(before_ms=10_000, said=pruning())
    assert done == pretended
    assert (done.revisions, done.changes, done.journal) == (6, 7, 8)
    assert await numbers(registry) == [8, 2]
    assert [item async for item in registry.changes(0)] == [(8, TRIAGE)]
    assert [entry.id for entry in await registry.open_journal()] == ["open"]
    verdict = await registry.verify_audit()
    assert (verdict.sound, verdict.count) == (True, 9), "audit is never pruned"
    assert [entry.fact.action async for entry in registry.audit(since=8)] == ["prune"]
    assert await registry.integrity() == ()


async def test_young_history_stays(registry) -> None:
    for number in range(1, 7):
        await registry.commit(
            write(
                aged(number, number * 100),
                replace(record(OTHER, version=number), updated_ms=number * 100, revision=number),
                revisions=(replace(revision(number), at_ms=number * 100),),
                journal=(replace(intent(f"j{number}", JournalPhase.DONE), at_ms=number * 100),),
            )
        )
    done = await registry.prune(before_ms=301, said=pruning())
    assert await numbers(registry) == [6, 5, 4, 2], "of 1, 2 and 3, which are old, 2 is good"
    assert done.journal == 3
    assert len([item async for item in registry.changes(0)]) == 12, "nothing proves how old changes are: they stay"


async def test_the_age_of_a_change_is_proven_by_a_later_one(registry) -> None:
    for number in range(1, 4):
        await registry.commit(write(aged(number, number * 100)))
    await registry.commit(write(replace(record(OTHER), updated_ms=350)))
    await registry.commit(write(aged(4, 900)))
    await registry.commit(write(aged(5, 1000)))
    done = await registry.prune(before_ms=400, said=pruning())
    assert done.changes == 3
    assert [item async for item in registry.changes(0)] == [(4, OTHER), (5, TRIAGE), (6, TRIAGE)]


async def test_the_history_of_who_is_gone_goes_with_its_age(registry) -> None:
    await registry.commit(write(aged(1, 100), revisions=(replace(revision(1), at_ms=100),)))
    await registry.commit(write(aged(2, 200, state=AgentState.GONE), audit=(fact("delete"),)))
    assert (await registry.prune(before_ms=1000, said=pruning())).revisions == 1
    assert await numbers(registry) == []
    assert [entry.fact.action async for entry in registry.audit(name=TRIAGE)] == ["delete"]


async def test_a_write_may_be_repeated_after_pruning(registry) -> None:
    await filled(registry)
    last = write(replace(record(version=6), updated_ms=9), audit=(fact(),), op_id="last")
    seq = await registry.commit(last)
    await registry.prune(before_ms=10_000, said=pruning())
    assert await registry.commit(last) == seq
    assert (await registry.verify_audit()).count == 7, "the sixth write, and the pruning"
