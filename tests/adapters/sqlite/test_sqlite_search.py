"""Search on SQLite: the same answers as the reference, whatever is asked; and how it gets them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.adapters.sqlite import SqliteRegistry, bounds
from reconciler.adapters.sqlite.database import CACHE_KIB, SEARCH_CACHE_KIB
from reconciler.adapters.sqlite.searching import Search
from reconciler.model.identity import AgentName
from reconciler.model.query import And, Comparator, Compare, Contains, Expression, Like, OneOf, Or, Query, Value, Words
from reconciler.model.registry import AgentState
from reconciler.query.checking import read_query
from tests.contracts.values import record, write
from tests.doubles.clock import FakeClock
from tests.query.differential import compare, stored
from tests.query.strategies import PATHS, fleets, queries

EXAMPLES = int(os.environ.get("RECONCILER_TEST_QUERIES", "600")) // 20
"""Each example asks twenty queries of one registry. The campaign: RECONCILER_TEST_QUERIES=10000."""


@settings(max_examples=EXAMPLES)
@given(fleets(), st.lists(queries, min_size=20, max_size=20), st.sampled_from(PATHS), st.integers(1, 5), st.booleans())
def test_every_answer_is_that_of_the_reference(fleet, asked, by, page, tight) -> None:
    async def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            registry = await SqliteRegistry.open(Path(folder) / "registry.db", FakeClock())
            try:
                records = await stored(registry, fleet)
                for query in asked:
                    await compare(registry, records, query, by=by, page=page)
            finally:
                await registry.close()

    with pytest.MonkeyPatch.context() as patch:
        if tight:
            for name, value in (
                ("FEW", 1),
                ("NAMED_VALUES", 1),
                ("SIDE_BY_SIDE", 100),
                ("SORTED", 100),
                ("PATIENCE", 60),
                ("MAX_GROUPS", 3),
                ("SLOW_GROUPS", 1),
            ):
                patch.setattr(bounds, name, value)
        asyncio.run(work())


@pytest_asyncio.fixture
async def registry(tmp_path: Path):
    opened = await SqliteRegistry.open(tmp_path / "registry.db", FakeClock())
    yield opened
    await opened.close()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every condition were met by many agents, and no walk had time."""
    monkeypatch.setattr(bounds, "FEW", 3)


async def fill(registry: SqliteRegistry, number: int = 12) -> None:
    some = [
        replace(
            record(AgentName(namespace=f"ns{at % 2}", name=f"a{at:02}")),
            labels={"team": "support", "odd": str(at % 2), "own": str(at)},
            updated_ms=1000 - at,
        )
        for at in range(number)
    ]
    await registry.commit(write(*some))


PLANS = [
    ("labels.own = 3", "facts_by_value", False),
    ("labels.own = 3 and labels.team = support and name like %3", "facts_by_value", False),
    ("", "search_by_namespace", False),
    ("order by updated desc", "search_by_updated", False),
    ("order by lastSeen", "search_by_last_seen", False),
    ("namespace = ns1", "search_by_namespace", False),
    ("namespace = ns1 and labels.team = support", "search_by_namespace", False),
    ("id = id-a03", "search_by_id", False),
    ("name like a03%", "search_by_name", False),
    ("words nothing", "words (FTS5)", False),
    ("labels.team = support order by updated desc", "search_by_updated", True),
    ("labels.team = support order by spec.image", "search_by_namespace", True),
    ("labels.team = support order by spec.image, name", "facts_by_value", True),
    ("not labels.team = support", "search_by_namespace", True),
    ("order by spec.image", "search_by_namespace", False),
    ("order by labels.own", "facts_by_value", False),
    ("order by spec.config.x", "search_by_namespace", False),
    ("order by labels.own, name", "facts (primary key)", True),
]


@pytest.mark.parametrize(("text", "index", "scans"), PLANS, ids=[text or "all" for text, _, _ in PLANS])
@pytest.mark.usefixtures("few")
async def test_a_plan_names_the_index_and_says_what_scans(registry, text, index, scans) -> None:
    await fill(registry)
    plan = await registry.explain(read_query(text, now_ms=0), limit=2)
    assert index in plan.indexes, plan
    assert plan.scans is scans is bool(plan.notes)


@pytest.mark.usefixtures("few")
async def test_a_walk_that_finds_nothing_in_time_gives_way_to_the_rarest_condition(registry, monkeypatch) -> None:
    await fill(registry)
    query = read_query("labels.team = support and labels.odd = 1 and name = a00 order by updated", now_ms=0)
    never = read_query("labels.team = support and labels.odd = 1 order by updated desc", now_ms=0)
    before = await registry.find(never, limit=3)
    monkeypatch.setattr(bounds, "PATIENCE", 20)
    plan = await registry.explain(never, limit=3)
    assert "facts_by_value" in plan.indexes
    assert "goes through all agents that meet 2 conditions" in plan.notes[0], "side by side, and one list is no rarer"
    assert await registry.find(never, limit=3) == before
    assert (await registry.find(query, limit=3)).records == ()
    for one in ("labels.odd = 1 and replicas > 0", "labels.odd = 1 and not labels.own = 3"):
        plan = await registry.explain(read_query(f"{one} order by updated desc", now_ms=0), limit=3)
        assert "looks at all agents that meet one condition" in plan.notes[0]


@pytest.mark.usefixtures("few")
async def test_what_few_meet_of_several_conditions_is_looked_up(registry, monkeypatch) -> None:
    await fill(registry, 24)
    query = read_query("labels.odd = 1 and labels.team = support and replicas > 1 and name like a1%", now_ms=0)
    expected = [AgentName(namespace=f"ns{at % 2}", name=f"a{at:02}") for at in (11, 13, 15, 17, 19)]
    monkeypatch.setattr(bounds, "FEW", 9)
    for most in (0, 100):
        monkeypatch.setattr(bounds, "SORTED", most)
        plan = await registry.explain(query, limit=9)
        assert ("json_each" in plan.statement) is bool(most), "both labels are met by twelve, and the name by ten"
        assert "words (FTS5)" not in plan.indexes
        assert [one.name for one in (await registry.find(query, limit=9)).records] == expected


@pytest.mark.usefixtures("few")
async def test_lists_side_by_side_are_of_about_one_length(registry, monkeypatch) -> None:
    await fill(registry, 24)
    text = "labels.odd = 1 and labels.team = support and not name = a01 order by updated desc"
    before = await registry.find(read_query(text, now_ms=0), limit=30)
    monkeypatch.setattr(bounds, "PATIENCE", 20)
    both = await registry.explain(read_query(text, now_ms=0), limit=30)
    monkeypatch.setattr(bounds, "SIDE_BY_SIDE", 1)
    alone = await registry.explain(read_query(text, now_ms=0), limit=30)
    assert (both.statement.count("INTERSECT"), alone.statement.count("INTERSECT")) == (1, 0)
    assert await registry.find(read_query(text, now_ms=0), limit=30) == before
    assert len(before.records) == 11


async def test_only_what_changes_is_written_and_nothing_is_left_over(registry, tmp_path) -> None:
    await fill(registry, 3)
    reader = sqlite3.connect(tmp_path / "registry.db")

    def held() -> tuple[set[tuple[int, int]], set[tuple[int, str]]]:
        facts = set(reader.execute("SELECT record, value FROM facts"))
        return facts, set(reader.execute("SELECT id, value FROM vals WHERE type = 3"))

    facts, values = held()
    one = (await registry.find(read_query("name = a01", now_ms=0), limit=1)).records[0]
    changed = replace(one, version=2, labels={**one.labels, "own": "another"}, updated_ms=5)
    await registry.commit(write(changed))
    after, values_after = held()
    assert len(facts - after) == len(after - facts) == 1
    assert {text for _, text in values - values_after} == {"1"}
    assert {text for _, text in values_after - values} == {"another"}
    for at, record_ in enumerate((await registry.find(read_query("", now_ms=0), limit=5)).records):
        gone = replace(record_, version=record_.version + 1, state=AgentState.GONE)
        await registry.commit(write(gone, op_id=f"gone-{at}"))
    assert held() == (set(), set())
    assert reader.execute("SELECT count(*) FROM search").fetchone() == (0,)
    assert reader.execute("SELECT count(*) FROM vals").fetchone() == (0,)
    assert reader.execute("SELECT count(*) FROM words").fetchone() == (0,)
    reader.close()


async def test_room_to_search_in_is_taken_by_who_searches_alone(registry) -> None:
    def room(opened: sqlite3.Connection) -> int:
        return -int(opened.execute("PRAGMA cache_size").fetchone()[0])

    await registry.count(Query())
    assert await registry._database.run("ask", room) == CACHE_KIB
    assert await registry._database.search("ask", room) == SEARCH_CACHE_KIB


async def test_a_search_that_takes_long_keeps_no_write_and_no_lease_waiting(registry, monkeypatch) -> None:
    go = threading.Event()

    def long(_self: Search, _limit: int) -> list[tuple[str, str]]:
        go.wait(60)
        return []

    monkeypatch.setattr(Search, "names", long)
    searching = asyncio.create_task(registry.find(Query(), limit=5))
    try:
        async with asyncio.timeout(30):
            assert (await registry.acquire("daemon", holder="one", ttl_ms=1000, now_ms=1)).holder == "one"
            await registry.commit(write(record()))
            assert len((await registry.snapshot()).value.records) == 1
        assert not searching.done()
    finally:
        go.set()
    assert (await searching).records == ()


async def test_values_are_never_part_of_a_statement(registry) -> None:
    await fill(registry)
    for path in PATHS:
        values: tuple[Value, ...] = ("inj'ect", 424242.0, True)
        for value in values:
            parts: tuple[Expression, ...] = (
                *(Compare(path, comparator, value) for comparator in Comparator),
                OneOf(path, (value,)),
                Contains(path, value),
                Like(path, "inj'ect%"),
            )
            for query in (Query(Or(parts)), Query(And(parts)), Query(Words(("injected",)))):
                statement = (await registry.explain(query, limit=7)).statement
                assert "inj" not in statement
                assert "4242" not in statement
