"""The supervisor: one process per state folder that plays controllers and kubelet against the object store.

`python -m reconciler.adapters.embedded.supervisor STATE_DIR FLEET_DIR`; started by `lifecycle.ensure_running`. Here
live its start, its loop and its end. It is the only one that signals processes. SIGTERM ends it and leaves the pods
running, for the next one to adopt; with nothing to run it ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from reconciler.adapters.embedded import lifecycle
from reconciler.adapters.embedded.controllers.loop import Controllers
from reconciler.adapters.embedded.controllers.view import View
from reconciler.adapters.embedded.kubelet import machine
from reconciler.adapters.embedded.kubelet.kubelet import Kubelet
from reconciler.adapters.embedded.kubelet.process import open_more_files
from reconciler.adapters.embedded.lifecycle import Phase, Said
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.model.errors import ClusterError
from reconciler.model.identity import ObjectRef

FALLBACK_SECONDS = 1.0
"""The longest that the loop sleeps: things that tell nobody (the state folder gone, secrets set) are seen then."""
LOG_BYTES = 5 * 1024 * 1024
_LOCK_ATTEMPTS = 20
_LOCK_PAUSE = 0.01
_INHERITED = ("PATH", "HOME", "LANG")

log = logging.getLogger("supervisor")


class Supervisor:
    """Watches the store until nothing is left to run, or it is told to end."""

    def __init__(self, state_dir: Path, fleet_dir: Path, *, idle_seconds: float) -> None:
        self._state = state_dir
        self._idle = idle_seconds
        self._store = ObjectStore.open(state_dir / lifecycle.DATABASE)
        self._view = View()
        self._controllers = Controllers(self._store, self._view, clock=time.time)
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        self._kubelet = Kubelet(self._store, self._view, state=state_dir, fleet=fleet_dir, inherited=inherited)
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="store")
        self._unseen: set[ObjectRef] = set()
        """What the kubelet has not looked at, over a look that failed."""
        self._busy_at = time.time()
        self._told = asyncio.Event()

    async def run(self) -> None:
        """The loop. Returns when it is time to end."""
        loop, files = asyncio.get_running_loop(), _files(self._state)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._told.set)
        self._say(Phase.READY)  # from here on every signal is heard, and every write is seen by the first pass
        log.info("up: watching %s", self._state / lifecycle.DATABASE)
        try:
            while not self._told.is_set():
                pause = await self._pass()
                if not self._here(files):
                    log.warning("%s is gone: all that runs is ended", self._state)
                    await self._kubelet.end_all()
                    return
                if self._may_end():
                    await self._kubelet.end_orphans(machine.table())
                    return
                await self._until_news(pause)
        finally:
            await self._kubelet.close()
            self._threads.shutdown(cancel_futures=True)
            self._store.close()

    async def _pass(self) -> float:
        """One look at everything that changed; in how many seconds to come again."""
        loop = asyncio.get_running_loop()
        try:
            changed, pause = await loop.run_in_executor(self._threads, self._controllers.run)
            self._unseen |= changed
            self._kubelet.look(self._unseen)
            self._unseen = set()
        except ClusterError as error:
            log.warning("the store cannot be read: %s", error.message)
            return FALLBACK_SECONDS
        except Exception:
            log.exception("a pass failed; it is tried again")
            return FALLBACK_SECONDS
        return pause

    async def _until_news(self, pause: float) -> None:
        """Until the store changed, the pause is over, or the end was told. One that cannot be read is left in peace."""
        loop = asyncio.get_running_loop()
        seconds = min(max(pause, 0.0), FALLBACK_SECONDS)
        waiting = loop.run_in_executor(self._threads, self._store.wait, self._view.version, seconds)
        told = asyncio.create_task(self._told.wait())
        try:
            both: list[asyncio.Future[bool] | asyncio.Task[Literal[True]]] = [waiting, told]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done() and waiting.exception() is not None:  # the next pass says what it is
                await asyncio.wait({told}, timeout=FALLBACK_SECONDS)
        finally:
            told.cancel()
            waiting.cancel()

    def _may_end(self) -> bool:
        """Whether nothing was left to run for a while and nobody wants a supervisor: says so, then looks again."""
        now = time.time()
        if self._has_work():
            self._busy_at = now
        if now - self._busy_at < self._idle or now - lifecycle.wanted_at(self._state) < self._idle:
            return False
        self._say(Phase.ENDING)
        if now - lifecycle.wanted_at(self._state) >= self._idle and self._nothing_new():
            log.info("nothing is left to run: ending")
            return True
        self._say(Phase.READY)
        return False

    def _has_work(self) -> bool:
        wanted = any(int(body["spec"].get("replicas", 0)) for body in self._view.all("apps", "Deployment"))
        return wanted or self._kubelet.busy()

    def _nothing_new(self) -> bool:
        try:
            return self._store.resource_version() == self._view.version
        except ClusterError:
            return False

    def _here(self, files: list[tuple[int, int]]) -> bool:
        """Whether the state folder is still the one that it began with; one that took its name is not its business."""
        try:
            return _files(self._state) == files
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _say(self, phase: Phase) -> None:
        own = machine.identify(os.getpid())
        lifecycle.say(self._state, Said(pid=os.getpid(), start=own.start if own else "", phase=phase))


def _files(state_dir: Path) -> list[tuple[int, int]]:
    """Which files its lock and its database are, whatever their names. Raises OSError."""
    found = [(state_dir / name).stat() for name in (lifecycle.LOCK, lifecycle.DATABASE)]
    return [(each.st_dev, each.st_ino) for each in found]


def main(arguments: list[str] | None = None) -> int:
    """Run a supervisor; 0 also when another one has the lock. `--detach` returns at once and leaves it running."""
    parser = argparse.ArgumentParser(prog="reconciler.adapters.embedded.supervisor", description=__doc__)
    parser.add_argument("state_dir", type=Path)
    parser.add_argument("fleet_dir", type=Path)
    parser.add_argument(
        "--idle", type=float, default=lifecycle.IDLE_SECONDS, help="seconds without work before it ends"
    )
    parser.add_argument("--detach", action="store_true", help="leave the caller's session and return")
    told = parser.parse_args(arguments)
    if told.detach and _is_parent():
        return 0
    lock = _lock(told.state_dir)
    if lock is None:
        return 0
    _set_up_logging(told.state_dir)
    open_more_files()
    lifecycle.say(told.state_dir, Said(pid=os.getpid(), start="", phase=Phase.STARTING))
    try:
        asyncio.run(_serve(told.state_dir, told.fleet_dir, told.idle))
    except Exception:
        log.exception("the supervisor failed")
        return 1
    finally:
        os.close(lock)
    return 0


def _lock(state_dir: Path) -> int | None:
    """The lock, tried several times: who only looks whether it is taken holds it for a moment."""
    for _ in range(_LOCK_ATTEMPTS):
        if (lock := lifecycle.take_lock(state_dir)) is not None:
            return lock
        time.sleep(_LOCK_PAUSE)
    return None


async def _serve(state_dir: Path, fleet_dir: Path, idle_seconds: float) -> None:
    await Supervisor(state_dir, fleet_dir, idle_seconds=idle_seconds).run()


def _is_parent() -> bool:
    """Fork away from the caller: the parent returns, the child leads a session of its own, without foreign files."""
    if os.fork():
        return True
    os.setsid()
    os.closerange(3, 1 << 16)
    return False


def _set_up_logging(state_dir: Path) -> None:
    path = state_dir / lifecycle.LOG
    with contextlib.suppress(OSError):
        if path.stat().st_size > LOG_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            os.close(descriptor)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


if __name__ == "__main__":
    sys.exit(main())
