"""`reconciler daemon` as people run it: a process of its own, real commits, real agents, and signals."""

from __future__ import annotations

import asyncio
import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from reconciler.adapters.embedded.cluster import EmbeddedCluster
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import AnyState, Found
from tests.cli.conftest import Edit, Program, environment

WAIT_S = 60.0
SERVICE = ObjectRef(group="", kind="Service", namespace="demo", name="hello")
Line = dict[str, Any]


class Daemon:
    """A daemon that runs, and the lines that it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self.said: list[Line] = []
        assert process.stderr is not None
        self._reader = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
        self._reader.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._lines.put(line)

    def until(self, event: str, **facts: Any) -> Line:
        """The next line of an event in which `facts` hold."""

        def wanted(line: Line) -> bool:
            return line["event"] == event and all(line.get(key) == value for key, value in facts.items())

        return self.when(wanted, f"{event} {facts}")

    def when(self, wanted: Callable[[Line], bool], what: str) -> Line:
        while True:
            try:
                text = self._lines.get(timeout=WAIT_S)
            except queue.Empty:
                raise AssertionError(f"not within {WAIT_S} s: {what}; it said {self.said}") from None
            assert text.startswith("{"), text
            line: Line = json.loads(text)
            self.said.append(line)
            if wanted(line):
                return line

    def close(self) -> None:
        """Let nothing of it run on."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and answer the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=WAIT_S)


@contextmanager
def started(program: Program, *options: str, **extra: str) -> Iterator[Daemon]:
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler.cli", "daemon", "--log", "json", "--poll", "1s", *options],
        cwd=program.folder,
        env=environment(program.home) | extra,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    daemon = Daemon(process)
    try:
        yield daemon
    finally:
        daemon.close()


def state_of(program: Program) -> str:
    records = json.loads(program("get", "agents", "-o", "json").out)
    return str([(item["name"], item["state"]) for item in records["items"]])


def test_it_brings_up_what_is_committed_undoes_what_drifts_and_ends_when_told(fleet: Program, edit: Edit) -> None:
    with started(fleet) as daemon:
        daemon.until("leads")
        daemon.until("change-ended", agent="demo/hello", action="create", outcome="applied")
        edit("agents/demo/hello.yaml", "replicas: 1", "replicas: 2")
        fleet.commit()
        daemon.until("change-ended", agent="demo/hello", action="scale", outcome="applied", ready="2/2")
        asyncio.run(_delete(fleet.folder / ".reconciler", SERVICE))
        daemon.until("change-ended", agent="demo/hello", outcome="applied")
        assert asyncio.run(_there(fleet.folder / ".reconciler", SERVICE))
        assert daemon.end() == 0
    assert "No changes" in fleet("plan", code=0).out
    assert "running" in state_of(fleet)


async def _delete(state: Path, ref: ObjectRef) -> None:
    cluster = EmbeddedCluster.open("local", state, run="processes", ensure_supervisor=lambda _folder: None)
    await cluster.delete(ref, AnyState())
    await cluster.close()


async def _there(state: Path, ref: ObjectRef) -> bool:
    cluster = EmbeddedCluster.open("local", state, run="processes", ensure_supervisor=lambda _folder: None)
    answer = await cluster.get(ref)
    await cluster.close()
    return isinstance(answer, Found)


def test_what_is_wished_by_hand_is_left_until_it_ends(fleet: Program) -> None:
    with started(fleet, "--resync", "1s") as daemon:
        daemon.until("change-ended", action="create", outcome="applied")
        fleet("scale", "demo/hello", "2", "--for", "10s", "--reason", "launch", code=0)
        daemon.until("change-ended", agent="demo/hello", outcome="applied", text="scaled 1 -> 2")
        daemon.until("change-ended", agent="demo/hello", outcome="applied", text="scaled 2 -> 1")
        assert not [line for line in daemon.said if line["event"] == "waits-for-lock"]
        assert daemon.end(signal.SIGINT) == 0


def test_one_agent_in_trouble_holds_up_nobody_and_is_tried_again(fleet: Program, edit: Edit) -> None:
    """`stuck` needs longer than anybody waits; `hello` changes meanwhile; then `stuck` is mended."""
    text = (fleet.folder / "agents/demo/hello.yaml").read_text()
    stuck = text.replace("name: hello", "name: stuck").replace("[python3, programs/hello.py]", "[sleep, '3600']")
    (fleet.folder / "agents/demo/stuck.yaml").write_text(stuck)
    fleet.commit()
    with started(fleet) as daemon:
        daemon.until("change-started", agent="demo/stuck")
        daemon.until("change-ended", agent="demo/hello", action="create", outcome="applied")
        edit("agents/demo/hello.yaml", "replicas: 1", "replicas: 2")
        fleet.commit()
        daemon.until("change-ended", agent="demo/hello", action="scale", outcome="applied")
        assert not [line for line in daemon.said if line["event"] == "change-ended" and line["agent"] == "demo/stuck"]
        edit("agents/demo/stuck.yaml", "[sleep, '3600']", "[python3, programs/hello.py]")
        fleet.commit()
        daemon.until("change-ended", agent="demo/stuck", outcome="applied")
        assert daemon.end() == 0
    assert "No changes" in fleet("plan", code=0).out


def test_a_file_that_breaks_freezes_its_agent_and_nothing_else(fleet: Program, edit: Edit) -> None:
    with started(fleet) as daemon:
        daemon.until("change-ended", action="create", outcome="applied")
        edit("agents/demo/hello.yaml", "kind: Agent", "kind: [Agent")
        fleet.commit()
        told = daemon.when(lambda line: bool(line.get("findings")), "findings")
        assert "demo/hello" in str(told["held"])
        assert daemon.process.poll() is None
        edit("agents/demo/hello.yaml", "kind: [Agent", "kind: Agent")
        edit("agents/demo/hello.yaml", "replicas: 1", "replicas: 2")
        fleet.commit()
        daemon.until("change-ended", action="scale", outcome="applied")
        assert daemon.end() == 0


def test_one_that_only_plans_tells_what_it_would_do_and_writes_nothing(fleet: Program) -> None:
    with started(fleet, "--mode", "plan-only") as daemon:
        assert daemon.until("planned")["changes"] == {"create": 1}
        assert daemon.end() == 0
    assert json.loads(fleet("get", "agents", "-o", "json").out)["items"] == []


def test_the_second_stands_by_and_takes_over(fleet: Program) -> None:
    with started(fleet) as first:
        first.until("change-ended", action="create", outcome="applied")
        with started(fleet) as second:
            assert "daemon of" in second.until("stands-by")["reason"]
            assert first.end() == 0
            second.until("leads")
            second.until("planned", changes={})
            assert second.end() == 0


def test_it_follows_a_branch_of_a_remote_repository(fleet: Program, tmp_path: Path, edit: Edit) -> None:
    (fleet.folder / "fleet.yaml").write_text(
        "apiVersion: agents.codevald.io/v1\nkind: Fleet\nmetadata: {name: far}\n"
        "spec: {clusters: [{name: local, embedded: {run: nothing}}]}\n"
    )
    fleet.commit()
    fleet.git("branch", "live")
    state = tmp_path / "state"
    state.mkdir()
    away = Program(state, fleet.home)
    with started(away, "--repo", str(fleet.folder), "--branch", "live") as daemon:
        daemon.until("change-ended", agent="demo/hello", action="create", outcome="applied")
        edit("agents/demo/hello.yaml", "replicas: 1", "replicas: 3")
        fleet.commit()
        fleet.git("branch", "--force", "live")
        daemon.until("change-ended", agent="demo/hello", action="scale", outcome="applied", ready="3/3")
        assert daemon.end() == 0
    assert json.loads(away("get", "agents", "-o", "json", code=0).out)["items"][0]["replicas"] == 3
    assert "(live)" in away("plan", code=0).out
    away("scale", "demo/hello", "--replicas", "2", "--reason", "by hand", code=0)
    again = away("daemon", code=1)
    assert f"a mirror of {fleet.folder} and no fleet.yaml" in again.err
    assert f"--repo URL --state {state}" in again.err
    live = away("render", "demo/hello", code=0).out
    (tmp_path / "live.yaml").write_text(live)
    assert "would be in no commit" in away("import", "-f", str(tmp_path / "live.yaml"), code=1).err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--poll", "soon"], "--poll"),
        (["--poll", "10ms"], "must be at least 1s"),
        (["--listen", "80"], "no address"),
        (["--state", "x"], "go with --repo"),
        (["--repo", "ext::sh -c id"], "not the address"),
        (["--branch", "--upload-pack=x"], "not a ref"),
    ],
)
def test_what_cannot_be_meant_is_told(fleet: Program, options: list[str], said: str) -> None:
    done = fleet("daemon", *options, code=1)
    assert said in done.err
