"""What leaves the program: streams, colour, tables, JSON and YAML. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import IO, Any, TypeVar

from reconciler.model.errors import ReconcilerError

T = TypeVar("T")

BROKEN_PIPE_EXIT = 141
"""128 + SIGPIPE: what a shell reports of a program whose reader went away."""

# C0 and C1 controls but tab and line feed, and the characters that turn the direction of text round.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ELSEWHERE = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(?:[eE][-+]?[0-9]+)?|[-+]?0[bBoOxX][0-9a-fA-F_]+|[yYnN]", re.ASCII
)
"""Plain words that other readers of YAML, kubectl among them, take for numbers or truth, and PyYAML writes without
quotes."""
_CODES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36", "bold": "1", "dim": "2"}


class OutputError(ReconcilerError):
    """Standard output cannot be written."""


class ReaderGone(Exception):
    """Whoever read standard output went away (`| head`): no failure, and nothing to say."""


def clean(text: str) -> str:
    """`text` with control characters made visible, so that data from a repository cannot drive a terminal."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def one_line(text: str, limit: int = 200) -> str:
    """`text` for the middle of a sentence: cleaned, on one line, cut at `limit` characters."""
    flat = clean(" ".join(text.split()))
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def prepare_streams() -> None:
    """Make the standard streams usable whatever the caller closed. Raises OutputError when stdout is closed.

    A closed descriptor is filled with /dev/null first: otherwise the next file opened (a database, say) would take
    its number and be written into.
    """
    closed = []
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            closed.append(number)
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - lives as long as the program
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 - as above
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if 1 in closed:
        raise OutputError("standard output is closed", hint="redirect it to a file or /dev/null instead")


def emit(text: str, *, end: str = "\n") -> None:
    """Write data to stdout. Raises ReaderGone for a broken pipe, OutputError when it cannot be written."""
    try:
        sys.stdout.write(text + end)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error


def note(text: str = "") -> None:
    """Write a line for people to stderr; a reader that went away is no reason to stop."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def terminal(stream: IO[str] | None) -> bool:
    """Whether `stream` is a terminal."""
    try:
        return bool(stream and stream.isatty())
    except ValueError:
        return False


def wants_color(choice: str, stream: IO[str] | None, environment: Mapping[str, str]) -> bool:
    """Whether to colour `stream`: by choice, then NO_COLOR, then FORCE_COLOR, then whether it is a terminal."""
    if choice != "auto":
        return choice == "always"
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return terminal(stream) and environment.get("TERM") != "dumb"


def paint(text: str, *names: str, color: bool) -> str:
    """`text` in the named colours, where `color`."""
    if not color or not text:
        return text
    codes = ";".join(_CODES[name] for name in names)
    return f"\x1b[{codes}m{text}\x1b[0m"


def few(items: Sequence[T], most: int, said: Callable[[T], str] = str) -> str:
    """`a, b and 3 more`: the first ones for a sentence, the rest counted."""
    shown = ", ".join(map(said, islice(items, most)))
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"


def meant(word: str, known: Iterable[str], otherwise: str, *, quote: str = "") -> str:
    """A hint for a word that is not known: the one that is near, or else what to do."""
    from difflib import get_close_matches

    near = get_close_matches(word[:80], list(known), n=1)
    return f"did you mean {quote}{near[0]}{quote}?" if near else otherwise


def width(text: str) -> int:
    """How many columns of a terminal `text` takes: ideographs and emoji take two, what stands on others none."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, show_headers: bool = True) -> str:
    """Columns as kubectl prints them: padded by three spaces, never cut, no trailing blanks."""
    lines = [tuple(one_line(cell, 1000) for cell in row) for row in rows]
    if show_headers:
        lines.insert(0, tuple(headers))
    widths = [max((width(line[column]) for line in lines), default=0) for column in range(len(headers))]
    return "\n".join(
        "   ".join(cell + " " * (most - width(cell)) for cell, most in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def to_json(value: Any) -> str:
    """`value` as indented JSON; dataclasses, enums, sets and mappings included."""
    import msgspec

    encoded = msgspec.json.encode(value, enc_hook=str, order="deterministic")
    return msgspec.json.format(encoded, indent=2).decode()


def to_yaml(value: Any, *, explicit_start: bool = False) -> str:
    """`value` as YAML in block style, keys in the order given, text of several lines as literal blocks."""
    import msgspec
    import yaml

    class Dumper(yaml.CSafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is the base's
            return True

    def text(dumper: Any, data: str) -> Any:
        style = "|" if "\n" in data and not _CONTROL.search(data) else "'" if _ELSEWHERE.fullmatch(data) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Dumper.add_representer(str, text)
    plain = msgspec.to_builtins(value, enc_hook=str)
    dumped: str = yaml.dump(
        plain, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1000, explicit_start=explicit_start
    )
    return dumped.rstrip("\n")
