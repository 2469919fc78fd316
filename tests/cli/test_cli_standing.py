"""Several daemons as processes: what a dead one leaves is another's, and a stale one writes nothing.

Hand-over times are printed at the end of a run; nothing depends on them.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.cli.conftest import Program
from tests.cli.test_cli_daemon import Daemon, started

NOTHING = (
    "apiVersion: agents.codevald.io/v1\nkind: Fleet\nmetadata: {name: far}\n"
    "spec: {clusters: [{name: local, embedded: {run: nothing}}]}\n"
)
AGENTS = 8
WITHIN_S = 60.0


def agent(number: int, image: str) -> str:
    return (
        f"apiVersion: agents.codevald.io/v1\nkind: Agent\nmetadata: {{name: a{number}, namespace: demo}}\n"
        f"spec: {{image: {image}, command: [x]}}\n"
    )


def commit(fleet: Program, image: str, count: int = AGENTS) -> None:
    for number in range(count):
        (fleet.folder / "agents" / f"a{number}.yaml").write_text(agent(number, image))
    fleet.commit()


def until(condition: Callable[[], object]) -> None:
    """Wait for something that other processes do."""
    end = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def stop(daemon: Daemon, fleet: Program) -> None:
    """Stop a daemon where it stands, but not in the middle of a write: that would keep the registry's file locked."""

    def stopped() -> bool:
        daemon.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, daemon.process.pid, os.WSTOPPED)
        try:
            with closing(sqlite3.connect(fleet.folder / ".reconciler/registry.db", timeout=0)) as registry:
                registry.execute("BEGIN IMMEDIATE")
                registry.rollback()
        except sqlite3.OperationalError:
            daemon.process.send_signal(signal.SIGCONT)
            return False
        return True

    until(stopped)


def state(fleet: Program) -> str:
    (item,) = json.loads(fleet("get", "agents", "-o", "json", code=0).out)["items"]
    return f"{item['state']} of {item['replicas']}"


def audit(fleet: Program) -> str:
    return fleet("audit", "list", "-o", "json", code=0).out


def test_the_agents_of_a_daemon_that_is_killed_are_taken_over(
    fleet: Program, record_property: Callable[[str, object], None]
) -> None:
    (fleet.folder / "fleet.yaml").write_text(NOTHING)
    commit(fleet, "acme/agent:1")
    with started(fleet, "--shards", "4") as one:
        one.when(lambda line: line.get("shard") == 3, "all shards are taken")
        with started(fleet, "--shards", "4") as two:
            theirs = {two.until("shard-taken")["shard"] for _ in range(2)}
            assert {one.until("shard-handed-over")["shard"] for _ in range(2)} == theirs
            two.process.send_signal(signal.SIGKILL)
            two.process.wait()
            killed = time.monotonic()
            assert {one.until("shard-taken")["shard"] for _ in range(2)} == theirs
            took = time.monotonic() - killed
            record_property("handed-over", f"the shards of one that was killed were taken over after {took:.1f} s")
        commit(fleet, "acme/agent:2")
        updated: set[str] = set()
        while len(updated) < AGENTS:
            updated.add(one.until("change-ended", action="update", outcome="applied")["agent"])
        assert one.end() == 0
    fleet("plan", "--detailed-exitcode", code=0)


@pytest.mark.parametrize("options", [(), ("--shards", "2")], ids=["one leads", "shards"])
def test_one_that_was_stopped_in_the_middle_of_its_work_writes_nothing_when_it_goes_on(
    fleet: Program, options: tuple[str, ...], record_property: Callable[[str, object], None]
) -> None:
    file = fleet.folder / "agents" / "demo" / "hello.yaml"
    well = file.read_text()
    file.write_text(well.replace("[python3, programs/hello.py]", "[sleep, '3600']"))
    fleet.commit()
    with started(fleet, *options) as first:
        first.until("change-started", agent="demo/hello")
        until(lambda: state(fleet) == "deploying of 1")
        stop(first, fleet)
        stopped = time.monotonic()
        with started(fleet, "--log-level", "debug", *options) as second:
            second.until("change-started", agent="demo/hello")
            took = time.monotonic() - stopped
            how = "which shared the fleet" if options else "which led"
            record_property(
                "handed-over", f"the work of one that was stopped, {how}, was gone on with after {took:.1f} s"
            )
            file.write_text(well)
            fleet.commit()
            second.until("change-ended", agent="demo/hello", outcome="applied")
            second.until("planned", changes={}, busy=None)
            before = audit(fleet)
            first.process.send_signal(signal.SIGCONT)
            first.until("leads-no-more")
            if options:
                first.until("shard-taken")  # it has a part again, and there is nothing to do in it
                first.until("planned", changes={})
            else:
                first.until("stands-by")
            assert audit(fleet) == before
            fleet("audit", "verify", code=0)
            assert first.end() == 0
            assert second.end() == 0
