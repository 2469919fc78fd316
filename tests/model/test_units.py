"""Quantities and durations: what is one, what equals what, and how it is printed."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.units import (
    DURATION_PATTERN,
    MAX_DURATION_MS,
    MAX_TEXT,
    QUANTITY_PATTERN,
    Duration,
    Quantity,
    stored_amount,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1", 1),
        ("500m", Fraction(1, 2)),
        ("1.5", Fraction(3, 2)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("1k", 1000),
        ("1Ki", 1024),
        ("256Mi", 256 * 2**20),
        ("2E", 2 * 10**18),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1e-3", Fraction(1, 1000)),
        ("2Ei", 2 * 2**60),
        ("0.1Gi", Fraction(2**30, 10)),
    ],
)
def test_a_quantity_is_its_exact_value(text: str, value: int | Fraction) -> None:
    assert Quantity.parse(text).value == value
    assert str(Quantity.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "10Qi", "-1", "+1", "1K", "1mi", "m", "1.2.3", "0x10", "1e", "1e999", "١", "1\n", "9" * 33]
)
def test_what_is_no_quantity_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a quantity \(like 500m, 1\.5 or 256Mi\)"):
        Quantity.parse(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1000m", "1"),
        ("1.5", "1500m"),
        ("0.5Gi", "512Mi"),
        ("1024Ki", "1Mi"),
        ("1000Ki", "1000Ki"),
        ("0.5", "500m"),
        ("1000000", "1M"),
        ("1e3", "1e3"),
        ("1500", "1500"),
        ("0", "0"),
        ("0Gi", "0"),
        ("100m", "100m"),
        ("0.1Ki", "102400m"),
        ("12e2", "1200"),
        ("0.0000000001", "1n"),
        ("2000Gi", "2000Gi"),
    ],
)
def test_the_canonical_text_is_that_of_an_api_server(text: str, canonical: str) -> None:
    assert Quantity.parse(text).canonical() == canonical


NUMBERS = st.integers(0, 10**9).map(str) | st.decimals(0, 10**6, places=3).map(str)
SUFFIXES = st.sampled_from(["", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "E-2"])
QUANTITIES = st.builds(str.__add__, NUMBERS, SUFFIXES).map(Quantity.parse)


@given(QUANTITIES)
def test_canonical_text_means_the_same_and_is_its_own_canonical(quantity: Quantity) -> None:
    canonical = Quantity.parse(quantity.canonical()) if quantity.canonical()[-1] not in "nu" else None
    if canonical is not None:
        nano = Fraction(1, 10**9)
        assert 0 <= canonical.value - quantity.value < nano
        assert canonical.canonical() == quantity.canonical()


@given(QUANTITIES, QUANTITIES)
def test_quantities_compare_by_value(one: Quantity, other: Quantity) -> None:
    assert (one < other) == (one.value < other.value)
    assert (one == other) == (one.value == other.value)
    if one == other:
        assert hash(one) == hash(other)


@given(st.text(alphabet="0123456789.mkMGiKeE+-\n ", max_size=12))
def test_the_published_quantity_pattern_is_what_is_read(text: str) -> None:
    try:
        Quantity.parse(text)
        read = True
    except ValueError:
        read = False
    assert read == bool(re.fullmatch(QUANTITY_PATTERN[1:-1], text))


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0s", 0),
        ("500ms", 500),
        ("30s", 30_000),
        ("2m", 120_000),
        ("1h30m", 5_400_000),
        ("7d", 604_800_000),
        ("1s1s", 2_000),
    ],
)
def test_a_duration_is_whole_milliseconds(text: str, ms: int) -> None:
    duration = Duration.parse(text)
    assert (duration.ms, str(duration), duration.seconds) == (ms, text, ms / 1000)


@pytest.mark.parametrize("text", ["", "30", "30 s", "-1s", "1.5s", "1w", "s", "1h 30m", "1S", "1s\n", "9" * 10 + "s"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration \(like 500ms, 30s, 2m or 1h30m\)"):
        Duration.parse(text)


def test_a_duration_ends_at_ten_years() -> None:
    assert Duration.parse("3650d").ms == MAX_DURATION_MS
    with pytest.raises(ValueError, match="longer than ten years"):
        Duration.parse("3651d")


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0ms"), (1, "1ms"), (1000, "1s"), (90_000, "90s"), (120_000, "2m"), (3_600_000, "1h"), (86_400_000, "1d")],
)
def test_milliseconds_are_written_in_the_largest_whole_unit(ms: int, text: str) -> None:
    assert str(Duration.of_ms(ms)) == text


@given(st.integers(0, MAX_DURATION_MS))
def test_any_number_of_milliseconds_is_read_back(ms: int) -> None:
    duration = Duration.of_ms(ms)
    if len(duration.text) <= MAX_TEXT and len(duration.text.rstrip("msdh")) <= 9:
        assert Duration.parse(duration.text) == duration


@given(st.integers(0, 10**9))
def test_whole_seconds_never_get_shorter(ms: int) -> None:
    assert Duration.of_ms(ms).whole_seconds() * 1000 - ms in range(1000)


@given(st.text(alphabet="0123456789msdh\n", max_size=12))
def test_the_published_duration_pattern_is_what_is_read(text: str) -> None:
    try:
        Duration.parse(text)
        read = True
    except ValueError as error:
        read = "longer than" in str(error)
    assert read == bool(re.fullmatch(DURATION_PATTERN[1:-1], text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1500m", Fraction(3, 2)),
        ("+1", 1),
        ("-2Ki", -2048),
        ("250n", Fraction(1, 4_000_000)),
        ("100u", Fraction(1, 10_000)),
        ("0250m", Fraction(1, 4)),
        ("0" * 60 + "1", 1),
        ("0", 0),
        ("000.5", Fraction(1, 2)),
    ],
)
def test_what_servers_keep_of_others_amounts_is_read(text: str, value: Fraction) -> None:
    assert stored_amount(text) == value


@pytest.mark.parametrize("text", ["", "+", "-", "n", "much", "--1", "+-1", "1 ", "1x", "9" * 100])
def test_what_is_no_stored_amount(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        stored_amount(text)
