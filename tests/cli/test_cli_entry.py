"""The first moments of the program: Ctrl-C while it is still importing itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import environment

INTERRUPTED_IMPORT = """
import signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
sys.argv = ["reconciler", "version"]
signal.signal(signal.SIGINT, {handler})
import runpy
runpy.run_module("reconciler.cli", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("handler", "ended"),
    [("signal.default_int_handler", (130, "", "Interrupted.\n")), ("signal.SIG_IGN", (0, "reconciler", ""))],
    ids=["asked", "ignored"],
)
def test_ctrl_c_during_the_imports_ends_it_as_later(handler: str, ended: tuple[int, str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT.format(handler=handler)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout[:10], done.stderr) == ended
