"""The supervisor's life as others see it: is one running, start one, tell it to look, end all it runs.

Two files in the state folder: `supervisor.lock`, held with flock for a supervisor's whole life, and `supervisor.json`,
what it says of itself. A third, `supervisor.wanted`, is touched by everyone who needs one: it keeps an idle supervisor
from ending just then.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from reconciler.adapters.embedded.store import ObjectStore
from reconciler.model.errors import ClusterUnavailable
from reconciler.model.identity import ObjectRef

DATABASE = "cluster.db"
LOCK = "supervisor.lock"
SAID = "supervisor.json"
WANTED = "supervisor.wanted"
LOG = "supervisor.log"
IDLE_SECONDS = 3.0
START_SECONDS = 20.0
_POLL = 0.02
_TAIL_BYTES = 2000


class Phase(StrEnum):
    """STARTING: not yet watching the store. ENDING: it will end unless something is wanted at the last moment."""

    STARTING = "starting"
    READY = "ready"
    ENDING = "ending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a supervisor says of itself: its pid and the system's text for its start, see kubelet.machine."""

    pid: int
    start: str
    phase: Phase


def ensure_running(state_dir: Path, fleet_dir: Path, *, idle_seconds: float = IDLE_SECONDS) -> None:
    """See to it that a supervisor watches the store of `state_dir`; when this returns, one does.

    Starts it detached when there is none. It stays for at least `idle_seconds` after this call, so what is written
    within that time is seen. Raises ClusterUnavailable with the end of its log when it does not come up.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    want(state_dir)
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if not is_locked(state_dir):
            _start(state_dir, fleet_dir, idle_seconds)
        elif (said := read_said(state_dir)) is not None and said.phase is Phase.READY:
            return
        time.sleep(_POLL)
    raise ClusterUnavailable(
        f"the embedded cluster's supervisor did not come up within {START_SECONDS:g} s{_tail(state_dir)}",
        hint=f"see {state_dir / LOG}",
    )


def end_everything(state_dir: Path, fleet_dir: Path, *, timeout: float = 60.0) -> None:
    """Delete all that runs (Deployments, ReplicaSets, Pods) and wait until the supervisor has ended it, and itself.

    Raises ClusterUnavailable when that takes longer than `timeout` seconds.
    """
    if not (state_dir / DATABASE).exists():
        return
    store = ObjectStore.open(state_dir / DATABASE)
    try:
        for group, kind in (("apps", "Deployment"), ("apps", "ReplicaSet"), ("", "Pod")):
            for body in store.list(group, kind)[0]:
                metadata = body["metadata"]
                store.delete(ObjectRef(group=group, kind=kind, namespace=metadata["namespace"], name=metadata["name"]))
        if store.list("", "Pod")[0]:
            ensure_running(state_dir, fleet_dir)
    finally:
        store.close()
    end = time.monotonic() + timeout
    while is_locked(state_dir):
        if time.monotonic() > end:
            raise ClusterUnavailable(f"the embedded cluster did not end within {timeout:g} s{_tail(state_dir)}")
        time.sleep(_POLL)


def want(state_dir: Path) -> None:
    """Say that a supervisor is needed now."""
    path = state_dir / WANTED
    path.touch(mode=0o600)
    os.utime(path)


def wanted_at(state_dir: Path) -> float:
    """When one was last wanted, seconds since 1970; 0 for never."""
    try:
        return (state_dir / WANTED).stat().st_mtime
    except OSError:
        return 0.0


def is_locked(state_dir: Path) -> bool:
    """Whether a supervisor lives here."""
    lock = take_lock(state_dir, shared=True)
    if lock is None:
        return True
    os.close(lock)
    return False


def take_lock(state_dir: Path, *, shared: bool = False) -> int | None:
    """The lock's descriptor, held until it is closed; None while a supervisor has it. Raises ClusterUnavailable.

    `shared` is for a look only: such looks do not hinder each other.
    """
    try:
        descriptor = os.open(state_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ClusterUnavailable(f"cannot open {state_dir / LOCK}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def read_said(state_dir: Path) -> Said | None:
    """What the last supervisor said of itself; None when it cannot be read."""
    try:
        return msgspec.json.decode((state_dir / SAID).read_bytes(), type=Said)
    except (OSError, msgspec.MsgspecError):
        return None


def say(state_dir: Path, said: Said) -> None:
    temporary = state_dir / f".{SAID}.{os.getpid()}"
    temporary.write_bytes(msgspec.json.encode(said))
    temporary.replace(state_dir / SAID)


def _start(state_dir: Path, fleet_dir: Path, idle_seconds: float) -> None:
    """Start a supervisor that is nobody's child. When two are started at once, one finds the lock taken and ends."""
    with contextlib.suppress(FileNotFoundError):
        (state_dir / SAID).unlink()
    words = [sys.executable, "-P", "-m", "reconciler.adapters.embedded.supervisor", "--detach"]
    words += ["--idle", str(idle_seconds), str(state_dir.resolve()), str(fleet_dir.resolve())]
    with (state_dir / LOG).open("ab") as log:
        try:
            subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", timeout=START_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ClusterUnavailable(
                f"the embedded cluster's supervisor cannot be started: {error}{_tail(state_dir)}",
                hint=f"see {log.name}",
            ) from error
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and read_said(state_dir) is None:
        time.sleep(_POLL)


def _tail(state_dir: Path) -> str:
    try:
        text = (state_dir / LOG).read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip().splitlines()[-5:]
    except OSError:
        return ""
    return ":\n" + "\n".join(text) if text else ""
