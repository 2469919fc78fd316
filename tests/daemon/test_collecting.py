"""Garbage in cycles goes, if not at once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from reconciler.daemon.collecting import EVERY_S, MINUTE_S, YOUNG, Collector, collect_seldom


class Cycle:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def seldom() -> Iterator[None]:
    before = gc.get_threshold()
    collect_seldom()
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("seldom")
def test_cycles_are_found_before_many_have_come_together() -> None:
    first = weakref.ref(Cycle())
    made = 0
    while first() is not None and made <= 2 * YOUNG:
        Cycle()
        made += 1
    assert made <= YOUNG


@pytest.mark.usefixtures("seldom")
def test_young_garbage_goes_within_a_minute_and_all_of_it_within_an_hour() -> None:
    now = [0.0]
    collector = Collector(monotonic=lambda: now[0])
    collector.look()
    old = Cycle()
    later = weakref.ref(old)
    gc.collect(1)  # it is old then
    del old
    young = Cycle()
    gone = weakref.ref(young)
    del young
    collector.look()
    assert gone() is not None, "it is not looked for all the time"
    now[0] += MINUTE_S
    collector.look()
    assert (gone() is None, later() is None) == (True, False)
    now[0] += EVERY_S
    collector.look()
    assert later() is None


@pytest.fixture
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_garbage_that_was_frozen_is_found_once_twice_as_much_is_frozen() -> None:
    now = [0.0]
    collector = Collector(monotonic=lambda: now[0])
    gc.freeze()
    first = gc.get_freeze_count()
    collector.look()
    lost = weakref.ref(Cycle())
    gc.freeze()
    now[0] += EVERY_S
    collector.look()
    assert lost() is not None, "a little more is left as it is"
    kept = [[number] for number in range(first + 1000)]
    gc.freeze()
    collector.look()
    assert lost() is not None, "it is not counted all the time"
    now[0] += EVERY_S
    collector.look()
    assert lost() is None
    assert gc.get_freeze_count() > len(kept), "what lives is frozen again"
