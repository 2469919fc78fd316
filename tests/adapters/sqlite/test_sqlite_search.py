"""Search on SQLite: the same answers as the reference, whatever is asked; and how it gets them."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.adapters.sqlite import SqliteRegistry, searching
from tests.doubles.clock import FakeClock
from tests.query.differential import compare, stored
from tests.query.strategies import PATHS, fleets, queries

EXAMPLES = int(os.environ.get("RECONCILER_TEST_QUERIES", "600")) // 20
"""Each example asks twenty queries of one registry. The campaign: RECONCILER_TEST_QUERIES=10000."""


@settings(max_examples=EXAMPLES)
@given(fleets(), st.lists(queries, min_size=20, max_size=20), st.sampled_from(PATHS), st.integers(1, 5), st.booleans())
def test_every_answer_is_that_of_the_reference(fleet, asked, by, page, many) -> None:
    async def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            registry = await SqliteRegistry.open(Path(folder) / "registry.db", FakeClock())
            try:
                records = await stored(registry, fleet)
                for query in asked:
                    await compare(registry, records, query, by=by, page=page)
            finally:
                await registry.close()

    few, named, patience = searching.FEW, searching.NAMED_VALUES, searching.PATIENCE
    try:
        if many:
            searching.FEW, searching.NAMED_VALUES, searching.PATIENCE = 1, 1, 60
        asyncio.run(work())
    finally:
        searching.FEW, searching.NAMED_VALUES, searching.PATIENCE = few, named, patience
