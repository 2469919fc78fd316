"""Hostile and mistaken files, through the program: told with their place, and nothing becomes of anybody's agents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.hostile.bounds import Bounded, Record, hold, untouched
from tests.hostile.conftest import BAD
from tests.hostile.files import HOSTILE


@pytest.mark.parametrize(("data", "code"), [pytest.param(data, code, id=name) for name, data, code in HOSTILE])
def test_a_file_is_told_with_its_place_and_changes_nothing(
    data: bytes, code: str, applied: Path, forks: Bounded, record_property: Record
) -> None:
    before = untouched(forks, applied)
    (applied / BAD).write_bytes(data)
    place = re.compile(rf"^{re.escape(BAD)}:\d+:\d+: error: .+\[{code}\]$", re.MULTILINE)

    found = forks.run("validate", folder=applied)
    hold(found, kind="files", record=record_property)
    assert place.search(found.out), found.out

    ended = forks.run("apply", "--working-tree", "--auto-approve", folder=applied)
    hold(ended, kind="", record=record_property)
    assert place.search(ended.out + ended.err), ended.out + ended.err
    assert untouched(forks, applied) == before
