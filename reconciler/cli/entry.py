"""The first of ours that runs: lets Ctrl-C end the program quietly while all the rest is still being imported.

Must import nothing at its top that takes time, not even `typing`: until `run` is called, Ctrl-C shows a traceback.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

INTERRUPTED_EXIT = 130


def run() -> NoReturn:
    """The `reconciler` script."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else whoever started us wants it ignored
    if ours:
        signal.signal(signal.SIGINT, _leave)
    try:
        from reconciler.cli.main import run as run_commands

        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run_commands()
    except KeyboardInterrupt:  # between handlers: commands answer theirs themselves
        _leave()
    finally:
        if ours:
            signal.signal(signal.SIGINT, _leave)  # while the interpreter ends, there is nothing left to interrupt


def _leave(*_: object) -> NoReturn:
    """End at once: raised in the middle of an import, KeyboardInterrupt could be swallowed, or told as a traceback."""
    try:  # noqa: SIM105 - contextlib takes time to import
        os.write(2, b"Interrupted.\n")
    except OSError:
        pass
    os._exit(INTERRUPTED_EXIT)
