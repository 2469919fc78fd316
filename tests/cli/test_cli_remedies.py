"""How many remedies a daemon may have under way: what --remedies-at-once and --remedies-begun come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli.daemonoptions import limits
from reconciler.cli.settings import resolve
from reconciler.health.budgets import Limits
from reconciler.model.errors import UsageError


def counted(folder: Path, at_once: str, begun: str, agents: int) -> tuple[int, int]:
    found = limits(resolve({"remediesAtOnce": at_once, "remediesBegun": begun}, {}, folder))
    return found.at_once(agents), found.in_window(agents)


def test_unless_said_they_are_the_usual_ones(tmp_path: Path) -> None:
    assert limits(resolve({}, {}, tmp_path)) == Limits()


def test_a_percentage_has_a_least_and_a_number_is_meant_as_it_stands(tmp_path: Path) -> None:
    assert counted(tmp_path, "2%", "50%", 10) == (3, 10)
    assert counted(tmp_path, "2%", "50%", 1000) == (20, 500)
    assert counted(tmp_path, "1", "2", 10) == counted(tmp_path, "1", "2", 1000) == (1, 2)
    assert counted(tmp_path, "0", "0%", 1000) == (0, 0)


@pytest.mark.parametrize("text", ["", "many", "-1", "101%", "5 %", "1000000"])
def test_anything_else_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    (tmp_path / "reconciler.yaml").write_text(f"remediesBegun: '{text}'\n")
    with pytest.raises(UsageError, match=r"reconciler.yaml:1: .*: must be a number like 5, or a percentage like 10%"):
        resolve({}, {}, tmp_path)
