"""One process of this machine: started in a session of its own, watched to its end, signalled as a group.

Works alike for children and for processes that an earlier supervisor left (those cannot be waited for: their end is
seen, their exit code is not).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from reconciler.adapters.embedded.kubelet import machine
from reconciler.adapters.embedded.kubelet.machine import Identity

POLL_SECONDS = 0.2
"""How often the end of a process is looked for where the system cannot tell."""
MOST_FILES = 65_536
_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)
"""How many files a process may open, soft and hard, before `open_more_files`: what is started gets the same."""


def open_more_files() -> None:
    """Let this process open as many files as the system lets it, up to MOST_FILES: it holds connections of all pods."""
    soft, hard = _FILES
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def limit_files(pid: int) -> None:
    """Hold a child to what this process began with: programs that `select` break with more. Linux only."""
    if sys.platform == "linux" and resource.getrlimit(resource.RLIMIT_NOFILE) != _FILES:
        with contextlib.suppress(OSError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, _FILES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended. `code` is as a shell says it (128 + signal); None when it was not our child."""

    code: int | None
    signal: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to start. `executable` is a path; `argv[0]` is what the process is told that it is."""

    executable: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    log: Path


class Process:
    """A running process group. Made by `start` or `adopt`."""

    def __init__(self, identity: Identity, child: subprocess.Popen[bytes] | None) -> None:
        self.identity = identity
        self._child = child
        self._ended: Ended | None = None
        self._watch: asyncio.Task[Ended] | None = None

    @property
    def pid(self) -> int:
        return self.identity.pid

    @classmethod
    def start(cls, launch: Launch) -> Process:
        """Start it with stdin from nowhere and its output appended to its log. Blocks some ms. Raises OSError."""
        log = os.open(launch.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            child = subprocess.Popen(
                list(launch.argv),
                executable=launch.executable,
                env=dict(launch.env),
                cwd=launch.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                close_fds=True,
            )
        finally:
            os.close(log)
        limit_files(child.pid)
        try:
            identity = machine.identify(child.pid) or Identity(pid=child.pid, start="?", boot=machine.boot())
        except OSError:  # nobody could know it again
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        return cls(identity, child)

    @classmethod
    def adopt(cls, identity: Identity) -> Process | None:
        """Take over a process that runs already; None when it is gone."""
        return cls(identity, None) if _runs(identity) else None

    async def wait(self) -> Ended:
        """Until it has ended; then what is left of its group is ended too."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._see_end())
        return await asyncio.shield(self._watch)

    def forget(self) -> None:
        """Stop watching, and let it run on: the next supervisor takes it over."""
        if self._watch is not None:
            self._watch.cancel()
        if self._child is not None and self._ended is None:
            self._child.returncode = 0  # nobody waits for it any more, and that is meant

    async def stop(self, grace: float) -> Ended:
        """SIGTERM to the group, SIGKILL after `grace` seconds."""
        self.signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.wait(), grace)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            return await self.wait()

    def signal(self, number: int) -> None:
        """Signal the whole group, if it is still this process's."""
        if self._ended is None and (self._child is not None or _runs(self.identity)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def _see_end(self) -> Ended:
        await self._until_gone()
        while not self._end_rest():  # noqa: ASYNC110 - nobody tells when the system can be asked again
            await asyncio.sleep(POLL_SECONDS)
        self._ended = self._reap()
        return self._ended

    async def _until_gone(self) -> None:
        bell = _bell(self.pid)
        if bell is None:
            while not self._gone():  # noqa: ASYNC110 - this is for systems that have nothing to wait for
                await asyncio.sleep(POLL_SECONDS)
            return
        loop = asyncio.get_running_loop()
        rung = asyncio.Event()
        try:
            if self._child is None and not _runs(self.identity):
                return
            loop.add_reader(bell.fileno(), rung.set)
            await rung.wait()
        finally:
            loop.remove_reader(bell.fileno())
            bell.close()

    def _gone(self) -> bool:
        if self._child is None:
            return not _runs(self.identity)
        try:
            return machine.identify(self.pid) is None
        except OSError:
            return False

    def _end_rest(self) -> bool:
        """End what is left of the group: while a child is not reaped, its pid (the group's id) is not given again.

        False when it cannot be told now what is left.
        """
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            return True
        try:
            rows = machine.table() if machine.identify(self.pid) is None else []
        except OSError:
            return False
        for row in rows:
            if row.group == row.session == self.pid and row.pid != self.pid:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(row.pid, signal.SIGKILL)
        return True

    def _reap(self) -> Ended:
        if self._child is None:
            return Ended(code=None)
        code = self._child.wait()
        return Ended(code=128 - code, signal=-code) if code < 0 else Ended(code=code)


def _runs(identity: Identity) -> bool:
    """Whether it runs, as far as can be told: of what cannot be looked at, the end will be seen later."""
    try:
        return machine.is_running(identity)
    except OSError:
        return True


class _Bell(Protocol):
    """Becomes readable when a process has ended."""

    def fileno(self) -> int: ...
    def close(self) -> None: ...


def _bell(pid: int) -> _Bell | None:
    """Linux: a pidfd; macOS and the BSDs: a kqueue. None where there is neither, or the process is gone already."""
    try:
        if sys.platform == "linux":
            return os.fdopen(os.pidfd_open(pid), "rb", buffering=0)
        if hasattr(select, "kqueue"):
            queue = select.kqueue()
            flags = select.KQ_EV_ADD | select.KQ_EV_ONESHOT
            event = select.kevent(pid, select.KQ_FILTER_PROC, flags, select.KQ_NOTE_EXIT)
            queue.control([event], 0)
            return cast("_Bell", queue)
    except OSError:
        return None
    return None
