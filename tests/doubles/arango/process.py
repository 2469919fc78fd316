"""The double as a program of its own, for tests that kill it: `python -m tests.doubles.arango.process FILE [PORT]`.

It prints its address, keeps its data in FILE, and runs until its standard input ends or it is killed.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.doubles.arango.double import arango_double

ROOT = Path(__file__).parents[3]


@dataclass(slots=True)
class ArangoProcess:
    """Such a program, started and ended by a test. After `kill`, `start` goes on with the same data and port."""

    file: Path
    port: int = 0
    url: str = ""
    _running: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.doubles.arango.process", str(self.file), str(self.port)]
        running = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert running.stdout is not None
        self._running, self.url = running, running.stdout.readline().strip()
        self.port = int(self.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """Of the program that runs now."""
        assert self._running is not None
        return self._running.pid

    def kill(self) -> None:
        """At once, as when power fails."""
        running, self._running = self._running, None
        if running is not None:
            running.kill()
            running.communicate()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()


def main(file: str, port: str = "0") -> None:
    with arango_double(file=Path(file), ports=(int(port),)) as double:
        sys.stdout.write(double.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
