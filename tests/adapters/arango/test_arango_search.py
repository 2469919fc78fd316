"""Search on ArangoDB's double: the same answers as the reference, whatever is asked; and how it gets them."""

from __future__ import annotations

import asyncio
import os
import secrets

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.adapters.arango import Access, ArangoRegistry, terms
from reconciler.model.query import And, Comparator, Compare, Exists, Not, Order, Query, Words
from reconciler.query.checking import read_query
from reconciler.query.evaluator import like_regex
from reconciler.query.facts import rank
from tests.contracts.values import record, write
from tests.doubles.arango.double import ArangoDouble
from tests.doubles.clock import FakeClock
from tests.query.differential import compare, stored
from tests.query.strategies import PATHS, TEXTS, fleets, patterns, queries

EXAMPLES = max(1, int(os.environ.get("RECONCILER_TEST_QUERIES", "600")) // 20)
"""Each example asks twenty queries of one registry. The campaign: RECONCILER_TEST_QUERIES=10000."""

numbers = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)
values = st.booleans() | numbers | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


async def opened(double: ArangoDouble) -> ArangoRegistry:
    """A registry in a database that nothing else has."""
    access = Access(
        urls=(double.url,), database=f"search-{secrets.token_hex(6)}", username="root", password=double.password
    )
    return await ArangoRegistry.open(access, FakeClock())


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(fleets(), st.lists(queries, min_size=20, max_size=20), st.sampled_from(PATHS), st.integers(1, 5))
def test_every_answer_is_that_of_the_reference(double, fleet, asked, by, page) -> None:
    async def work() -> None:
        registry = await opened(double)
        try:
            records = await stored(registry, fleet)
            for query in asked:
                await compare(registry, records, query, by=by, page=page)
        finally:
            await registry.close()

    asyncio.run(work())


@given(values, values)
def test_terms_are_ordered_as_values_are(one, other) -> None:
    assert (terms.term(one) < terms.term(other)) is (rank(one) < rank(other))
    assert (terms.term(one) == terms.term(other)) is (rank(one) == rank(other))
    assert terms.value_of(terms.term(one)) == one


@given(st.sampled_from(TEXTS[:-1]) | st.text(st.characters(exclude_categories=["Cs"]), max_size=6), patterns)
def test_patterns_mean_the_same_among_terms(text, pattern) -> None:
    import re

    found = re.search(terms.like_regex(pattern), terms.term(text)) is not None
    assert found is (like_regex(pattern).fullmatch(text) is not None)


def test_a_pattern_that_was_made_to_take_long_does_not() -> None:
    import re

    assert re.search(terms.like_regex("%a" * 400 + "_%b"), terms.term("a" * 20_000)) is None


@pytest.mark.parametrize(
    ("where", "order", "index"),
    [
        (Compare("labels.team", Comparator.EQUAL, "support"), (), "by_pair"),
        (And((Exists("labels.team"), Not(Exists("spec.x")))), (), "by_path"),
        (Words(("refund",)), (), "by_word"),
        (And(), (), "by_name"),
        (And(), (Order("updated"),), "by_updated"),
    ],
)
async def test_what_has_an_index_does_not_scan(double, where, order, index) -> None:
    registry = await opened(double)
    try:
        await registry.commit(write(record()))
        plan = await registry.explain(Query(where, order), limit=10)
        assert (plan.indexes, plan.scans) == ((index,), False), plan
        assert "support" not in plan.statement, "values stand apart"
    finally:
        await registry.close()


@pytest.mark.parametrize(
    "text",
    ["replicas > 2", "not labels.team = a", "message like 'a%'", "order by updated desc", "order by labels.team"],
)
async def test_what_scans_says_so_and_why(double, text) -> None:
    registry = await opened(double)
    try:
        plan = await registry.explain(read_query(text, now_ms=0), limit=10)
        assert plan.scans
        assert plan.notes
    finally:
        await registry.close()
