"""Plugins as they are: well, slow, loud, broken, with children of their own; and who may be one at all."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.plugins import Installed, PluginProber, finding
from reconciler.adapters.plugins.breaker import FAILURES, FIRST_S, MOST_S, Breaker
from reconciler.model.errors import ReconcilerError
from reconciler.model.health import Endpoint, HttpProbe, PluginProbe, Sample
from reconciler.model.identity import AgentName
from tests.daemon.waiting import until
from tests.doubles.clock import FakeClock

TRIAGE = AgentName.parse("support/triage")
WELL = "import json, sys; json.load(sys.stdin); print(json.dumps({'healthy': True}))"


class Folder:
    """A folder with plugins, and who runs them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock()
        self.prober = PluginProber(clock=SystemClock(), installed=Installed(path))

    def add(self, name: str, program: str) -> Path:
        path = self.path / name
        path.write_text(f"#!{sys.executable} -I\n{program}\n")
        path.chmod(0o755)
        return path

    async def run(self, name: str, **more: object) -> Sample:
        return await self.prober.probe(PluginProbe(plugin=name, agent=TRIAGE, endpoints=(), **more))  # type: ignore[arg-type]


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Folder]:
    path = tmp_path / "plugins"
    path.mkdir(mode=0o755)
    made = Folder(path)
    yield made
    await made.prober.close()


async def test_a_plugin_is_told_what_it_looks_at_and_says_how_it_is(folder: Folder, tmp_path: Path) -> None:
    seen = tmp_path / "seen.json"
    folder.add("queue", f"import sys; open({str(seen)!r}, 'w').write(sys.stdin.read()); print('{{\"healthy\": true}}')")
    endpoint = Endpoint(pod="triage-1", host="10.0.0.7", ports={"http": 8080})
    request = PluginProbe(plugin="queue", agent=TRIAGE, endpoints=(endpoint,), config={"queue": "mail", "deep": [1]})
    sample = await folder.prober.probe(request)
    assert (sample.ok, sample.problem) == (True, "")
    assert sample.latency_ms > 0
    assert json.loads(seen.read_text()) == {
        "version": 1,
        "agent": "support/triage",
        "config": {"queue": "mail", "deep": [1]},
        "timeoutMs": 5000,
        "endpoints": [{"pod": "triage-1", "host": "10.0.0.7", "ports": {"http": 8080}}],
    }


async def test_a_plugin_that_finds_an_agent_unwell_says_why(folder: Folder) -> None:
    folder.add("queue", 'print(\'{"healthy": false, "text": "9000 wait\\\\u001b[31m"}\')')
    sample = await folder.run("queue")
    assert (sample.ok, sample.refused, sample.problem) == (False, False, "9000 wait [31m")


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("raise SystemExit(3)", "plugin odd: it ended with exit code 3"),
        ("raise RuntimeError('no such queue')", "it ended with exit code 1: RuntimeError: no such queue"),
        ("import os; os.abort()", "it ended with signal 6"),
        ("print('fine')", "what it answers is not JSON"),
        ("print('[' * 50000)", "what it answers is not JSON"),
        ("print('{\"healthy\": 1}')", 'no "healthy" that is true or false'),
        ("pass", "what it answers is not JSON"),
        ("while True: print('x' * 1000)", "it says more than it may"),
        ("import sys\nwhile True: sys.stderr.write('x' * 1000)", "it says more than it may"),
        ("import time; time.sleep(600)", "it did not end within 0.5 s"),
        ("import os, time; os.close(1); os.close(2); time.sleep(600)", "it did not end within 0.5 s"),
        ("while True: pass", "it did not end within 0.5 s"),
    ],
)
async def test_what_a_plugin_fails_at_says_nothing_of_the_agent(folder: Folder, program: str, problem: str) -> None:
    folder.add("odd", program)
    limit_ms = 500 if "0.5 s" in problem else 60_000
    sample = await folder.run("odd", timeout_ms=limit_ms)
    assert sample.refused
    assert problem in sample.problem


async def test_a_plugin_that_does_not_listen_is_not_waited_for(folder: Folder) -> None:
    folder.add("deaf", "print('{\"healthy\": true}')")
    assert (await folder.run("deaf", config={"much": "x" * 1_000_000})).ok


async def test_children_of_a_plugin_end_with_it(folder: Folder, tmp_path: Path) -> None:
    note = tmp_path / "child"
    folder.add(
        "parent",
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(note)!r}, 'w').write(str(child.pid))\n"
        "print('{\"healthy\": true}', flush=True)",
    )
    assert (await folder.run("parent")).ok, "a child that keeps its output open is not waited for"
    await until(lambda: not alive(int(note.read_text())))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] not in "ZX"
    except FileNotFoundError:
        return False


async def test_a_plugin_gets_nothing_of_our_environment(folder: Folder, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ARANGO_PASSWORD", "secret")
    seen = tmp_path / "seen"
    folder.add(
        "nosy",
        "import os; files = os.listdir('/proc/self/fd')\n"
        f"open({str(seen)!r}, 'w').write(str(sorted(os.environ)) + os.getcwd() + str(files))\n"
        "print('{\"healthy\": true}')",
    )
    assert (await folder.run("nosy")).ok
    text = seen.read_text()
    assert text.startswith(("['HOME', 'LANG', 'PATH']/[", "['HOME', 'LANG', 'LC_CTYPE', 'PATH']/["))
    assert "secret" not in text
    assert len(json.loads(text[text.index("/[") + 1 :].replace("'", '"'))) <= 5, "no open file is handed on"


@pytest.mark.parametrize("name", ["../evil", "/bin/true", "", "a/b", ".hidden", "A", "x" * 64, "a\nb", "-rf"])
async def test_a_name_is_never_a_path(folder: Folder, name: str) -> None:
    sample = await folder.run(name)
    assert sample.refused
    assert "is no name of a plugin" in sample.problem


def test_a_folder_that_is_not_the_operators_alone_is_told_before_anything_begins(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    assert Installed.given(folder, repository=tmp_path / "fleet").folder == folder
    with pytest.raises(ReconcilerError, match="inside of the repository"):
        Installed.given(folder, repository=tmp_path)
    folder.chmod(0o777)
    with pytest.raises(ReconcilerError, match="can be written by others"):
        Installed.given(folder, repository=None)


async def test_what_is_not_there_or_not_to_be_trusted_is_not_run(folder: Folder) -> None:
    assert "no plugin nobody is in" in (await folder.run("nobody")).problem
    folder.add("open", WELL).chmod(0o777)
    assert "can be written by others" in (await folder.run("open")).problem
    folder.add("text", WELL).chmod(0o644)
    assert "is no executable file" in (await folder.run("text")).problem
    folder.add("fine", WELL)
    folder.path.chmod(0o777)
    assert "can be written by others" in (await folder.run("fine")).problem
    folder.path.chmod(0o755)
    assert (await folder.run("fine")).ok
    broken = folder.path / "format"
    broken.write_bytes(b"\x7fELF nothing")
    broken.chmod(0o755)
    assert "it cannot be started" in (await folder.run("format")).problem


async def test_without_a_folder_only_what_is_installed_counts() -> None:
    prober = PluginProber(clock=FakeClock(), installed=Installed())
    sample = await prober.probe(PluginProbe(plugin="queue", agent=TRIAGE, endpoints=()))
    assert sample.problem == "not measured: no plugin queue is installed here"
    assert (await prober.probe(HttpProbe(host="127.0.0.1", port=1))).refused
    await prober.close()


async def test_an_entry_point_runs_in_a_process_of_its_own(tmp_path: Path, monkeypatch) -> None:
    """As installed: a package with a module and its entry point on the path of the interpreter."""
    site = tmp_path / "site"
    (site / "queues-1.dist-info").mkdir(parents=True)
    (site / "queues-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: queues\nVersion: 1\n")
    (site / "queues-1.dist-info" / "entry_points.txt").write_text("[reconciler.health]\nqueue = queues:check\n")
    (site / "queues.py").write_text(
        "import os\n"
        "def check(request):\n"
        "    print('a word on the way')\n"
        "    return {'healthy': request['config']['pid'] != os.getpid(), 'text': request['agent']}\n"
    )
    assert EntryPoint("queue", "queues:check", finding.GROUP)
    monkeypatch.syspath_prepend(str(site))
    finding._entry_points.cache_clear()
    try:
        command = Installed().command("queue")
    finally:
        finding._entry_points.cache_clear()
    assert command == (sys.executable, "-I", "-m", finding.CHILD, "queue")
    given = json.dumps({"agent": "support/triage", "config": {"pid": os.getpid()}}).encode()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", finding.CHILD, "queue",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join([str(site), *sys.path])},
    )  # fmt: skip
    out, err = await child.communicate(given)
    assert json.loads(out) == {"healthy": True, "text": "support/triage"}
    assert err.decode().strip() == "a word on the way"


async def test_a_plugin_that_fails_again_and_again_is_left_in_peace(folder: Folder, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    fail = f"open({str(runs)!r}, 'a').write('x'); raise SystemExit(1)"
    folder.add("broken", fail)
    folder.prober.clock = folder.clock
    for _ in range(FAILURES + 2):
        sample = await folder.run("broken")
    assert len(runs.read_text()) == FAILURES
    assert "failed 3 times in a row, tried again in 60 s; it ended with exit code 1" in sample.problem
    folder.clock.advance(FIRST_S)
    folder.add("broken", WELL)
    assert (await folder.run("broken")).ok, "one is let through to try"
    folder.add("broken", fail)
    assert "left" not in (await folder.run("broken")).problem


def test_a_breaker_opens_waits_tries_one_and_waits_longer() -> None:
    breaker = Breaker()
    for number in range(FAILURES):
        assert breaker.closed_for(0.0) == 0.0
        breaker.failed(f"why {number}", 0.0)
    assert breaker.closed_for(10.0) == FIRST_S - 10.0
    breaker.failed("one that began before", 11.0)
    assert breaker.closed_for(FIRST_S) == 0.0
    assert breaker.closed_for(FIRST_S) > 0, "one at a time"
    breaker.let_go()
    assert breaker.closed_for(FIRST_S) == 0.0
    breaker.failed("still", FIRST_S)
    assert breaker.closed_for(FIRST_S) == 2 * FIRST_S
    now = FIRST_S
    for _ in range(2_000):  # three weeks of failing
        now += breaker.closed_for(now)
        assert breaker.closed_for(now) == 0.0
        breaker.failed("still", now)
    assert breaker.closed_for(now) == MOST_S
    now += MOST_S
    assert breaker.closed_for(now) == 0.0
    breaker.worked()
    assert breaker.closed_for(now) == 0.0
    assert breaker.failures == 0


async def test_few_plugins_run_at_once_and_none_waits_for_ever(folder: Folder, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    folder.add(
        "slow",
        f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\nprint('{{\"healthy\": true}}')",
    )
    folder.prober.patience_s = 0.2
    runs = [asyncio.create_task(folder.run("slow", timeout_ms=60_000)) for _ in range(folder.prober.at_once + 2)]
    done, pending = await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
    await until(lambda: sum(run.done() for run in runs) == 2)
    assert all("no turn for plugin slow within 0.2 s" in run.result().problem for run in done)
    gate.touch()
    assert all(sample.ok or sample.refused for sample in await asyncio.gather(*runs))
    assert sum(run.result().ok for run in runs) == folder.prober.at_once
    assert len(pending) >= folder.prober.at_once


async def test_closing_breaks_off_what_runs(folder: Folder) -> None:
    folder.add("slow", "import time; time.sleep(600)")
    running = asyncio.create_task(folder.run("slow", timeout_ms=600_000))
    await asyncio.sleep(0)
    await folder.prober.close()
    assert (await asyncio.wait_for(running, 20)).refused
    assert (await folder.run("slow")).refused, "nothing is run after that"
