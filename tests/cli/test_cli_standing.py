"""Several daemons as processes: what a dead one leaves is another's, and a stale one writes nothing.

Hand-over times are printed (`pytest -s`); nothing depends on them.
"""

from __future__ import annotations

import signal
import sys
import time

import pytest

from tests.cli.conftest import Program
from tests.cli.test_cli_daemon import Daemon, started

NOTHING = (
    "apiVersion: agents.codevald.io/v1\nkind: Fleet\nmetadata: {name: far}\n"
    "spec: {clusters: [{name: local, embedded: {run: nothing}}]}\n"
)
AGENTS = 8


def agent(number: int, image: str) -> str:
    return (
        f"apiVersion: agents.codevald.io/v1\nkind: Agent\nmetadata: {{name: a{number}, namespace: demo}}\n"
        f"spec: {{image: {image}, command: [x]}}\n"
    )


def commit(fleet: Program, image: str, count: int = AGENTS) -> None:
    for number in range(count):
        (fleet.folder / "agents" / f"a{number}.yaml").write_text(agent(number, image))
    fleet.commit()


def tell(text: str) -> None:
    sys.stdout.write(f"\n{text}\n")


def test_the_agents_of_a_daemon_that_is_killed_are_taken_over(fleet: Program) -> None:
    (fleet.folder / "fleet.yaml").write_text(NOTHING)
    commit(fleet, "acme/agent:1")
    with started(fleet, "--shards", "4") as one, started(fleet, "--shards", "4") as two:
        theirs = {two.until("shard-taken")["shard"], two.until("shard-taken")["shard"]}
        one.when(lambda line: line["event"] == "shard-handed-over", "a shard is handed over")
        killed = time.monotonic()
        two.process.send_signal(signal.SIGKILL)
        two.process.wait()
        back = {one.until("shard-taken")["shard"] for _ in theirs}
        took = time.monotonic() - killed
        assert back == theirs
        commit(fleet, "acme/agent:2")
        tell(f"the shards of a daemon that was killed were taken over after {took:.1f} s")
        updated = {one.until("change-ended", action="update", outcome="applied")["agent"] for _ in range(AGENTS)}
        assert len(updated) == AGENTS
        assert one.end() == 0
    assert fleet("plan", "--detailed-exitcode", code=0)


@pytest.mark.parametrize("options", [(), ("--shards", "2")], ids=["one leads", "shards"])
def test_one_that_was_stopped_in_the_middle_of_its_work_writes_nothing_when_it_goes_on(
    fleet: Program, options: tuple[str, ...]
) -> None:
    stuck = fleet.folder / "agents" / "demo" / "hello.yaml"
    well = stuck.read_text()
    stuck.write_text(well.replace("[python3, programs/hello.py]", "[sleep, '3600']"))
    fleet.commit()
    with started(fleet, *options) as first:
        first.until("change-started", agent="demo/hello")
        first.process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        with started(fleet, *options) as second:
            second.until("change-started", agent="demo/hello")
            took = time.monotonic() - stopped
            tell(f"the work of a daemon that was stopped was gone on with after {took:.1f} s ({options})")
            stuck.write_text(well)
            fleet.commit()
            second.until("change-ended", agent="demo/hello", outcome="applied")
            second.until("planned", changes={}, busy=None)
            before = fleet("audit", "list", "-o", "json", code=0).out
            first.process.send_signal(signal.SIGCONT)
            first.until("leads-no-more")
            first.until("stands-by") if not options else rejoined(first)
            assert fleet("audit", "list", "-o", "json", code=0).out == before
            fleet("audit", "verify", code=0)
            assert first.end() == 0
            assert second.end() == 0


def rejoined(daemon: Daemon) -> None:
    """It has a part again: from then on it may write, and there is nothing to write."""
    daemon.until("shard-taken")
    daemon.until("planned", changes={})
