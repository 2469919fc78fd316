"""What is kept of alerts: all of a change or nothing, in order, bounded, and there after a crash."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.sqlite.alertbook import SqliteAlertBook
from reconciler.model.alert import (
    AlertChange,
    AlertGroup,
    AlertState,
    Answer,
    Notification,
    Severity,
    Verdict,
)
from reconciler.model.errors import RegistryError
from tests.alerting.builders import START_MS, alert

A, B = alert("support/triage"), alert("support/knowledge", labels={"team": "a"}, cause="x/y", details={"k": "v"})
SENT, LATER, REFUSED = (
    Answer(verdict=Verdict.SENT, text="200"),
    Answer(verdict=Verdict.LATER, text="500"),
    Answer(verdict=Verdict.REFUSED, text="404"),
)


def told(number: int, route: str = "on-call", key: str = "k", **more: Any) -> Notification:
    given: dict[str, Any] = {
        "id": f"id{number}", "route": route, "name": route, "group": "g", "key": key, "fleet": "acme",
        "at_ms": START_MS + number, "severity": Severity.WARNING, "title": "t", "text": "x",
    }  # fmt: skip
    return Notification(**given | more)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "alerts.db"


async def test_what_was_written_is_there_when_it_is_opened_again(path: Path) -> None:
    group = AlertGroup(route="on-call", key="k", told_ms=5, told={A.key: A})
    book = await SqliteAlertBook.open(path)
    await book.commit(AlertChange(alerts=(A, B), groups=(group,), notifications=(told(1),)))
    await book.close()
    assert path.stat().st_mode & 0o777 == 0o600
    again = await SqliteAlertBook.open(path)
    assert await again.state() == AlertState(active={A.key: A, B.key: B}, groups={("on-call", "k"): group})
    assert await again.unsent() == {("on-call", "k")}
    queued = await again.next("on-call")
    assert queued is not None
    assert queued.notification == told(1)
    await again.commit(AlertChange(gone_alerts=(A.key,), gone_groups=(("on-call", "k"),)))
    assert await again.state() == AlertState(active={B.key: B})
    await again.close()


async def test_each_route_has_its_own_order_and_what_cannot_be_sent_stays_first(path: Path) -> None:
    book = await SqliteAlertBook.open(path)
    await book.commit(AlertChange(notifications=(told(1, "a"), told(2, "b"), told(3, "a"))))
    first = await book.next("a")
    assert first is not None
    await book.tried(first, LATER)
    again = await book.next("a")
    assert again is not None
    assert (again.notification, again.attempts, again.problem) == (told(1, "a"), 1, "500")
    await book.tried(again, SENT)
    last = await book.next("a")
    assert last is not None
    assert last.notification == told(3, "a")
    await book.tried(last, REFUSED)
    assert await book.next("a") is None
    assert await book.next("nobody") is None
    a, b = await book.waiting()
    assert (a.route, a.queued, a.sent, a.refused, a.dropped) == ("a", 0, 1, 1, 0)
    assert (b.route, b.queued, b.oldest_ms, b.attempts) == ("b", 1, START_MS + 2, 0)
    await book.close()


async def test_below_the_bound_nothing_is_lost_and_beyond_it_the_oldest_is_dropped_and_counted(path: Path) -> None:
    book = await SqliteAlertBook.open(path, bound=3)
    for number in range(3):
        assert await book.commit(AlertChange(notifications=(told(number),))) == {}
    assert await book.commit(AlertChange(notifications=(told(3), told(4), told(5, "other")))) == {"on-call": 2}
    first = await book.next("on-call")
    assert first is not None
    assert first.notification == told(2)
    assert [(one.route, one.queued, one.dropped) for one in await book.waiting()] == [
        ("on-call", 3, 2),
        ("other", 1, 0),
    ]
    await book.close()


async def test_what_arrives_though_it_was_dropped_meanwhile_counts_as_sent(path: Path) -> None:
    book = await SqliteAlertBook.open(path, bound=1)
    await book.commit(AlertChange(notifications=(told(1),)))
    flying = await book.next("on-call")
    assert flying is not None
    await book.commit(AlertChange(notifications=(told(2),)))
    await book.tried(flying, SENT)
    (now,) = await book.waiting()
    assert (now.queued, now.sent, now.dropped) == (1, 1, 0)
    await book.close()


async def test_what_is_queued_for_routes_that_are_gone_is_dropped_and_counted(path: Path) -> None:
    book = await SqliteAlertBook.open(path)
    await book.commit(AlertChange(notifications=(told(1, "a"), told(2, "b"), told(3, "b"))))
    assert await book.forget(frozenset({"a"})) == 2
    assert await book.forget(frozenset({"a"})) == 0
    assert {one.route: (one.queued, one.dropped) for one in await book.waiting()} == {"a": (1, 0), "b": (0, 2)}
    await book.close()


@pytest.mark.parametrize("table", ["alerts", "told", "queue"])
async def test_a_file_with_a_row_that_cannot_be_read_is_set_aside_too(path: Path, table: str) -> None:
    """Else nothing would be told any more: neither what that row stands for, nor what comes after it."""
    book = await SqliteAlertBook.open(path)
    group = AlertGroup(route="on-call", key="k", told_ms=5, told={A.key: A})
    await book.commit(AlertChange(alerts=(A,), groups=(group,), notifications=(told(1), told(2))))
    await book.close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE {table} SET body = x'7b7d' WHERE rowid = (SELECT min(rowid) FROM {table})")  # noqa: S608
    connection.close()
    again = await SqliteAlertBook.open(path)
    assert await again.state() == AlertState()
    assert await again.next("on-call") is None
    assert path.with_name("alerts.db.damaged").exists()
    await again.close()


async def test_a_damaged_file_is_set_aside_and_begun_anew(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database, and was none ever" * 100)
    book = await SqliteAlertBook.open(path)
    assert await book.state() == AlertState()
    await book.close()
    assert path.with_name("alerts.db.damaged").exists()


async def test_a_file_of_a_newer_program_is_left_alone(path: Path) -> None:
    await (await SqliteAlertBook.open(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE format SET number = 99")
    connection.close()
    with pytest.raises(RegistryError, match="newer reconciler"):
        await SqliteAlertBook.open(path)
    assert not path.with_name("alerts.db.damaged").exists()


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from reconciler.adapters.sqlite.alertbook import SqliteAlertBook
from reconciler.model.alert import AlertChange
from tests.adapters.sqlite.test_alertbook import A, told

async def main():
    book = await SqliteAlertBook.open(Path(sys.argv[1]))
    await book.commit(AlertChange(alerts=(A,), notifications=(told(1),)))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_what_was_queued_before_a_kill_is_sent_after_it(path: Path) -> None:
    done = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, str(path))
    assert await done.wait() == -9
    book = await SqliteAlertBook.open(path)
    queued = await book.next("on-call")
    assert queued is not None
    assert queued.notification.id == "id1"
    assert (await book.state()).active == {A.key: A}
    await book.close()
