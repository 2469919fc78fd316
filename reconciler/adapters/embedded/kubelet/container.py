"""One container: a process that is started, probed, restarted with back-off, and stopped.

Its facts are for the pod's status; every change of them is told by `changed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.adapters.embedded.kubelet import probes
from reconciler.adapters.embedded.kubelet.environment import LaunchError
from reconciler.adapters.embedded.kubelet.files import ConfigError
from reconciler.adapters.embedded.kubelet.machine import Identity
from reconciler.adapters.embedded.kubelet.probes import Tally, Timing
from reconciler.adapters.embedded.kubelet.process import Ended, Launch, Process, limit_files
from reconciler.adapters.embedded.kubelet.status import ContainerFacts, waiting
from reconciler.adapters.embedded.times import stamp

Body = dict[str, Any]
FIRST_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 300.0
WELL_SECONDS = 60.0
"""A run of this length forgets earlier failures."""
CONFIG_RETRY_SECONDS = 1.0
MAX_LAUNCH_RETRY_SECONDS = 30.0
PORT_TAKEN_SECONDS = 10.0
MAX_PORT_CHANGES = 5

log = logging.getLogger(__name__)


def backoff(failures: int) -> float:
    """Seconds before the next start, after `failures` runs in a row that ended: at once, then 1 s, doubling to 5 min.

    As Kubernetes, whose steps begin at 10 s: too long for people who wait at their own machine.
    """
    if failures <= 1:
        return 0.0
    return min(FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 2, 16), MAX_BACKOFF_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a container needs of its pod.

    `grace`: seconds between SIGTERM and SIGKILL. `prepare` writes files and gives what to start (raises ConfigError,
    LaunchError, OSError); `ports` are those of the pod; `taken` says whether a port of this container is somebody
    else's, and gives it new ones.
    """

    name: str
    grace: float
    prepare: Callable[[Body], Awaitable[Launch]]
    start: Callable[[Launch], Awaitable[Process]]
    ports: Callable[[], Mapping[str, int]]
    taken: Callable[[Body], Awaitable[bool]]
    changed: Callable[[], None]


class Container:
    """A container of a pod. `once`: an init container, which is to succeed and then is done."""

    def __init__(
        self, spec: Body, facts: ContainerFacts, around: Surroundings, *, policy: str, once: bool = False
    ) -> None:
        self.spec = spec
        self.facts = facts
        self.process: Process | None = None
        self._around = around
        self._policy = policy
        self.once = once
        self._failures = 0
        self._port_changes = 0
        self._started = 0.0
        self._stopping = asyncio.Event()
        self._oom = False
        self._said = ""
        self._launch: Launch | None = None
        self._starting: asyncio.Future[Process] | None = None

    def adopt(self) -> bool:
        """Take over the process that an earlier supervisor left; False when it is gone."""
        identity = Identity.parse(self.facts.identity) if "running" in self.facts.state else None
        self.process = Process.adopt(identity) if identity else None
        if self.process is not None:
            self._started = time.monotonic()
            return True
        if "running" in self.facts.state:
            self._record(Ended(code=None))
            self.facts.last = self.facts.state
            self.facts.restarts += 1
        return False

    async def run(self) -> None:
        """Keep it running, until it is stopped or its restart policy says that it is done."""
        if self.once and self._succeeded():
            return
        if "terminated" in self.facts.state and not self._wants_restart():
            return
        while not self._stopping.is_set():
            if self.process is None and not await self._start():
                continue
            if self._stopping.is_set():
                return  # `stop` ends what has just been started
            await self._live()
            if self._stopping.is_set() or not self._wants_restart():
                return
            self.facts.restarts += 1
            await self._back_off()

    def unready(self) -> None:
        self.facts.ready = False

    async def stop(self, grace: float) -> None:
        """End it: preStop, SIGTERM, and SIGKILL when `grace` seconds are over. What is just being started is waited
        for: it comes up whoever waits for it, and would run on without its pod.
        """
        self._stopping.set()
        self.facts.ready = False
        end = time.monotonic() + grace
        if (starting := self._starting) is not None:
            await asyncio.wait({starting})
            failed = starting.cancelled() or starting.exception() is not None
            self.process = None if failed else starting.result()
        process = self.process
        if process is None:
            return
        hook = self.spec.get("lifecycle", {}).get("preStop")
        if hook and grace > 0:
            ending = asyncio.ensure_future(process.wait())
            hooked = asyncio.ensure_future(self._hook(hook))
            await asyncio.wait({ending, hooked}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            hooked.cancel()
        self._record(await process.stop(max(0.0, end - time.monotonic())))

    def kill_for_memory(self, used: int, limit: int) -> None:
        """End it as the kernel would end a container over its memory limit."""
        if self.process is not None and not self._oom:
            self._oom = True
            self._said = f"used {used} bytes of memory, its limit is {limit}"
            log.warning("%s: container %s %s: killed", self._around.name, self.spec["name"], self._said)
            self.process.signal(signal.SIGKILL)

    def leave(self) -> None:
        """Let the process run on without us."""
        self._stopping.set()
        if self.process is not None:
            self.process.forget()

    async def _start(self) -> bool:
        """Start the process; False when that is not possible now, after having waited for a while."""
        try:
            self._launch = await self._around.prepare(self.spec)
            if self._stopping.is_set():
                return False
            self._starting = asyncio.ensure_future(self._around.start(self._launch))
            self.process = await asyncio.shield(self._starting)
            self._starting = None
        except ConfigError as error:
            await self._wait("CreateContainerConfigError", str(error), CONFIG_RETRY_SECONDS)
            return False
        except (LaunchError, OSError) as error:
            reason, message = (
                (error.reason, error.message) if isinstance(error, LaunchError) else ("RunContainerError", str(error))
            )
            self._failures += 1
            await self._wait(reason, message, min(backoff(self._failures + 1), MAX_LAUNCH_RETRY_SECONDS))
            return False
        self._started = time.monotonic()
        self._oom, self._said = False, ""
        facts = self.facts
        facts.state = {"running": {"startedAt": stamp(time.time())}}
        facts.identity = str(self.process.identity)
        facts.started = "startupProbe" not in self.spec
        facts.ready = facts.started and "readinessProbe" not in self.spec
        facts.unwell = ""
        self._around.changed()
        return True

    async def _live(self) -> None:
        """Until the process ends, with its probes running beside."""
        process = self.process
        if process is None:
            return
        probing = asyncio.create_task(self._probe_all(process))
        try:
            ended = await process.wait()
        finally:
            probing.cancel()
        if probing.done() and not probing.cancelled() and (error := probing.exception()):
            log.error("%s: probes of container %s failed", self._around.name, self.spec["name"], exc_info=error)
        self._record(ended)

    def _record(self, ended: Ended) -> None:
        """Write down how it ended."""
        self.process = None
        facts = self.facts
        if "terminated" in facts.state:
            return
        started = facts.state.get("running", {}).get("startedAt", stamp(time.time()))
        state: Body = {"startedAt": started, "finishedAt": stamp(time.time()), "containerID": facts.identity}
        if ended.code is None:
            state |= {
                "exitCode": 137,
                "reason": "ContainerStatusUnknown",
                "message": "it ended while no supervisor watched",
            }
        else:
            state |= {"exitCode": ended.code, "reason": "Completed" if ended.code == 0 else "Error"}
        if ended.signal:
            state["signal"] = ended.signal
        if self._oom:
            state |= {"exitCode": 137, "signal": int(signal.SIGKILL), "reason": "OOMKilled"}
        if self._said:
            state["message"] = self._said
        facts.state = {"terminated": state}
        facts.ready = facts.started = False
        self._around.changed()

    def _succeeded(self) -> bool:
        return bool(self.facts.state.get("terminated", {}).get("exitCode") == 0)

    def _wants_restart(self) -> bool:
        if self.once:
            return not self._succeeded() and self._policy != "Never"
        return self._policy == "Always" or (self._policy == "OnFailure" and not self._succeeded())

    async def _back_off(self) -> None:
        """Wait before the next start. A port that somebody else took is changed, and does not count."""
        ran = time.monotonic() - self._started
        self.facts.last = self.facts.state
        if ran < PORT_TAKEN_SECONDS and self._port_changes < MAX_PORT_CHANGES and await self._around.taken(self.spec):
            self._port_changes += 1
            return
        self._failures = 1 if ran >= WELL_SECONDS else self._failures + 1
        pause = backoff(self._failures)
        if pause:
            name = self.spec["name"]
            await self._wait("CrashLoopBackOff", f"back-off {pause:g}s restarting failed container={name}", pause)

    async def _wait(self, reason: str, message: str, seconds: float) -> None:
        self.facts.state = waiting(reason, message)
        self.facts.ready = False
        self._around.changed()
        await self._sleep(seconds)

    async def _sleep(self, seconds: float) -> None:
        """Sleep, or wake when it is to be stopped."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _probe_all(self, process: Process) -> None:
        probe = self.spec.get("startupProbe")
        if probe and not self.facts.started and not await self._until_started(probe, process):
            return
        async with asyncio.TaskGroup() as group:
            if probe := self.spec.get("readinessProbe"):
                group.create_task(self._keep_ready(probe))
            elif not self.facts.ready:
                self._set_ready(True, "")
            if probe := self.spec.get("livenessProbe"):
                group.create_task(self._keep_alive(probe, process))

    async def _until_started(self, probe: Body, process: Process) -> bool:
        tally = Tally(timing=Timing.of(probe))
        async for result in self._looks(probe, tally):
            if tally.verdict:
                self.facts.started = True
                self._around.changed()
                return True
            if tally.verdict is False:
                await self._end(process, probe, f"startup probe failed: {result.message}")
                return False
        return False

    async def _keep_ready(self, probe: Body) -> None:
        tally = Tally(timing=Timing.of(probe), verdict=self.facts.ready or None)
        async for result in self._looks(probe, tally):
            self._set_ready(bool(tally.verdict), "" if result.ok else f"readiness probe failed: {result.message}")

    async def _keep_alive(self, probe: Body, process: Process) -> None:
        tally = Tally(timing=Timing.of(probe), verdict=True)
        async for result in self._looks(probe, tally):
            if tally.verdict is False:
                await self._end(process, probe, f"liveness probe failed: {result.message}")
                return

    async def _looks(self, probe: Body, tally: Tally) -> AsyncGenerator[probes.Result, None]:
        """Results of a probe, one a period; sooner until the first success, with failures counted once a period."""
        timing = tally.timing
        await asyncio.sleep(timing.delay)
        soon = probes.FIRST_LOOK_SECONDS
        since = 0.0
        while True:
            result = await probes.attempt(probe, self._around.ports(), self._run)
            if result.ok is None:
                log.warning("%s: container %s not probed: %s", self._around.name, self.spec["name"], result.message)
                await asyncio.sleep(timing.period)
                continue
            early = not result.ok and tally.verdict is None and soon < timing.period
            if not early or since >= timing.period:
                tally.count(ok=result.ok)
                since = 0.0
            yield result
            pause = soon if early else timing.period
            soon, since = soon * 2, since + pause
            await asyncio.sleep(pause)

    async def _end(self, process: Process, probe: Body, why: str) -> None:
        self._said = why
        log.warning("%s: container %s: %s: restarted", self._around.name, self.spec["name"], why)
        await process.stop(float(probe.get("terminationGracePeriodSeconds", self._around.grace)))

    def _set_ready(self, ready: bool, unwell: str) -> None:  # noqa: FBT001 - its only meaning
        if self._stopping.is_set():
            return
        if (ready, unwell) != (self.facts.ready, self.facts.unwell):
            self.facts.ready, self.facts.unwell = ready, unwell
            self._around.changed()

    async def _hook(self, hook: Body) -> None:
        if action := hook.get("sleep"):
            await asyncio.sleep(float(action.get("seconds", 0)))
        elif action := hook.get("exec"):
            await self._run([str(word) for word in action.get("command", ())])
        elif action := hook.get("httpGet"):
            try:
                await probes.http_get(action, self._around.ports())
            except (OSError, ValueError) as error:
                log.warning("%s: preStop of container %s: %s", self._around.name, self.spec["name"], error)

    async def _run(self, command: list[str]) -> int:
        """A command in the container's surroundings (exec probes, hooks). It is ended with the task that waits for it,
        and with it whatever it has started: its group is not the container's, where the end would find them.
        """
        launch = self._launch or await self._around.prepare(self.spec)
        try:
            child = await asyncio.create_subprocess_exec(
                *command,
                env=dict(launch.env),
                cwd=launch.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise OSError(error.errno, f"{command[:1]}: {error.strerror}") from error
        limit_files(child.pid)
        try:
            return await child.wait()
        finally:
            if child.returncode is None:  # not reaped: the number is still that of its group
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
