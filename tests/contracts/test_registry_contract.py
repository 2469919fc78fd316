"""What every registry does, whatever it is made of."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from reconciler.model.audit import verify_chain
from reconciler.model.errors import RegistryConflict, RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Found
from reconciler.model.query import (
    MAX_PAGE,
    ORDER_CHARACTERS,
    And,
    Comparator,
    Compare,
    Contains,
    Exists,
    GroupCount,
    Like,
    Not,
    OneOf,
    Or,
    Order,
    Query,
    QueryError,
)
from reconciler.model.registry import (
    TRANSITIONS,
    AgentState,
    AuditEntry,
    ClusterState,
    Fence,
    JournalPhase,
    Lease,
    RegistrySnapshot,
)
from reconciler.query.asked import Asked, query_of
from reconciler.query.checking import read_query
from reconciler.query.paths import RECORD, SPEC, Kind, joined
from tests.contracts.values import MINER, ODD, TRIAGE, bare, fact, fleet, health, intent, record, revision, write

S = AgentState
OTHER = AgentName(namespace="support", name="other")


async def seen(registry) -> RegistrySnapshot:
    found = await registry.snapshot()
    assert isinstance(found, Found)
    assert isinstance(found.value, RegistrySnapshot)
    return found.value


async def feed(registry, since: int = 0) -> list[tuple[int, AgentName]]:
    return [item async for item in registry.changes(since)]


async def chain(registry, **options) -> list[AuditEntry]:
    return [entry async for entry in registry.audit(**options)]


# transactions


async def test_an_empty_registry_is_found_and_empty(registry) -> None:
    assert await seen(registry) == RegistrySnapshot(seq=0, fleet=None, records={})
    assert await registry.get(TRIAGE) == Absent()
    assert await registry.open_journal() == ()
    assert await registry.revisions(TRIAGE) == ()
    assert await feed(registry) == []
    assert await chain(registry) == []


async def test_a_record_comes_back_as_it_was_written(registry, open_registry) -> None:
    await registry.commit(write(record()))
    assert await registry.get(TRIAGE) == Found(record())
    again = await open_registry()
    assert await again.get(TRIAGE) == Found(record())
    assert (await seen(again)).records == {TRIAGE: record()}


async def test_a_record_read_and_written_back_keeps_its_good_revision(registry, open_registry) -> None:
    await registry.commit(write(record()))
    found = await registry.get(TRIAGE)
    await registry.commit(write(replace(found.value, version=2, state=S.DEPLOYING)))
    again = (await seen(await open_registry())).records[TRIAGE]
    assert again.good == record().good
    assert again.good is not None
    assert again.good.manifests["local"][0]["spec"] == {"replicas": 2}


async def test_a_good_revision_with_the_records_own_document_comes_back(registry, open_registry) -> None:
    one = record()
    assert one.good is not None
    own = replace(one, good=replace(one.good, spec_hash=one.spec_hash, document=one.document))
    await registry.commit(write(own))
    assert await (await open_registry()).get(TRIAGE) == Found(own)


async def test_one_write_does_all_of_it(registry, open_registry) -> None:
    seq = await registry.commit(
        write(
            record(),
            record(MINER),
            fleet=fleet(1),
            journal=(intent("a"),),
            revisions=(revision(1),),
            audit=(fact(), fact("create", MINER)),
        )
    )
    again = await open_registry()
    state = await seen(again)
    assert (state.seq, state.fleet, list(state.records)) == (seq, fleet(1), [MINER, TRIAGE])
    assert await again.open_journal() == (intent("a"),)
    assert await again.revisions(TRIAGE) == (revision(1),)
    assert [entry.fact for entry in await chain(again)] == [fact(), fact("create", MINER)]


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(lambda: write(record(MINER), record(version=3), op_id="x"), id="version"),
        pytest.param(lambda: write(record(MINER), replace(record(), version=2, state=S.GONE), op_id="x"), id="state"),
        pytest.param(lambda: write(record(MINER), record(version=2, id_="other"), op_id="x"), id="id"),
        pytest.param(lambda: write(record(MINER), fleet=fleet(7), op_id="x"), id="fleet"),
        pytest.param(lambda: write(record(MINER), clusters=(health(version=7),), op_id="x"), id="cluster"),
    ],
)
async def test_a_refused_write_leaves_nothing(registry, open_registry, refused) -> None:
    await registry.commit(write(record(), op_id="first"))
    await registry.commit(write(replace(record(), version=2, state=S.DEPLOYING), op_id="second"))
    await registry.commit(write(replace(record(), version=3, state=S.RUNNING), op_id="third"))
    before = await seen(registry)
    wrong = refused()
    wrong = replace(wrong, journal=(intent("j"),), revisions=(revision(9),), audit=(fact(),))
    with pytest.raises(RegistryError):
        await registry.commit(wrong)
    again = await open_registry()
    assert await seen(again) == before
    assert await again.open_journal() == await again.revisions(TRIAGE) == ()
    assert await chain(again) == []
    assert len(await feed(again)) == 3
    assert await registry.commit(replace(wrong, records=(record(MINER),), fleet=None, clusters=())) == before.seq + 1


async def test_how_clusters_are_is_kept_by_name(registry, open_registry) -> None:
    await registry.commit(write(clusters=(health("us-1"), health("eu-1"))))
    assert (await seen(registry)).clusters == {"eu-1": health("eu-1"), "us-1": health("us-1")}
    well = health("eu-1", version=2, state=ClusterState.WELL)
    await registry.commit(write(clusters=(well,)))
    assert (await seen(registry)).clusters == {"eu-1": well, "us-1": health("us-1")}
    assert (await seen(await open_registry())).clusters == {"eu-1": well, "us-1": health("us-1")}


async def test_of_two_who_write_how_a_cluster_is_the_second_is_told(registry, open_registry) -> None:
    other = await open_registry()
    await registry.commit(write(clusters=(health(),)))
    with pytest.raises(RegistryConflict):
        await other.commit(write(clusters=(health(),)))
    assert (await seen(other)).clusters == {"eu-1": health()}


async def test_what_is_no_json_is_refused_whole(registry) -> None:
    for diff in ({"a": float("nan")}, {"a": "\ud800"}, {"a": object()}):
        with pytest.raises(RegistryError):
            await registry.commit(write(record(), audit=(replace(fact(), diff=diff),)))
    assert await registry.get(TRIAGE) == Absent()


async def test_a_write_needs_an_operation_id_and_each_record_once(registry) -> None:
    with pytest.raises(RegistryError, match="operation id"):
        await registry.commit(replace(write(record()), op_id=""))
    with pytest.raises(RegistryError, match="support/triage stands twice"):
        await registry.commit(write(record(), record(version=2)))


# optimistic locking


@pytest.mark.parametrize("version", [0, 2, 7])
async def test_a_new_record_has_version_one(registry, version) -> None:
    with pytest.raises(RegistryConflict, match="support/triage"):
        await registry.commit(write(record(version=version)))


@pytest.mark.parametrize("version", [1, 3])
async def test_a_write_on_another_version_conflicts(registry, version) -> None:
    await registry.commit(write(record()))
    with pytest.raises(RegistryConflict, match="version 1 is held"):
        await registry.commit(write(record(version=version)))


async def test_of_two_writers_one_wins(open_registry) -> None:
    one, two = await open_registry(), await open_registry()
    await one.commit(write(record()))
    mine = [replace(record(version=2), message=who) for who in ("one", "two")]
    answers = await asyncio.gather(one.commit(write(mine[0])), two.commit(write(mine[1])), return_exceptions=True)
    assert [type(answer) for answer in answers if not isinstance(answer, int)] == [RegistryConflict]
    winner = mine[0] if isinstance(answers[0], int) else mine[1]
    assert await one.get(TRIAGE) == await two.get(TRIAGE) == Found(winner)


async def test_the_fleet_is_locked_like_a_record(registry) -> None:
    await registry.commit(write(fleet=fleet(1)))
    with pytest.raises(RegistryConflict, match="acme"):
        await registry.commit(write(fleet=fleet(1)))
    await registry.commit(write(fleet=fleet(2)))
    assert (await seen(registry)).fleet == fleet(2)


# operation ids


async def test_a_repeated_write_answers_the_same_and_does_nothing(registry, open_registry) -> None:
    one = write(record(), journal=(intent("a"),), audit=(fact(),), fleet=fleet(1))
    first = await registry.commit(one)
    await registry.commit(write(record(MINER)))
    again = await open_registry()
    assert await registry.commit(one) == await again.commit(one) == first
    assert len(await chain(again)) == 1
    assert len(await feed(again)) == 2


async def test_a_repetition_is_known_after_the_record_moved_on(registry) -> None:
    one = write(record())
    first = await registry.commit(one)
    await registry.commit(write(record(version=2, state=S.DEPLOYING)))
    assert await registry.commit(one) == first
    assert (await registry.get(TRIAGE)).value.version == 2


async def test_an_operation_id_with_other_content_is_refused(registry) -> None:
    await registry.commit(write(record(), op_id="same"))
    with pytest.raises(RegistryError, match="same"):
        await registry.commit(write(record(MINER), op_id="same"))
    assert await registry.get(MINER) == Absent()


# states


async def in_state(registry, state: AgentState) -> int:
    """Bring TRIAGE to `state` by allowed steps; answers its version."""
    paths: dict[AgentState, tuple[AgentState, ...]] = {S.REGISTERED: (S.REGISTERED,)}
    while state not in paths:
        for known, path in list(paths.items()):
            for after in sorted(TRANSITIONS[known]):
                paths.setdefault(after, (*path, after))
    for version, step in enumerate(paths[state], 1):
        await registry.commit(write(record(version=version, state=step)))
    return len(paths[state])


@pytest.mark.parametrize("before", [state for state in S if state is not S.GONE])
async def test_states_follow_the_table(registry, before) -> None:
    version = await in_state(registry, before)
    for after in S:
        if after is not before and after not in TRANSITIONS[before]:
            with pytest.raises(RegistryError, match=f"from {before} to {after}"):
                await registry.commit(write(record(version=version + 1, state=after)))
    await registry.commit(write(record(version=version + 1, state=before)))
    for after in sorted(TRANSITIONS[before]):
        assert await registry.commit(write(record(version=version + 2, state=after)))
        break


@pytest.mark.parametrize("state", [state for state in S if state is not S.REGISTERED])
async def test_a_new_record_is_registered_first(registry, state) -> None:
    with pytest.raises(RegistryError):
        await registry.commit(write(record(state=state)))


async def test_a_record_that_is_gone_leaves_the_live_set(registry, open_registry) -> None:
    await registry.commit(write(record(), record(MINER)))
    assert len((await seen(registry)).records) == 2
    await registry.commit(write(record(version=2, state=S.GONE), revisions=(revision(1),)))
    for one in (registry, await open_registry()):
        assert await one.get(TRIAGE) == Absent()
        assert list((await seen(one)).records) == [MINER]
        assert await one.revisions(TRIAGE) == (revision(1),)
    assert [name for _, name in await feed(registry)] == [TRIAGE, MINER, TRIAGE]


async def test_after_gone_comes_a_new_record_with_a_new_id(registry) -> None:
    await registry.commit(write(record()))
    await registry.commit(write(record(version=2, state=S.GONE)))
    with pytest.raises(RegistryError, match="new id"):
        await registry.commit(write(record()))
    with pytest.raises(RegistryError):
        await registry.commit(write(record(version=3, id_="new")))
    await registry.commit(write(record(id_="new")))
    assert (await registry.get(TRIAGE)).value.id == "new"


# snapshot and feed


async def test_a_snapshot_follows_writes_of_others(open_registry) -> None:
    one, two = await open_registry(), await open_registry()
    await one.commit(write(record(), fleet=fleet(1)))
    first = await seen(two)
    assert await seen(two) == first
    await one.commit(write(record(MINER)))
    await one.commit(write(record(version=2, state=S.DEPLOYING)))
    later = await seen(two)
    assert later.seq > first.seq
    assert {name: held.version for name, held in later.records.items()} == {MINER: 1, TRIAGE: 2}
    assert first.records[TRIAGE].version == 1, "what was read before stays as it was"
    await one.commit(write(fleet=fleet(2)))
    assert (await seen(two)).fleet == fleet(2)


async def test_a_snapshot_is_sorted(registry) -> None:
    names = [AgentName(namespace=n, name=a) for n in "cab" for a in ("z", "x", "y")]
    await registry.commit(write(*(record(name) for name in names)))
    assert list((await seen(registry)).records) == sorted(names)


async def test_the_feed_has_every_record_write_once_in_order(registry, open_registry) -> None:
    start = await registry.commit(write(record()))
    middle = await registry.commit(write(record(MINER), record(version=2)))
    await registry.commit(write(journal=(intent("a"),)))
    items = await feed(await open_registry())
    assert [name for _, name in items] == [TRIAGE, MINER, TRIAGE]
    assert [seq for seq, _ in items] == sorted({seq for seq, _ in items})
    assert items[0][0] == start
    assert items[-1][0] == middle == (await seen(registry)).seq
    assert await feed(registry, start) == items[1:]
    assert await feed(registry, middle) == await feed(registry, middle + 5) == []


async def test_a_long_feed_comes_whole(registry) -> None:
    names = [AgentName(namespace="n", name=f"a{number}") for number in range(2001)]
    await registry.commit(write(*(bare(name) for name in names), audit=tuple(fact(agent=name) for name in names)))
    assert [name for _, name in await feed(registry)] == names
    assert len(await chain(registry)) == 2001


# journal and history


async def test_the_journal_holds_open_entries_oldest_first(registry, open_registry) -> None:
    await registry.commit(write(journal=(intent("b"), intent("a"), intent("c"))))
    await registry.commit(write(journal=(intent("a", JournalPhase.DONE),)))
    assert [entry.id for entry in await registry.open_journal()] == ["b", "c"]
    await registry.commit(write(journal=(intent("b", JournalPhase.FAILED), intent("c", JournalPhase.UNDONE))))
    assert await (await open_registry()).open_journal() == ()


async def test_an_entry_that_opens_again_is_the_youngest(registry) -> None:
    await registry.commit(write(journal=(intent("a"), intent("b"))))
    await registry.commit(write(journal=(intent("a", JournalPhase.DONE),)))
    await registry.commit(write(journal=(replace(intent("a"), at_ms=9),)))
    assert await registry.open_journal() == (intent("b"), replace(intent("a"), at_ms=9))


async def test_an_intent_said_again_keeps_its_place(registry) -> None:
    await registry.commit(write(journal=(intent("a"), intent("b"))))
    await registry.commit(write(journal=(replace(intent("a"), detail={"more": 1}),)))
    assert [entry.id for entry in await registry.open_journal()] == ["a", "b"]
    assert (await registry.open_journal())[0].detail == {"more": 1}


async def test_revisions_come_newest_first_and_their_outcome_may_change(registry) -> None:
    await registry.commit(write(revisions=(revision(1), revision(10), revision(2), revision(5, MINER))))
    await registry.commit(write(revisions=(revision(10, outcome="rolled-back"),)))
    assert await registry.revisions(TRIAGE) == (revision(10, outcome="rolled-back"), revision(2), revision(1))


# audit


async def test_the_audit_log_is_a_chain(registry, open_registry) -> None:
    for number in range(5):
        await registry.commit(write(audit=(fact(f"a{number}"), fact("b", None)), at_ms=number))
    entries = await chain(await open_registry())
    assert [entry.seq for entry in entries] == list(range(1, 11))
    assert verify_chain(entries).sound
    assert verify_chain(entries).count == 10
    assert [entry.at_ms for entry in entries] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


async def test_the_audit_log_is_read_by_agent_and_from_a_place(registry) -> None:
    await registry.commit(write(audit=(fact("a"), fact("b", MINER), fact("c"), fact("d", None))))
    assert [entry.fact.action for entry in await chain(registry, name=TRIAGE)] == ["a", "c"]
    assert [entry.fact.action for entry in await chain(registry, since=2)] == ["c", "d"]
    assert [entry.fact.action for entry in await chain(registry, name=TRIAGE, since=1)] == ["c"]


async def test_writers_that_take_turns_keep_one_chain(open_registry) -> None:
    registries = [await open_registry() for _ in range(3)]
    await asyncio.gather(*(one.commit(write(audit=(fact(),))) for one in registries for _ in range(10)))
    assert verify_chain(await chain(registries[0])).count == 30


# leases


async def test_a_lease_is_held_by_one(open_registry) -> None:
    one, two = await open_registry(), await open_registry()
    lease = await one.acquire("apply", holder="ada", ttl_ms=5000, now_ms=1000)
    assert (lease.name, lease.holder, lease.epoch, lease.expires_ms) == ("apply", "ada", 1, 6000)
    with pytest.raises(RegistryConflict, match=r"ada.* 5 s"):
        await two.acquire("apply", holder="bob", ttl_ms=5000, now_ms=1000)
    assert (await two.acquire("other", holder="bob", ttl_ms=1, now_ms=1000)).epoch == 1


async def test_its_holder_renews_it_in_the_same_epoch(registry) -> None:
    await registry.acquire("apply", holder="ada", ttl_ms=5000, now_ms=1000)
    renewed = await registry.acquire("apply", holder="ada", ttl_ms=5000, now_ms=3000)
    assert (renewed.epoch, renewed.expires_ms) == (1, 8000)
    late = await registry.acquire("apply", holder="ada", ttl_ms=5000, now_ms=99_000)
    assert late.epoch == 1, "nobody else held it in between"


async def test_an_expired_lease_is_taken_over_in_a_new_epoch(registry) -> None:
    await registry.acquire("apply", holder="ada", ttl_ms=5000, now_ms=1000)
    with pytest.raises(RegistryConflict):
        await registry.acquire("apply", holder="bob", ttl_ms=5000, now_ms=5999)
    assert (await registry.acquire("apply", holder="bob", ttl_ms=5000, now_ms=6000)).epoch == 2
    with pytest.raises(RegistryConflict, match="bob"):
        await registry.acquire("apply", holder="ada", ttl_ms=5000, now_ms=6001)


async def test_a_released_lease_is_free(registry) -> None:
    lease = await registry.acquire("apply", holder="ada", ttl_ms=5000, now_ms=1000)
    await registry.release(lease)
    await registry.release(lease)
    assert (await registry.acquire("apply", holder="bob", ttl_ms=5000, now_ms=1001)).epoch == 2
    await registry.release(lease)
    with pytest.raises(RegistryConflict, match="bob"):
        await registry.acquire("apply", holder="ada", ttl_ms=5000, now_ms=1002)


async def test_a_writer_of_an_older_epoch_is_fenced_off(registry) -> None:
    old = await registry.acquire("apply", holder="ada", ttl_ms=5000, now_ms=1000)
    await registry.commit(write(record(), lease="apply", epoch=old.epoch))
    new = await registry.acquire("apply", holder="bob", ttl_ms=5000, now_ms=9000)
    with pytest.raises(RegistryConflict, match=r"epoch 1.*bob"):
        await registry.commit(write(record(version=2), lease="apply", epoch=old.epoch))
    await registry.commit(write(record(version=2), lease="apply", epoch=new.epoch))
    await registry.commit(write(record(version=3)))
    assert (await registry.get(TRIAGE)).value.version == 3


async def test_a_write_may_depend_on_several_leases_and_is_fenced_by_each(registry) -> None:
    fleet = await registry.acquire("apply", holder="8 shards", ttl_ms=5000, now_ms=1000)
    shard = await registry.acquire("daemon/shard-1", holder="ada", ttl_ms=5000, now_ms=1000)
    both = (Fence(lease=fleet.name, epoch=fleet.epoch), Fence(lease=shard.name, epoch=shard.epoch))
    await registry.commit(write(record(), fences=both))
    await registry.acquire("daemon/shard-1", holder="bob", ttl_ms=5000, now_ms=9000)
    with pytest.raises(RegistryConflict, match=r"daemon/shard-1 has moved on.*bob"):
        await registry.commit(write(record(version=2), fences=both))
    await registry.commit(write(record(version=2), fences=both[:1]))
    await registry.acquire("apply", holder="cyd", ttl_ms=5000, now_ms=9000)
    with pytest.raises(RegistryConflict, match=r"apply has moved on.*cyd"):
        await registry.commit(write(record(version=3), lease="apply", epoch=fleet.epoch))
    assert (await registry.get(TRIAGE)).value.version == 2


async def test_leases_are_listed_with_who_holds_them(registry) -> None:
    two = await registry.acquire("daemon/2", holder="bob", ttl_ms=5000, now_ms=1000, says="I am here")
    one = await registry.acquire("daemon/1", holder="ada", ttl_ms=5000, now_ms=1000)
    await registry.acquire("apply", holder="cyd", ttl_ms=5000, now_ms=1000)
    await registry.release(two)
    listed = await registry.leases("daemon/")
    assert listed == (one, Lease(name="daemon/2", holder="", epoch=1, expires_ms=0))
    assert await registry.leases("nobody/") == ()


async def test_a_lease_says_to_others_what_its_holder_said_last(open_registry) -> None:
    one, two = await open_registry(), await open_registry()
    for said in ("3 of 9", "4 of 9"):
        lease = await one.acquire("daemon/1", holder="ada", ttl_ms=5000, now_ms=1000, says=said)
        assert (await two.leases("daemon/"), lease.epoch) == ((lease,), 1)
        assert lease.says == said
    await one.acquire("daemon/1", holder="ada", ttl_ms=5000, now_ms=1000)
    assert [lease.says for lease in await two.leases("daemon/")] == [""]


async def test_a_committed_write_is_not_fenced_when_repeated(registry) -> None:
    old = await registry.acquire("apply", holder="ada", ttl_ms=5000, now_ms=1000)
    one = write(record(), lease="apply", epoch=old.epoch)
    first = await registry.commit(one)
    await registry.acquire("apply", holder="bob", ttl_ms=5000, now_ms=9000)
    assert await registry.commit(one) == first


async def test_of_many_that_want_a_lease_one_gets_it(open_registry) -> None:
    registries = [await open_registry() for _ in range(4)]
    answers = await asyncio.gather(
        *(one.acquire("apply", holder=f"h{n}", ttl_ms=5000, now_ms=1) for n, one in enumerate(registries)),
        return_exceptions=True,
    )
    assert [type(answer).__name__ for answer in answers].count("Lease") == 1
    assert sum(isinstance(answer, RegistryConflict) for answer in answers) == 3


# ids


async def test_ids_are_dns_labels_unique_and_in_order_of_time(registry, clock) -> None:
    ids = [registry.new_id() for _ in range(1000)]
    clock.advance(1)
    ids += [registry.new_id() for _ in range(1000)]
    clock.jump(-3600)
    ids += [registry.new_id() for _ in range(1000)]
    assert ids == sorted(set(ids))
    assert all(one.isascii() and one.isalnum() and one == one.lower() and one[0].isalpha() for one in ids)
    assert max(map(len, ids)) <= 63


async def test_two_registries_never_make_the_same_id(open_registry) -> None:
    one, two = await open_registry(), await open_registry()
    ids = [maker.new_id() for _ in range(2000) for maker in (one, two)]
    assert len(set(ids)) == len(ids)


# search


def asked(text: str) -> Query:
    return read_query(text, now_ms=0)


async def names_found(registry, text: str, **options) -> list[str]:
    return [str(one.name) for one in (await registry.find(asked(text), limit=100, **options)).records]


async def test_a_record_is_found_as_it_was_written_by_the_last_write(registry, open_registry) -> None:
    seq = await registry.commit(write(record(), record(MINER)))
    again = await open_registry()
    page = await again.find(asked("name = triage and labels.team = support and exists spec.env"), limit=5)
    assert (page.records, page.next, page.seq) == ((record(),), "", seq)
    await again.commit(write(replace(record(), version=2, labels={"team": "sales"}, document={"image": "x"})))
    assert await names_found(registry, "labels.team = support") == ["research/miner"]
    assert await names_found(registry, "labels.team = sales and not exists spec.env") == ["support/triage"]
    assert await names_found(registry, "exists spec.env.value") == ["research/miner"]


async def test_a_refused_write_is_not_found(registry) -> None:
    await registry.commit(write(record()))
    with pytest.raises(RegistryConflict):
        await registry.commit(write(record(MINER), replace(record(), version=7, labels={"team": "sales"})))
    assert await names_found(registry, "") == ["support/triage"]
    assert await names_found(registry, "labels.team = sales") == []


async def test_agents_that_are_gone_are_not_found(registry) -> None:
    await registry.commit(write(record(), record(MINER)))
    await registry.commit(write(replace(record(), version=2, state=S.GONE)))
    assert await names_found(registry, "labels.team = support") == ["research/miner"]
    assert await registry.count(asked("")) == (GroupCount(value=None, count=1),)
    await registry.commit(write(record(id_="again")))
    assert await names_found(registry, "exists labels order by name desc") == ["support/triage", "research/miner"]


async def test_pages_go_on_where_they_ended_whatever_is_written_between(registry) -> None:
    some = [record(AgentName(namespace="n", name=f"a{number}")) for number in range(6)]
    await registry.commit(write(*some[:5]))
    query = asked("order by labels.team, name desc")
    page = await registry.find(query, limit=2)
    assert [one.name.name for one in page.records] == ["a4", "a3"]
    await registry.commit(write(some[5], replace(some[3], version=2, state=S.GONE)))
    rest = await registry.find(query, limit=2, after=page.next)
    assert [one.name.name for one in rest.records] == ["a2", "a1"]
    last = await registry.find(query, limit=2, after=rest.next)
    assert ([one.name.name for one in last.records], last.next) == (["a0"], "")


async def test_a_page_is_asked_for_within_bounds_and_with_its_own_token(registry) -> None:
    await registry.commit(write(record(), record(MINER)))
    page = await registry.find(asked("order by name"), limit=1)
    with pytest.raises(QueryError, match="none of this query"):
        await registry.find(asked("order by name desc"), limit=1, after=page.next)
    for limit in (0, -1, MAX_PAGE + 1):
        with pytest.raises(QueryError, match="a page has"):
            await registry.find(asked(""), limit=limit)


@pytest.mark.parametrize("descending", [False, True])
async def test_text_that_begins_alike_for_long_keeps_its_place_on_all_pages(registry, descending) -> None:
    """More of it than an order looks at; and one that is no longer than that, which is the same to the order."""
    texts = {"a": "x" * 300, "b": "x" * 300 + "y", "c": "x" * 300, "d": "x" * ORDER_CHARACTERS, "e": "z", "f": "x"}
    agents = [(AgentName(namespace="n", name=name), {"description": text}) for name, text in texts.items()]
    agents.append((AgentName(namespace="n", name="g"), {}))
    await registry.commit(write(*(replace(record(name), document=document) for name, document in agents)))
    query = Query(order=(Order("spec.description", descending),))
    found, after = [], ""
    for _ in range(len(agents)):
        page = await registry.find(query, limit=1, after=after)
        found += [one.name.name for one in page.records]
        after = page.next
    assert "".join(found) == ("eabcdfg" if descending else "gfabcde")
    assert not after


LARGEST = {
    "conditions": " or ".join(["labels.team = x", "labels.team > x", "not exists labels.team", "words x"] * 50),
    "values": f"labels.team in ({','.join(map(str, range(999)))},support)",
    "words": f"words '{' '.join(f'w{number}' for number in range(100))}'",
    "beginnings": f"words '{' '.join(f'w{number}*' for number in range(100))}'",
    "depth": "(not " * 60 + "labels.team = support" + ")" * 60,
    "both": " and ".join(["(labels.team = support or words 'a b c d e')"] * 100),
    "pattern": f"labels.team like '{'%s' * 400}%'",
}
"""As large as a query may be, in each direction, with `support` found by most."""


@pytest.mark.parametrize("how", LARGEST)
async def test_what_may_be_asked_is_answered(registry, how) -> None:
    words = " ".join(f"w{number}" for number in range(100))
    await registry.commit(write(replace(record(), document={"description": words}), replace(record(MINER), labels={})))
    query = asked(LARGEST[how])
    found = [one.name for one in (await registry.find(query, limit=5)).records]
    assert found == {"conditions": [MINER], "pattern": []}.get(how, [TRIAGE])
    assert await registry.count(query) == (GroupCount(value=None, count=len(found)),)


async def test_agents_are_found_by_many_names(registry) -> None:
    await registry.commit(write(record(), record(MINER)))
    names = [*(f"{space}agent-{number}" for space in ("", "support/", "x/") for number in range(600)), str(TRIAGE)]
    query = query_of(Asked(), namespace="", names=names, selector=(), now_ms=0)
    assert [one.name for one in (await registry.find(query, limit=5)).records] == [TRIAGE]
    assert await registry.count(query) == (GroupCount(value=None, count=1),)


async def test_records_are_counted_by_what_they_have(registry) -> None:
    await registry.commit(write(record(), record(MINER), replace(record(OTHER), labels={}, lineage=())))
    groups = await registry.count(asked(""), by="labels.team")
    assert [(group.value, group.count) for group in groups] == [(None, 1), ("support", 2)]
    groups = await registry.count(asked("exists labels.team"), by="template")
    assert [(group.value, group.count) for group in groups] == [("base", 2), ("service", 2)]
    groups = await registry.count(asked(""), by="protect")
    assert [(group.value, group.count) for group in groups] == [(True, 3)]


async def test_a_plan_shows_a_statement_without_values(registry) -> None:
    await registry.commit(write(record()))
    plan = await registry.explain(asked("labels.team = 'se\"cret' or name like 'se\"cret%'"), limit=5)
    assert plan.statement
    assert "cret" not in plan.statement
    assert await registry.explain(asked(""), limit=5)


async def test_no_choice_is_no_agent_and_no_condition_is_every_one(registry) -> None:
    await registry.commit(write(record(), record(MINER)))
    for nothing in (Or(), Not(And()), And((Or(), Exists("name"))), Or((Or(), Or()))):
        assert (await registry.find(Query(nothing), limit=5)).records == ()
        assert sum(group.count for group in await registry.count(Query(nothing))) == 0
    for every in (And(), Not(Or()), Or((And(), Or()))):
        assert len((await registry.find(Query(every), limit=5)).records) == 2


async def test_text_of_any_kind_is_only_compared(registry) -> None:
    """An attempt to inject through every field that holds text and every kind of condition."""
    await registry.commit(write(record(), record(MINER)))
    paths = [path for path, kind in (RECORD | SPEC).items() if kind is Kind.TEXT and path != "state"]
    paths += ["labels.team", "spec.config.x", 'labels."a\'b"', 'labels."a""b"', 'labels."a;b"']
    for text in ODD:
        odd = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")[:900]
        by_path = [
            (Compare(path, Comparator.EQUAL, text), OneOf(path, (text, "x")), Contains(path, text), Like(path, odd))
            for path in paths
        ]
        # Two halves: which path it is shows when one is alone.
        for some in (by_path[::2], by_path[1::2]):
            where = Or(tuple(atom for atoms in some for atom in atoms))
            assert (await registry.find(Query(where), limit=5)).records == (), text
        literal = text.replace("'", "''")
        if len(text) < 100:
            assert await names_found(registry, f"labels.team = '{literal}' or message contains '{literal}'") == []
    assert len(await names_found(registry, "")) == 2


@pytest.mark.parametrize("text", ODD)
async def test_text_of_any_kind_is_found_where_it_stands(registry, text) -> None:
    odd = replace(
        record(), labels={text[:60]: text}, message=text, lineage=(text,), document={"config": {text[:60]: text}}
    )
    await registry.commit(write(odd, replace(record(MINER), labels={}, message="", lineage=())))
    key = joined((text[:60],))
    for path in (f"labels.{key}", "message", "template", f"spec.config.{key}"):
        for where in (Compare(path, Comparator.EQUAL, text), Contains(path, text), Exists(path)):
            found = await registry.find(Query(where, (Order(path),)), limit=1)
            assert TRIAGE in [one.name for one in found.records], (path, where)
        assert text in [group.value for group in await registry.count(Query(), by=path)]


@pytest.mark.parametrize(
    "text", ["refund", "REFUND* OR x", 'a" OR "b', "a AND b", "NEAR(a, 2)", "tokens:a", "-a", "^a*"]
)
async def test_words_of_any_kind_are_only_looked_for(registry, text) -> None:
    described = replace(record(), document={"description": "refund a b"})
    await registry.commit(write(described, record(MINER)))
    literal = text.replace("'", "''")
    words = asked(f"words '{literal}'").where
    expected = {"refund": [TRIAGE], "-a": [TRIAGE], "^a*": [TRIAGE]}.get(text, [])
    assert [one.name for one in (await registry.find(Query(words), limit=5)).records] == expected
