"""How a command ends: messages for mistakes, a crash file for what nobody foresaw, and the exit code."""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path

from reconciler.cli.entry import INTERRUPTED_EXIT
from reconciler.cli.output import BROKEN_PIPE_EXIT, ReaderGone, clean, note, paint, wants_color
from reconciler.model.errors import ReconcilerError

MAX_MESSAGE = 4000


def colors_on_stderr() -> bool:
    """Whether what is said there is coloured, by --color and the settings. Never raises: failures are told with it."""
    try:
        from reconciler.cli.command import invocation

        wanted = invocation().settings().text("color")
    except (ReconcilerError, LookupError):
        wanted = os.environ.get("RECONCILER_COLOR") or "auto"
    return wants_color(wanted, sys.stderr, os.environ)


def show_error(message: str, hint: str = "") -> None:
    """`error: message` and, indented below, what to do, on stderr."""
    color = colors_on_stderr()
    text = clean(message[:MAX_MESSAGE]).rstrip()
    note(paint("error:", "red", "bold", color=color) + " " + text)
    for line in clean(hint[:MAX_MESSAGE]).splitlines():
        note(f"  {line}")


def exit_code(error: BaseException, state_folder: Path | None) -> int:
    """Tell a person of `error`, and answer the exit code of the program. Never raises, never shows a traceback."""
    match error:
        case ReaderGone() | BrokenPipeError():
            mute_stdout()
            return BROKEN_PIPE_EXIT
        case KeyboardInterrupt():
            note("Interrupted.")
            return INTERRUPTED_EXIT
        case ReconcilerError():
            show_error(error.message, error.hint)
        case OSError() if error.filename is not None:
            name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
            show_error(f"{name}: {error.strerror}")
        case MemoryError():
            show_error("out of memory")
        case BaseExceptionGroup():
            return exit_code(_first(error), state_folder)
        case _:
            crash(error, state_folder)
    return 1


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one to speak of: a failure that was foreseen before one that was not."""
    leaves: list[BaseException] = []
    stack: list[BaseException] = [group]
    while stack:
        error = stack.pop()
        if isinstance(error, BaseExceptionGroup):
            stack.extend(reversed(error.exceptions))
        else:
            leaves.append(error)
    return next((leaf for leaf in leaves if not isinstance(leaf, ReconcilerError)), leaves[0])


def crash(error: BaseException, state_folder: Path | None) -> None:
    """Keep the traceback in a file that only its owner reads, and name it in one line."""
    what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    hint = "this is a mistake in reconciler, not yours"
    try:
        path = _write_crash(error, state_folder)
        hint += f"; the details are in {path}"
    except OSError:
        hint += "; its details could not be written anywhere"
    show_error(f"unexpected {what}", hint)


def _write_crash(error: BaseException, state_folder: Path | None) -> Path:
    import platform
    import tempfile

    from reconciler import __version__

    text = "".join(
        [
            f"reconciler {__version__}, Python {platform.python_version()}, {platform.platform()}\n",
            f"command: {sys.argv[1:]!r}\n\n",
            *traceback.format_exception(error),
        ]
    )
    if state_folder is not None:
        folder = state_folder / "crash"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    else:
        folder = Path(tempfile.mkdtemp(prefix="reconciler-crash-"))
    path = folder / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.txt"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(text)
    return path


def mute_stdout() -> None:
    """Point stdout at /dev/null, so that the interpreter's own last flush has nothing to complain of."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
    except OSError:
        return
