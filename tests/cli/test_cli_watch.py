"""`get agents --watch`: rows as they change, and nothing while nothing does."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from typing import IO

from .conftest import Edit, Program, environment

NOTHING = "\n  clusters: [{name: local, embedded: {run: nothing}}]\n"


def test_rows_are_printed_as_they_change(fleet: Program, edit: Edit) -> None:
    text = (fleet.folder / "fleet.yaml").read_text()
    (fleet.folder / "fleet.yaml").write_text(text + NOTHING)
    fleet.commit()
    fleet("apply", "--auto-approve", code=0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever tests in the background ignores it
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler.cli", "get", "agents", "--watch"],
        cwd=fleet.folder,
        env=environment(fleet.home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    try:
        assert process.stdout is not None
        read = reader(process.stdout)
        assert read().split()[:3] == ["NAMESPACE", "NAME", "STATE"]
        assert read().split()[:4] == ["demo", "hello", "running", "1/1"]
        fleet("scale", "demo/hello", "3", code=0)
        while read().split()[3] != "3/3":
            pass
        edit("agents/demo/hello.yaml", "name: hello", "name: other")
        fleet.commit()
        fleet("apply", "--auto-approve", code=0)
        while read().strip() != "demo/hello is gone":
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    finally:
        process.kill()
        process.communicate()


def reader(stream: IO[str]) -> Callable[[], str]:
    """The next line; an end is none."""

    def read() -> str:
        line = stream.readline()
        assert line, "it ended"
        return line

    return read
