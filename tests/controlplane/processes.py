"""The processes of one control plane, as their user sees them: started, watched and ended through a keeper."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

LAST_LINES = 15


class DidNotStart(Exception):
    """A program of the control plane did not come up: which, why, and the last lines of its log."""


class Processes:
    """A keeper and what it keeps. The keeper ends everything when this process is gone, however it went."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("keeper.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the user of the plane, who ends it in order
        )

    @property
    def keeper_pid(self) -> int:
        """The process that keeps the others."""
        return self._keeper.pid

    def start(self, name: str, argv: list[str]) -> Process:
        """Start a program; its output goes to NAME.log in the folder."""
        log = self._folder / f"{name}.log"
        pid = self._ask(do="start", name=name, argv=argv, log=str(log))
        if not isinstance(pid, int):
            raise DidNotStart(f"{name} did not start: no process id but {pid!r}")
        return Process(self, name, pid, log)

    def code(self, name: str) -> int | None:
        """Return how the program ended; None while it runs."""
        code = self._ask(do="code", name=name)
        return code if isinstance(code, int) else None

    def signal(self, name: str, number: int) -> None:
        """Signal a program."""
        self._ask(do="signal", name=name, number=number)

    def end(self, name: str) -> None:
        """Kill a program and wait for its end."""
        self._ask(do="end", name=name)

    def close(self) -> None:
        """End every program, and the keeper."""
        assert self._keeper.stdin
        with contextlib.suppress(BrokenPipeError):  # a killed keeper did not read the last request
            self._keeper.stdin.close()
        self._keeper.wait()
        if self._keeper.stdout:
            self._keeper.stdout.close()

    def _ask(self, **request: object) -> object:
        assert self._keeper.stdin
        assert self._keeper.stdout
        with self._lock:
            try:
                self._keeper.stdin.write(json.dumps(request) + "\n")
                self._keeper.stdin.flush()
                line = self._keeper.stdout.readline()
            except BrokenPipeError:
                line = ""
        if not line:
            raise DidNotStart(f"the keeper of {self._folder} is gone, and its processes with it; start a new plane")
        reply = json.loads(line)
        if "error" in reply:
            raise DidNotStart(f"{request.get('name', 'the keeper')}: {reply['error']}")
        value: object = reply["value"]
        return value


@dataclass(frozen=True, slots=True)
class Process:
    """One program of the plane."""

    processes: Processes
    name: str
    pid: int
    log: Path

    def ended(self) -> int | None:
        """Return how it ended; None while it runs."""
        return self.processes.code(self.name)

    def signal(self, number: int) -> None:
        """Signal it."""
        self.processes.signal(self.name, number)

    def end(self) -> None:
        """Kill it and wait for its end."""
        self.processes.end(self.name)

    def last_lines(self) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LAST_LINES:])
