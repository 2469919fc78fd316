"""Whatever is changed in the audit table behind the registry's back, the first entry that is not true is named."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.model.audit import AuditVerdict
from reconciler.model.identity import AgentName
from reconciler.model.registry import AuditFact
from tests.contracts.values import write
from tests.doubles.clock import FakeClock

Row = list[Any]
COUNT = 12
COLUMNS = ("seq", "at_ms", "agent", "fact", "previous", "hash")


class Forger:
    """A registry with COUNT audit entries, and somebody with the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        asyncio.run(self._fill())
        self.file = sqlite3.connect(path, isolation_level=None)
        self.rows = [list(row) for row in self.file.execute("SELECT * FROM audit ORDER BY seq")]
        self.head = self.file.execute("SELECT audit_seq, audit_hash FROM head").fetchone()

    async def _fill(self) -> None:
        registry = await SqliteRegistry.open(self.path, FakeClock())
        for number in range(COUNT):
            agent = AgentName(namespace="n", name=f"a{number % 3}") if number % 4 else None
            diff = {"replicas": {"before": number, "after": 1.5}, "ü": [None, True, "\u2028"]} if number % 2 else {}
            fact = AuditFact(actor="ada", action="update", agent=agent, message="ü", diff=diff)
            await registry.commit(write(audit=(fact,), at_ms=number))
        await registry.close()

    def verdict(self, rows: list[Row], head: tuple[int, str] | None = None) -> AuditVerdict:
        """What the registry says of its audit log when these are its rows."""
        self.file.execute("BEGIN IMMEDIATE")
        self.file.execute("DELETE FROM audit")
        self.file.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)", rows)
        self.file.execute("UPDATE head SET audit_seq = ?, audit_hash = ?", head or self.head)
        self.file.execute("COMMIT")

        async def ask() -> AuditVerdict:
            registry = await SqliteRegistry.open(self.path, FakeClock())
            try:
                return await registry.verify_audit()
            finally:
                await registry.close()

        return asyncio.run(ask())


@pytest.fixture(scope="module")
def forger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forger]:
    made = Forger(tmp_path_factory.mktemp("forgery") / "state" / "registry.db")
    yield made
    made.file.close()


def test_the_log_is_sound_as_it_was_written(forger: Forger) -> None:
    verdict = forger.verdict(forger.rows)
    assert (verdict.sound, verdict.count) == (True, COUNT)


def _other(value: Any, data: st.DataObject) -> Any:
    """Another value for a column, of any kind that the table takes there."""
    if isinstance(value, int):
        return data.draw(st.integers(-(2**40), 2**40))
    if isinstance(value, bytes):
        at = data.draw(st.integers(0, len(value)))
        return data.draw(
            st.sampled_from(
                [
                    value[:at] + bytes([data.draw(st.integers(0, 255))]) + value[at + 1 :],
                    value[:at] + b" " + value[at:],
                    value[:at] + value[at + 1 :],
                    value[:-1] + b',"seen":"by nobody"}',
                    b"",
                    b"null",
                ]
            )
        )
    return data.draw(st.none() if value is not None else st.just("n/a0")) if data.draw(st.booleans()) else "f" * 64


@settings(max_examples=150)
@given(data=st.data())
def test_any_change_of_any_column_is_found_at_its_entry(forger: Forger, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, COUNT - 1), "entry")
    column = data.draw(st.integers(1, len(COLUMNS) - 1), "column")
    rows = [list(row) for row in forger.rows]
    value = _other(rows[at][column], data)
    assume(value != rows[at][column])
    assume(value is not None or COLUMNS[column] == "agent")
    rows[at][column] = value
    verdict = forger.verdict(rows)
    assert (verdict.broken_seq, verdict.count) == (at + 1, at), (COLUMNS[column], value)
    assert verdict.reason


def _renumbered(rows: list[Row]) -> list[Row]:
    return [[seq, *row[1:]] for seq, row in enumerate(rows, 1)]


def _removed(rows: list[Row], at: int, _: int) -> tuple[list[Row], int]:
    return rows[:at] + rows[at + 1 :], at + 1


def _cut(rows: list[Row], at: int, _: int) -> tuple[list[Row], int]:
    return rows[:at], at + 1


def _inserted(rows: list[Row], at: int, other: int) -> tuple[list[Row], int]:
    """A copy of another entry after this one. In place of its successor it is the first that does not fit."""
    assume(other != at + 1)
    return [*rows[: at + 1], rows[other], *rows[at + 1 :]], at + 2


def _swapped(rows: list[Row], at: int, other: int) -> tuple[list[Row], int]:
    assume(at != other)
    rows = list(rows)
    rows[at], rows[other] = rows[other], rows[at]
    return rows, min(at, other) + 1


def _moved(rows: list[Row], at: int, other: int) -> tuple[list[Row], int]:
    assume(at != other)
    rows = list(rows)
    rows.insert(other, rows.pop(at))
    return rows, min(at, other) + 1


@settings(max_examples=150)
@given(
    change=st.sampled_from([_removed, _cut, _inserted, _swapped, _moved]),
    at=st.integers(0, COUNT - 1),
    other=st.integers(0, COUNT - 1),
    renumber=st.booleans(),
)
def test_entries_removed_cut_put_in_or_moved_are_found_at_the_first(
    forger: Forger, change: Callable[..., tuple[list[Row], int]], at: int, other: int, renumber: bool
) -> None:
    rows, broken = change(forger.rows, at, other)
    numbered = _renumbered(rows) if renumber or change in {_inserted, _swapped, _moved} else rows
    verdict = forger.verdict(numbered)
    assert (verdict.broken_seq, verdict.count) == (broken, broken - 1)


@given(seq=st.integers(0, COUNT + 3), hash_=st.sampled_from(["f" * 64, ""]), whole=st.booleans())
@settings(max_examples=20)
def test_a_head_that_does_not_fit_is_found(forger: Forger, seq: int, hash_: str, whole: bool) -> None:
    """`head` says which entry was written last; whoever cuts entries off has to forge it too, with a hash they keep."""
    hash_ = hash_ if whole or not 0 < seq <= COUNT else forger.rows[seq - 1][5]
    verdict = forger.verdict(forger.rows, (seq, hash_))
    assert verdict.sound == ((seq, hash_) == forger.head)
