"""Where logs of pods lie, and how they are kept small.

`logs/NAMESPACE/POD/CONTAINER.log` holds the present run, raw lines as the process wrote them; `CONTAINER.log.1` what
was cut off it by size; `CONTAINER.log.previous` the run before the last restart. The process writes its file by itself,
so nothing is lost when the supervisor ends. Logs of a pod that is gone are kept for a day.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from reconciler.adapters.embedded.kubelet import machine

MAX_BYTES = 10 * 1024 * 1024
KEEP_GONE_SECONDS = 86_400.0
_CHUNK = 1024 * 1024
_STOP_SECONDS = 0.05
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def log_file(state: Path, namespace: str, pod: str, container: str, *, previous: bool = False) -> Path:
    """The log of one container; `previous` for the run before the last restart."""
    name = f"{container}.log.previous" if previous else f"{container}.log"
    return state / "logs" / namespace / pod / name


def prepare(path: Path) -> None:
    """Make the folder, and put the last run's log aside."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.with_name(f"{path.name}.1").unlink(missing_ok=True)
    if path.exists():
        path.replace(path.with_name(f"{path.name}.previous"))


def rotate(path: Path, group: int, *, limit: int = MAX_BYTES) -> bool:
    """Cut a log that has grown over `limit` bytes: its text moves to `.1`, the file goes on empty.

    All but the last bytes are copied while the process writes on; for those and the cut its group is stopped, so that
    no line falls between. On a full disk only the newest part is kept. Blocks. True when it was cut. Raises OSError.
    """
    try:
        if path.stat().st_size <= limit:
            return False
    except OSError:
        return False
    aside = path.with_name(path.name + ".1")
    temporary = path.with_name(path.name + ".tmp")
    try:
        try:
            _move(path, temporary, group)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            temporary.unlink(missing_ok=True)
            _shorten(path, temporary, group)
        temporary.replace(aside)
    except OSError:
        temporary.unlink(missing_ok=True)  # it may hold the last bytes that were free
        raise
    return True


def _move(path: Path, target: Path, group: int) -> None:
    """All of a log into another file."""
    with path.open("rb") as source, target.open("wb") as stream:
        shutil.copyfileobj(source, stream, _CHUNK)
        members = _halt(group)
        try:
            shutil.copyfileobj(source, stream, _CHUNK)
            stream.flush()  # a disk that is full says so here, before anything is cut
            os.truncate(path, 0)
        finally:
            _signal(members, signal.SIGCONT)


def _shorten(path: Path, target: Path, group: int) -> None:
    """The newest whole lines of a log into another file, for which the cut itself makes room."""
    with path.open("rb") as source:
        members = _halt(group)
        try:
            source.seek(max(0, path.stat().st_size - _CHUNK))
            newest = source.read(_CHUNK)
            os.truncate(path, 0)
        finally:
            _signal(members, signal.SIGCONT)
    target.write_bytes(newest[newest.find(b"\n") + 1 :])


def _halt(group: int) -> list[int]:
    """Stop a process group and wait, briefly, until its members really stand still."""
    members = [row.pid for row in machine.table() if row.group == group and row.state not in "TZX"]
    _signal(members, signal.SIGSTOP)
    end = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < end and not all(_stands(pid) for pid in members):
        time.sleep(0.001)
    return members


def _stands(pid: int) -> bool:
    """Whether every thread of a process is stopped or gone. Where threads are not listed: taken as so."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return all((task / "stat").read_bytes().rpartition(b")")[2].split()[0] in b"TtZX" for task in tasks)
    except OSError:
        return True


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            continue


def sweep(state: Path, alive: Callable[[str, str], bool], *, now: float) -> None:
    """Remove logs of pods that went longer than a day ago. `alive(namespace, pod)` says who is still there."""
    for folder in (state / "logs").glob("*/*"):
        if folder.is_dir() and not alive(folder.parent.name, folder.name):
            newest = max((file.stat().st_mtime for file in folder.iterdir()), default=0.0)
            if newest < now - KEEP_GONE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
