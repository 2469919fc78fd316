"""Rows of points: what is kept of each, that adding in rows is merging, and that damage is said to be damage."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.stored import series
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.series import FINE_MS, HOUR_MS, HealthPoint, latencies_of, merged, widened

NAME = AgentName(namespace="support", name="triage")
POINTS = st.builds(
    lambda step, count, values: HealthPoint(
        agent=NAME, start_ms=step * FINE_MS, span_ms=FINE_MS, count=count, up=count // 2,
        last_ms=step * FINE_MS + count, latencies=latencies_of(values),
    ),
    st.integers(0, 11), st.integers(1, 10), st.lists(st.floats(0.01, 10_000), max_size=8),
)  # fmt: skip


@given(st.lists(POINTS, min_size=1, max_size=8))
def test_adding_in_rows_is_merging_points(points: list[HealthPoint]) -> None:
    place = HOUR_MS, 0, series.part_of(NAME)
    row: dict[str, series.Flat] = {}
    whole = None
    for point in points:
        row = series.unpack(series.pack(series.joined(row, series.placed([point])[place])))
        one = widened(point, HOUR_MS)
        whole = one if whole is None else merged(whole, one)
    assert series.points_in([(place, series.pack(row))], None) == (whole,)
    assert row == series.placed(points)[place], "at once or one after another"


@pytest.mark.parametrize(
    "body",
    [b"", b"no zlib", zlib.compress(b"{"), zlib.compress(b'{"a/b": "x"}'), zlib.compress(b'{"a/b": [1, 2, 3]}')],
)
def test_a_row_that_is_damaged_is_said_to_be(body: bytes) -> None:
    with pytest.raises(RegistryError, match="damaged"):
        series.points_in([((HOUR_MS, 0, 0), body)], None)
