"""Garbage in cycles goes, if not at once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from reconciler.daemon.collecting import EVERY_S, YOUNG, Thaw, collect_seldom


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


@pytest.fixture
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_garbage_that_was_frozen_is_found_once_twice_as_much_is_frozen() -> None:
    now = [0.0]
    thaw = Thaw(monotonic=lambda: now[0])
    gc.freeze()
    first = gc.get_freeze_count()
    thaw.look()
    lost = weakref.ref(Cycle())
    gc.freeze()
    now[0] += EVERY_S
    thaw.look()
    assert lost() is not None, "a little more is left as it is"
    kept = [[number] for number in range(first + 1000)]
    gc.freeze()
    thaw.look()
    assert lost() is not None, "it is not counted all the time"
    now[0] += EVERY_S
    thaw.look()
    assert lost() is None
    assert gc.get_freeze_count() > len(kept), "what lives is frozen again"
