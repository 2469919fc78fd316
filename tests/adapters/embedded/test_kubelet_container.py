"""A container whose pod is ended while its process comes up, and pods of several containers of which one fails us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.embedded.kubelet import pod as pods
from reconciler.adapters.embedded.kubelet.container import Container, Surroundings
from reconciler.adapters.embedded.kubelet.files import ConfigError, Sources
from reconciler.adapters.embedded.kubelet.machine import Identity, identify
from reconciler.adapters.embedded.kubelet.pod import Pod, Surface
from reconciler.adapters.embedded.kubelet.ports import PortBook
from reconciler.adapters.embedded.kubelet.probes import attempt
from reconciler.adapters.embedded.kubelet.process import Ended, Launch
from reconciler.adapters.embedded.kubelet.status import ContainerFacts
from reconciler.model.identity import ObjectRef

SPEC = {"name": "c", "image": "none", "command": ["sleep", "600"]}


class FakeProcess:
    """A process of which only is known whether it runs."""

    pid = 4_000_000
    identity = Identity(pid=pid, start="1", boot="b")

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def wait(self) -> Ended:
        await self.over.wait()
        return Ended(code=0)

    async def stop(self, _grace: float) -> Ended:
        self.over.set()
        return await self.wait()


class Threads:
    """What a pod does in threads: it goes on to its end, whoever stops waiting for it."""

    def __init__(self) -> None:
        self.preparing, self.prepared = asyncio.Event(), asyncio.Event()
        self.forking, self.forked = asyncio.Event(), asyncio.Event()
        self.process: FakeProcess | None = None

    async def prepare(self, _spec: Any) -> Launch:
        self.preparing.set()
        await self.prepared.wait()
        return Launch(executable="sleep", argv=("sleep",), env={"PATH": "/usr/bin:/bin"}, cwd=Path(), log=Path())

    async def start(self, _launch: Launch) -> Any:
        return await asyncio.shield(asyncio.ensure_future(self._fork()))

    async def _fork(self) -> FakeProcess:
        self.forking.set()
        await self.forked.wait()
        self.process = FakeProcess()
        return self.process


async def nobody_else(_spec: Any) -> bool:
    return False


def container(threads: Threads, **more: Any) -> Container:
    around = Surroundings(
        name="ns/p",
        grace=1.0,
        prepare=threads.prepare,
        start=threads.start,
        ports=dict,
        taken=nobody_else,
        changed=lambda: None,
    )
    return Container({**SPEC, **more}, ContainerFacts(name="c", image="none"), around, policy="Always")


async def test_a_process_that_was_being_started_when_its_pod_was_ended_is_ended_too() -> None:
    threads = Threads()
    threads.prepared.set()
    made = container(threads)
    running = asyncio.create_task(made.run())
    await threads.forking.wait()
    stopping = asyncio.create_task(made.stop(1.0))
    await asyncio.sleep(0)
    threads.forked.set()
    await stopping
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert threads.process is not None
    assert threads.process.over.is_set()


async def test_a_container_that_was_being_prepared_when_its_pod_was_ended_is_not_started() -> None:
    threads = Threads()
    threads.forked.set()
    made = container(threads)
    running = asyncio.create_task(made.run())
    await threads.preparing.wait()
    await made.stop(1.0)
    threads.prepared.set()  # others of the pod take their time to end, and it is not cancelled before
    await running
    assert not threads.forking.is_set()


async def test_a_hook_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    threads, told = Threads(), tmp_path / "pid"
    threads.prepared.set()
    threads.forked.set()
    command = ["/bin/sh", "-c", f"sleep 600 & echo $! > {told}; wait"]
    made = container(threads, lifecycle={"preStop": {"exec": {"command": command}}})
    running = asyncio.create_task(made.run())
    await threads.forking.wait()
    await made.stop(1.0)
    await running
    helper = int(told.read_text())
    try:
        async with asyncio.timeout(10):
            while identify(helper):  # noqa: ASYNC110 - nobody tells of a grandchild's end
                await asyncio.sleep(0.01)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(helper, signal.SIGKILL)


async def test_a_container_that_fails_us_does_not_have_the_others_started_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []
    again = asyncio.Event()

    async def run(self: Container) -> None:
        name = str(self.spec["name"])
        runs.append(name)
        if runs.count("bad") == 2:
            again.set()
        elif name == "bad":
            raise RuntimeError("a fault of ours")
        await asyncio.Event().wait()

    monkeypatch.setattr(Container, "run", run)
    monkeypatch.setattr(pods, "RETRY_SECONDS", 0.0)
    ref = ObjectRef(group="", kind="Pod", namespace="ns", name="p")
    containers = [{**SPEC, "name": name} for name in ("bad", "good")]
    body = {"metadata": {"uid": "u", "name": "p", "namespace": "ns"}, "spec": {"containers": containers}}
    with ThreadPoolExecutor(1) as threads:
        sources = Sources(state=tmp_path, config_map=lambda _namespace, _name: None)
        surface = Surface(
            state=tmp_path, fleet=tmp_path, inherited={}, sources=sources, book=PortBook(), threads=threads,
            dirty=lambda _pod: None,
        )  # fmt: skip
        living = asyncio.create_task(Pod(ref, body, surface).run())
        await again.wait()
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
    assert sorted(runs) == ["bad", "bad", "good"]


async def test_a_probe_that_cannot_be_run_has_failed_and_ends_no_others() -> None:
    async def run(_command: list[str]) -> int:
        raise ConfigError("a secret is missing")

    result = await attempt({"exec": {"command": ["true"]}}, {}, run)
    assert not result.ok
    assert result.message == "a secret is missing"
