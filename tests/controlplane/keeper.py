"""A program that keeps the processes of one control plane: it starts them, signals them and reaps them when asked to,
and ends them all when nobody holds its standard input any more. So nothing stays when its user is killed.

It stands alone: nothing but the standard library, no threads, one JSON request a line, one JSON answer a line.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1


def die_with_me() -> None:
    """On Linux a child is killed when the keeper itself is. The keeper has one thread, so its end is the keeper's."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Keeper:
    """The processes by name, in the order of their start."""

    def __init__(self) -> None:
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, argv: list[str], log: str) -> int:
        """Start one, with its output added to the log file."""
        with Path(log).open("ab") as output:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_me,  # noqa: PLW1509  # there is one thread here
            )
        self.children[name] = child
        return child.pid

    def code(self, name: str) -> int | None:
        """Return how it ended; None while it runs."""
        return self.children[name].poll()

    def signal(self, name: str, number: int) -> None:
        """Signal it, if it still runs. One that is stopped stands still when this returns."""
        child = self.children[name]
        child.send_signal(number)
        if number == signal.SIGSTOP and child.returncode is None:
            os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def end(self, name: str) -> int:
        """Kill it and wait for its end. A stopped process dies of SIGKILL too."""
        child = self.children[name]
        child.kill()
        return child.wait()

    def end_all(self) -> None:
        """End all, the last one first."""
        for name in reversed(self.children):
            self.children[name].kill()
        for child in self.children.values():
            child.wait()


def answer(keeper: Keeper, request: dict[str, Any]) -> object:
    """Do one request."""
    verb = request.pop("do")
    verbs: dict[str, Callable[..., object]] = {
        "start": keeper.start,
        "code": keeper.code,
        "signal": keeper.signal,
        "end": keeper.end,
    }
    return verbs[verb](**request)


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    keeper = Keeper()
    try:
        for line in sys.stdin:
            try:
                reply = {"value": answer(keeper, json.loads(line))}
            except OSError as error:
                reply = {"error": str(error)}
            sys.stdout.write(json.dumps(reply) + "\n")
            sys.stdout.flush()
    except BrokenPipeError:
        pass  # the asker is gone
    finally:
        keeper.end_all()


if __name__ == "__main__":
    main()
