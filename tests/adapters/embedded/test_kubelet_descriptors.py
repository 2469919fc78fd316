"""A supervisor that can open no more files: what it cannot look at is neither gone nor unwell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.adapters.embedded.kubelet import machine, probes
from reconciler.adapters.embedded.kubelet.machine import Identity
from reconciler.adapters.embedded.kubelet.process import Process
from tests.adapters.embedded.test_kubelet_container import Threads, container

RAISED = """
import asyncio, pathlib, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 1024))
from reconciler.adapters.embedded.kubelet import process
process.open_more_files()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (1024, 1024)
async def main():
    argv, here = ("sh", "-c", "sleep 0.3; ulimit -S -n; ulimit -H -n"), pathlib.Path(sys.argv[1])
    launch = process.Launch(executable="/bin/sh", argv=argv, env={}, cwd=here, log=here / "log")
    await process.Process.start(launch).wait()
asyncio.run(main())
"""


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """No file can be opened, and no socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def sleeper() -> Iterator[Identity]:
    """A process that an earlier supervisor left."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    identity = machine.identify(child.pid)
    assert identity is not None
    yield identity
    child.kill()
    child.wait()


async def never(_command: list[str]) -> int:
    raise AssertionError


@pytest.mark.parametrize("kind", ["httpGet", "tcpSocket", "grpc"])
async def test_a_probe_for_which_nothing_can_be_opened_has_no_result(kind: str) -> None:
    with nothing_left():
        result = await probes.attempt({kind: {"port": 1}}, {}, never)
    assert result.ok is None
    assert result.message == "Too many open files"


async def test_a_container_is_not_ended_for_probes_that_could_not_be_made() -> None:
    threads = Threads()
    threads.prepared.set()
    threads.forked.set()
    probe = {"exec": {"command": ["/bin/true"]}, "failureThreshold": 1}
    made = container(threads, livenessProbe=probe, readinessProbe=probe)
    with nothing_left():
        running = asyncio.create_task(made.run())
        await asyncio.sleep(0.2)
        assert threads.process is not None
        assert not threads.process.over.is_set()
        assert not made.facts.unwell
    await made.stop(1.0)
    await running


async def test_a_process_that_cannot_be_looked_at_is_still_there(sleeper: Identity) -> None:
    machine.boot.cache_clear()
    with nothing_left():
        process = Process.adopt(sleeper)
        assert process is not None
        waiting = asyncio.create_task(process.wait())
        await asyncio.sleep(0.5)
        assert not waiting.done()
    assert machine.is_running(sleeper)
    os.kill(sleeper.pid, signal.SIGKILL)
    await waiting


@pytest.mark.skipif(not machine.LINUX, reason="elsewhere limits of other processes cannot be set")
def test_a_supervisor_opens_as_many_files_as_it_may_and_its_processes_as_many_as_before(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", RAISED, str(tmp_path)], check=True, timeout=60)
    assert (tmp_path / "log").read_text() == "256\n1024\n"
