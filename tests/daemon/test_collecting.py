"""Garbage in cycles goes, if not at once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from reconciler.daemon.collecting import YOUNG, collect_seldom


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
