"""`get agents --watch`: rows as they change, and nothing while nothing does."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .conftest import Edit, Program, environment

NOTHING = "\n  clusters: [{name: local, embedded: {run: nothing}}]\n"


def test_rows_are_printed_as_they_change(fleet: Program, edit: Edit) -> None:
    text = (fleet.folder / "fleet.yaml").read_text()
    (fleet.folder / "fleet.yaml").write_text(text + NOTHING)
    fleet.commit()
    with watching(fleet) as everything:
        fleet("apply", "--auto-approve", code=0)
        read = reader(everything)
        assert read().split()[:3] == ["NAMESPACE", "NAME", "STATE"]
        row = read().split()
        while row[:4] != ["demo", "hello", "running", "1/1"]:
            row = read().split()
        fleet("scale", "demo/hello", "3", code=0)
        while read().split()[3] != "3/3":
            pass
        with watching(fleet, "hello") as one:
            named = reader(one)
            assert named().split()[0] == "NAMESPACE"
            edit("agents/demo/hello.yaml", "name: hello", "name: other")
            fleet.commit()
            fleet("apply", "--auto-approve", code=0)
            for follow in (read, named):
                while follow().strip() != "demo/hello is gone":
                    pass
            one.send_signal(signal.SIGINT)
            assert one.wait(timeout=30) == 130


@contextmanager
def watching(fleet: Program, *names: str) -> Iterator[subprocess.Popen[str]]:
    """`get agents --watch` in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever tests in the background ignores it
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler.cli", "get", "agents", *names, "--watch"],
        cwd=fleet.folder,
        env=environment(fleet.home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def reader(process: subprocess.Popen[str]) -> Callable[[], str]:
    """The next line; an end is none."""
    stream = process.stdout
    assert stream is not None

    def read() -> str:
        line = stream.readline()
        assert line, "it ended"
        return line

    return read
