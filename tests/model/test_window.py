"""When change windows are open: on the clock of their place, whatever is done to that clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.model.window import HOURS_24, Effect, Window, instant, opening

BERLIN = "Europe/Berlin"
ZONES = (BERLIN, "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo")
MINUTE = 60_000


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def shown(at_ms: int, zone: str = BERLIN) -> str:
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).isoformat(timespec="minutes")


def at(hours: int, minutes: int = 0) -> int:
    return 60 * hours + minutes


OFFICE = Window(name="office", days=frozenset(range(5)), start=at(9), end=at(17), timezone=BERLIN)
NIGHT = Window(name="night", days=frozenset({4}), start=at(22), end=at(4), timezone=BERLIN)
FREEZE = Window(name="freeze", effect=Effect.DENY, days=frozenset({2}), timezone=BERLIN)


@pytest.mark.parametrize(
    ("windows", "now", "is_open", "until"),
    [
        ((), "2026-11-26T03:00+01:00", True, None),
        ((OFFICE,), "2026-11-26T08:59+01:00", False, "2026-11-26T09:00+01:00"),
        ((OFFICE,), "2026-11-26T09:00+01:00", True, "2026-11-26T17:00+01:00"),
        ((OFFICE,), "2026-11-26T17:00+01:00", False, "2026-11-27T09:00+01:00"),
        ((OFFICE,), "2026-11-28T12:00+01:00", False, "2026-11-30T09:00+01:00"),
        ((NIGHT,), "2026-11-27T23:00+01:00", True, "2026-11-28T04:00+01:00"),
        ((NIGHT,), "2026-11-28T03:59+01:00", True, "2026-11-28T04:00+01:00"),
        ((NIGHT,), "2026-11-28T22:30+01:00", False, "2026-12-04T22:00+01:00"),
        ((OFFICE, NIGHT), "2026-11-27T18:00+01:00", False, "2026-11-27T22:00+01:00"),
        ((OFFICE, FREEZE), "2026-11-25T10:00+01:00", False, "2026-11-26T09:00+01:00"),
        ((OFFICE, FREEZE), "2026-11-24T16:00+01:00", True, "2026-11-24T17:00+01:00"),
        ((FREEZE,), "2026-11-24T16:00+01:00", True, "2026-11-25T00:00+01:00"),
        ((FREEZE,), "2026-11-25T16:00+01:00", False, "2026-11-26T00:00+01:00"),
        ((Window(name="always"),), "2026-11-25T16:00+01:00", True, None),
        ((Window(name="never", effect=Effect.DENY),), "2026-11-25T16:00+01:00", False, None),
    ],
)
def test_windows_say_together_whether_changes_go_out_and_until_when(windows, now, is_open, until) -> None:
    found = opening(windows, ms(now))
    assert (found.open, found.until_ms and shown(found.until_ms)) == (is_open, until)


def test_what_holds_back_is_named() -> None:
    assert [one.name for one in opening((OFFICE, NIGHT, FREEZE), ms("2026-11-25T10:00+01:00")).by] == ["freeze"]
    assert [one.name for one in opening((OFFICE, NIGHT, FREEZE), ms("2026-11-26T10:00+01:00")).by] == ["office"]
    assert [one.name for one in opening((OFFICE, NIGHT, FREEZE), ms("2026-11-26T18:00+01:00")).by] == [
        "office",
        "night",
    ]


@pytest.mark.parametrize(
    ("start", "end", "effect", "opens", "closes"),
    [
        # clocks go from 02:00 to 03:00: what does not come is the moment of that
        (at(1), at(2, 30), Effect.ALLOW, "2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"),
        (at(2, 30), at(4), Effect.ALLOW, "2026-03-29T03:00+02:00", "2026-03-29T04:00+02:00"),
        (at(0), HOURS_24, Effect.ALLOW, "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),
    ],
)
def test_a_time_that_clocks_are_put_past_is_the_moment_of_that(start, end, effect, opens, closes) -> None:
    window = Window(name="w", effect=effect, days=frozenset({6}), start=start, end=end, timezone=BERLIN)
    found = opening((window,), ms("2026-03-28T12:00+01:00"))
    assert found.until_ms is not None
    assert shown(found.until_ms) == opens
    inside = opening((window,), found.until_ms)
    assert (inside.open, inside.until_ms and shown(inside.until_ms)) == (True, closes)


def test_a_window_of_times_that_do_not_come_does_not_open_that_day() -> None:
    window = Window(name="w", days=frozenset({6}), start=at(2, 15), end=at(2, 45), timezone=BERLIN)
    found = opening((window,), ms("2026-03-28T12:00+01:00"))
    assert found.until_ms is not None
    assert shown(found.until_ms) == "2026-04-05T02:15+02:00"


@pytest.mark.parametrize(
    ("effect", "closes"), [(Effect.ALLOW, "2026-10-25T02:45+02:00"), (Effect.DENY, "2026-10-25T02:45+01:00")]
)
def test_a_time_that_comes_twice_is_taken_on_the_safe_side(effect: Effect, closes: str) -> None:
    window = Window(name="w", effect=effect, days=frozenset({6}), start=at(2, 15), end=at(2, 45), timezone=BERLIN)
    begins = opening((window,), ms("2026-10-24T12:00+02:00")).until_ms
    assert begins is not None
    assert shown(begins) == "2026-10-25T02:15+02:00"
    ends = opening((window,), begins).until_ms
    assert ends is not None
    assert shown(ends) == closes


def test_it_concerns_namespaces_and_labels_and_without_them_all() -> None:
    narrow = Window(name="w", namespaces=frozenset({"shop"}), labels={"tier": "gold"})
    assert narrow.concerns("shop", {"tier": "gold", "team": "a"})
    assert not narrow.concerns("shop", {})
    assert not narrow.concerns("support", {"tier": "gold"})
    assert Window(name="w").concerns("shop", {})


DAYS_AROUND = st.integers(0, 365 * 6).map(lambda days: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=days))
WINDOWS = st.builds(
    Window,
    name=st.just("w"),
    effect=st.sampled_from(Effect),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    start=st.integers(0, HOURS_24 - 1),
    end=st.integers(1, HOURS_24),
    timezone=st.sampled_from(ZONES),
)


@given(day=DAYS_AROUND, minute=st.integers(0, HOURS_24), zone=st.sampled_from(ZONES), last=st.booleans())
@example(day=datetime(2026, 3, 29, tzinfo=UTC), minute=at(2, 30), zone=BERLIN, last=False)
@example(day=datetime(2026, 10, 25, tzinfo=UTC), minute=at(2, 30), zone=BERLIN, last=True)
@example(day=datetime(2026, 10, 4, tzinfo=UTC), minute=at(2, 15), zone="Australia/Lord_Howe", last=False)
def test_an_instant_is_when_the_clock_shows_it_or_is_first_put_past_it(day, minute, zone, last) -> None:
    """Against looking at that clock minute by minute."""
    there = ZoneInfo(zone)
    wanted = datetime(day.year, day.month, day.day) + timedelta(minutes=minute)  # noqa: DTZ001
    about = wanted.replace(tzinfo=there).astimezone(UTC)
    around = [about + timedelta(minutes=one) for one in range(-3 * 60, 3 * 60)]
    clocks = [(moment, moment.astimezone(there).replace(tzinfo=None)) for moment in around]
    showing = [moment for moment, clock in clocks if clock == wanted]
    passed = next(now for (_, was), (now, clock) in pairwise(clocks) if was < wanted <= clock)
    expected = (showing[-1] if last else showing[0]) if showing else passed
    assert instant(day.date(), minute, there, last=last) == round(expected.timestamp() * 1000)


@settings(max_examples=40)
@given(windows=st.lists(WINDOWS, max_size=3), day=DAYS_AROUND, minute=st.integers(0, HOURS_24))
def test_nothing_changes_before_the_time_that_is_named_and_something_does_then(windows, day, minute) -> None:
    now = round((day + timedelta(minutes=minute)).timestamp() * 1000)
    found = opening(windows, now)
    if found.until_ms is None:
        return
    assert found.until_ms > now
    assert opening(windows, found.until_ms).open is not found.open
    step = max(MINUTE, (found.until_ms - now) // 10)
    assert all(opening(windows, moment).open is found.open for moment in range(now, found.until_ms, step))


@given(windows=st.lists(WINDOWS, min_size=1, max_size=3), day=DAYS_AROUND, minute=st.integers(0, HOURS_24))
def test_what_denies_wins_and_the_order_of_windows_says_nothing(windows, day, minute) -> None:
    now = round((day + timedelta(minutes=minute)).timestamp() * 1000)
    found, turned = opening(windows, now), opening(windows[::-1], now)
    assert (found.open, found.until_ms) == (turned.open, turned.until_ms)
    here = [one for one in windows if any(start <= now < end for start, end in one.spans(now))]
    if any(one.effect is Effect.DENY for one in here):
        assert not found.open
    assert not found.by or found.by[0].effect is Effect.DENY or all(one.effect is Effect.ALLOW for one in found.by)
