"""One run of a program: input in, output out, with a deadline and caps. Blocks; it is run in a thread of its own.

The program leads a process group, which is killed whole when the run is over, however it ends: before the leader is
reaped, so that its number cannot belong to somebody else by then.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

MAX_OUT = 64 * 1024
MAX_ERR = 1024 * 1024
KEPT_ERR = 4096
LOOK_S = 0.1
"""How often it is looked whether the run is to be broken off."""
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/"}
"""All that a plugin gets of an environment: credentials of the daemon are not its business."""


class PluginFailed(Exception):
    """A plugin did not do its work. Says nothing of what it was asked about."""


@dataclass(slots=True)
class _Talk:
    """What is still to be said, and what was heard."""

    given: memoryview
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    err_size: int = 0


def run(command: Sequence[str], given: bytes, *, limit_s: float, stop: threading.Event) -> bytes:
    """What a program writes to its standard output. Raises PluginFailed."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise PluginFailed(f"it cannot be started: {error.strerror}") from error
    talk = _Talk(memoryview(given))
    try:
        _talk(process, talk, time.monotonic() + limit_s, stop, limit_s)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
    return bytes(talk.out)


def _talk(process: subprocess.Popen[bytes], talk: _Talk, until: float, stop: threading.Event, limit_s: float) -> None:
    """Until the program has ended by itself, and well."""
    pipes = {"in": process.stdin, "out": process.stdout, "err": process.stderr}
    with selectors.DefaultSelector() as selector:
        for name, pipe in pipes.items():
            assert pipe is not None  # noqa: S101 - all three are asked for above
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_WRITE if name == "in" else selectors.EVENT_READ, name)
        reading = {"out", "err"}
        while reading:
            left = until - time.monotonic()
            if left <= 0:
                raise PluginFailed(f"it did not end within {limit_s:g} s")
            if stop.is_set():
                raise PluginFailed("it was broken off")
            for key, _events in selector.select(min(left, LOOK_S)):
                over = _say(key.fd, talk) if key.data == "in" else not _hear(key.fd, talk, out=key.data == "out")
                if over:
                    selector.unregister(key.fileobj)
                    reading.discard(key.data)
                    if (pipe := pipes[key.data]) is not None:
                        pipe.close()
            _ended_early(process, selector, reading)
    _ended(process, until, limit_s, talk)


def _ended_early(process: subprocess.Popen[bytes], selector: selectors.BaseSelector, reading: set[str]) -> None:
    """A leader that has ended is not waited for while a child of it keeps its output open."""
    gone = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    if gone and not selector.select(0):
        reading.clear()


def _say(number: int, talk: _Talk) -> bool:
    """Write what goes in; True when all is said, or nobody listens any more."""
    try:
        talk.given = talk.given[os.write(number, talk.given[:65_536]) :]
    except BlockingIOError:
        return False
    except OSError:
        return True
    return not talk.given


def _hear(number: int, talk: _Talk, *, out: bool) -> bool:
    """Read what is there; False at the end. Raises PluginFailed for too much of it."""
    try:
        data = os.read(number, 65_536)
    except BlockingIOError:
        return True
    if out:
        talk.out += data
    else:
        talk.err_size += len(data)
        talk.err = (talk.err + data)[-KEPT_ERR:]
    if len(talk.out) > MAX_OUT or talk.err_size > MAX_ERR:
        raise PluginFailed("it says more than it may")
    return bool(data)


def _ended(process: subprocess.Popen[bytes], until: float, limit_s: float, talk: _Talk) -> None:
    """Wait for the end, without reaping. Raises PluginFailed for one that is late, or not well."""
    while (found := os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
        if time.monotonic() > until:
            raise PluginFailed(f"it did not end within {limit_s:g} s")
        time.sleep(0.005)
    if found.si_code != os.CLD_EXITED or found.si_status != 0:
        how = "exit code" if found.si_code == os.CLD_EXITED else "signal"
        lines = bytes(talk.err).decode("utf-8", "replace").strip().splitlines()
        raise PluginFailed(f"it ended with {how} {found.si_status}" + (f": {lines[-1]}" if lines else ""))
