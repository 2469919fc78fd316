"""Runs command lines in forks of a process that has imported the program, and measures each: `python -m` this file.

One line of JSON on standard input is one run, one line on standard output is how it ended. The start of the interpreter
and the imports are left out of a run's CPU time, which is what a run itself costs; memory is the whole process, or of
a process that it started (git, say) if that had more. Where that is asked for, what a fork may take is limited by the
system as well, so that an input that would take the machine down ends its own run only.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import time
from typing import Any, NoReturn

MEMORY = 200 * 2**20
CPU_S = 20
"""Where a limited run is killed: far above what tests allow, so that they can say by how much it was too slow."""
WARM = (
    "reconciler.bootstrap",
    "reconciler.engine.reconcile",
    "reconciler.engine.apply",
    "reconciler.adapters.sqlite",
    "reconciler.adapters.embedded",
    "reconciler.adapters.git",
    "reconciler.spec.schema",
)


def serve() -> None:
    """Answer runs until standard input ends."""
    from reconciler.cli.main import COMMANDS, module_of

    commands = (f"reconciler.cli.commands.{module_of(command)}" for command in COMMANDS)
    for name in (*WARM, *commands):
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(request)
        _, status, usage = os.wait4(pid, 0)
        answer = {
            "code": os.waitstatus_to_exitcode(status),
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "peak_mb": usage.ru_maxrss / 1024,
        }
        print(json.dumps(answer), flush=True)  # noqa: T201 - the answer


def _run(request: dict[str, Any]) -> NoReturn:
    """Become the program with one command line."""
    code = 70
    try:
        for number, (path, flags) in enumerate(
            (
                (request["stdin"], os.O_RDONLY),
                (request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
                (request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            )
        ):
            opened = os.open(path, flags, 0o600)
            os.dup2(opened, number)
            os.close(opened)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the standard input, of which nothing was read ahead
        os.environ.clear()
        os.environ.update(request["env"])
        time.tzset()
        os.chdir(request["folder"])
        if request["limited"]:
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        signal.alarm(request["wall_s"])
        from reconciler.cli.main import run

        sys.argv = ["reconciler", *request["arguments"]]
        run()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
