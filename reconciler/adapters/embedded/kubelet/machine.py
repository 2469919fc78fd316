"""What this machine says of its processes: when one started, who belongs to it, what it uses. Linux /proc, or `ps`.

A process is known by its pid, its start time and the boot it belongs to, never by its pid alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

LINUX = sys.platform.startswith("linux")
_PS_SECONDS = 5.0
_PREFIX = "process://"
_NO_SUCH = frozenset({errno.ENOENT, errno.ESRCH, errno.ENOTDIR, errno.EACCES, errno.EPERM})
"""How the system says that there is no such process, or that it is somebody else's. Any other error says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process, told from any other that may get its pid later. `start` is the system's own text for its start."""

    pid: int
    start: str
    boot: str

    def __str__(self) -> str:
        return f"{_PREFIX}{self.pid}/{self.start}/{self.boot}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read what `str` gives; None for anything else."""
        parts = text.removeprefix(_PREFIX).split("/")
        if not text.startswith(_PREFIX) or len(parts) != 3 or not (parts[0].isascii() and parts[0].isdigit()):
            return None
        return cls(pid=int(parts[0]), start=parts[1], boot=parts[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A process group at one moment: `cpu` seconds used so far, `memory` bytes resident."""

    cpu: float
    memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRow:
    """One line of the process table."""

    pid: int
    group: int
    session: int
    state: str
    start: str
    cpu: float
    memory: int


def identify(pid: int) -> Identity | None:
    """The identity of a process that runs now; None when there is none, or it has ended and only waits to be read.

    Raises OSError where that cannot be told, as without a descriptor left.
    """
    row = _row(pid)
    return None if row is None or row.state in "ZX" else Identity(pid=pid, start=row.start, boot=boot())


def is_running(identity: Identity) -> bool:
    """Whether it runs now. Raises OSError where that cannot be told."""
    return identity.boot == boot() and identify(identity.pid) == identity


@lru_cache(maxsize=1)
def boot() -> str:
    """What tells this boot of the machine from others; "" where the system does not say. Raises OSError."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
    except OSError as error:
        if error.errno not in _NO_SUCH:
            raise
        return ""


def table() -> list[ProcessRow]:
    """All processes that can be seen. Takes some 20 us each on Linux. Raises OSError."""
    if not LINUX:
        return _ps(["-A"])
    rows = (_row(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - fifty times quicker
    return [row for row in rows if row is not None]


def samples(rows: list[ProcessRow], wanted: Collection[int]) -> dict[int, Sample]:
    """Usage of the `wanted` process groups. Pages shared by a forked family count once where the kernel tells.

    It takes the kernel milliseconds to tell that of a large process: others than those wanted are not asked about.
    """
    groups: dict[int, list[ProcessRow]] = {}
    for row in rows:
        if row.group in wanted:
            groups.setdefault(row.group, []).append(row)
    found = {}
    for group, members in groups.items():
        memory = sum(row.memory for row in members)
        if LINUX and len(members) > 1:
            memory = sum(_proportional(row) for row in members)
        found[group] = Sample(cpu=sum(row.cpu for row in members), memory=memory)
    return found


def environment_value(pid: int, name: str) -> str | None:
    """One variable of a process's environment at its start; None when it cannot be read. Linux only."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    prefix = name.encode() + b"="
    for entry in data.split(b"\0"):
        if entry.startswith(prefix):
            return os.fsdecode(entry[len(prefix) :])
    return None


def _row(pid: int) -> ProcessRow | None:
    if not LINUX:
        return next(iter(_ps(["-p", str(pid)])), None)
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:  # noqa: PTH123 - called for every process, every second
            data = stream.read()
    except OSError as error:
        if error.errno not in _NO_SUCH:
            raise
        return None
    fields = data[data.rindex(b")") + 2 :].split()
    return ProcessRow(
        pid=pid,
        group=int(fields[2]),
        session=int(fields[3]),
        state=fields[0].decode(),
        start=fields[19].decode(),
        cpu=(int(fields[11]) + int(fields[12])) / _ticks(),
        memory=int(fields[21]) * _page(),
    )


def _proportional(row: ProcessRow) -> int:
    """Resident memory with shared pages divided by their users. Source: smaps_rollup in proc(5)."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{row.pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return row.memory


@lru_cache(maxsize=1)
def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK")


@lru_cache(maxsize=1)
def _page() -> int:
    return os.sysconf("SC_PAGE_SIZE")


def _ps(which: list[str]) -> list[ProcessRow]:
    """The same from `ps`, as macOS and the BSDs have it: lstart is five words, times are [[dd-]hh:]mm:ss.

    Raises OSError.
    """
    columns = "pid=,pgid=,sess=,state=,rss=,time=,lstart="
    try:
        done = subprocess.run(
            ["ps", *which, "-o", columns],
            capture_output=True,
            timeout=_PS_SECONDS,
            check=False,
            env={"LC_ALL": "C", "PATH": os.defpath},
        )
    except subprocess.SubprocessError as error:
        raise TimeoutError("`ps` does not answer") from error
    rows = []
    for line in done.stdout.decode(errors="replace").splitlines():
        words = line.split()
        if len(words) >= 7 and words[0].isdigit() and words[1].isdigit():
            rows.append(
                ProcessRow(
                    pid=int(words[0]),
                    group=int(words[1]),
                    session=int(words[1]),  # `sess` is an address there; sessions of ours are groups of ours
                    state=words[3][:1],
                    start="_".join(words[6:]).replace("/", "-"),
                    cpu=_ps_time(words[5]),
                    memory=int(words[4]) * 1024 if words[4].isdigit() else 0,
                )
            )
    return rows


def _ps_time(text: str) -> float:
    days, _, clock = text.rpartition("-")
    seconds = 0.0
    try:
        for part in clock.split(":"):
            seconds = seconds * 60 + float(part)
        return seconds + 86400 * int(days or 0)
    except ValueError:
        return 0.0
