"""The Prober port over plugins: few at once, each behind a breaker; what a plugin fails at says nothing of an agent."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from reconciler.adapters.plugins.breaker import Breaker
from reconciler.adapters.plugins.finding import Installed, NoPlugin
from reconciler.adapters.plugins.process import PluginFailed, run
from reconciler.model.health import PluginProbe, ProbeRequest, Sample
from reconciler.ports import Clock

AT_ONCE = 4
PATIENCE_S = 10.0
"""As long may a check wait for its turn."""
VERSION = 1
MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class _Verdict:
    healthy: bool
    text: str


@dataclass(slots=True, kw_only=True)
class PluginProber:
    """Runs plugins. Use it inside one event loop, and `close` it there: what runs then is killed."""

    clock: Clock
    installed: Installed
    at_once: int = AT_ONCE
    patience_s: float = PATIENCE_S
    _breakers: dict[str, Breaker] = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(init=False)
    _threads: ThreadPoolExecutor = field(init=False)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._turns = asyncio.Semaphore(self.at_once)
        self._threads = ThreadPoolExecutor(self.at_once, thread_name_prefix="plugin")

    async def probe(self, request: ProbeRequest) -> Sample:
        """One check. Waiting for a turn does not count as latency."""
        if not isinstance(request, PluginProbe):
            return self._not_made("it is no plugin's to answer")
        try:
            command = self.installed.command(request.plugin)
        except (NoPlugin, OSError) as error:
            return self._not_made(str(error))
        try:
            async with asyncio.timeout(self.patience_s):
                await self._turns.acquire()
        except TimeoutError:
            return self._not_made(f"no turn for plugin {request.plugin} within {self.patience_s:g} s")
        try:
            return await self._guarded(request, command)
        finally:
            self._turns.release()

    async def close(self) -> None:
        """Kill what runs. A probe after this is not made."""
        self._stop.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _guarded(self, request: PluginProbe, command: tuple[str, ...]) -> Sample:
        breaker = self._breakers.setdefault(request.plugin, Breaker())
        began = self.clock.monotonic()
        if pause := breaker.closed_for(began):
            why = f"failed {breaker.failures} times in a row, tried again in {pause:.0f} s; {breaker.last}"
            return self._not_made(f"plugin {request.plugin} {why}")
        try:
            verdict = await self._run(request, command)
        except PluginFailed as error:
            breaker.failed(str(error), self.clock.monotonic())
            return self._not_made(f"plugin {request.plugin}: {error}")
        except BaseException:
            breaker.let_go()
            raise
        breaker.worked()
        problem = "" if verdict.healthy else verdict.text or f"plugin {request.plugin} finds it unwell"
        latency_ms = (self.clock.monotonic() - began) * 1000
        return Sample(ok=verdict.healthy, at_ms=self.clock.now_ms(), latency_ms=latency_ms, problem=problem)

    async def _run(self, request: PluginProbe, command: tuple[str, ...]) -> _Verdict:
        work = partial(run, command, _asked(request), limit_s=request.timeout_ms / 1000, stop=self._stop)
        try:
            return _answer(await asyncio.get_running_loop().run_in_executor(self._threads, work))
        except RuntimeError as error:  # the threads are closed
            raise PluginFailed("plugins are not run any more") from error

    def _not_made(self, why: str) -> Sample:
        problem = _plain(f"not measured: {why}")
        return Sample(ok=False, at_ms=self.clock.now_ms(), latency_ms=0.0, problem=problem, refused=True)


def _asked(request: PluginProbe) -> bytes:
    document: dict[str, Any] = {
        "version": VERSION,
        "agent": str(request.agent),
        "config": request.config,
        "timeoutMs": request.timeout_ms,
        "endpoints": [{"pod": one.pod, "host": one.host, "ports": dict(one.ports)} for one in request.endpoints],
    }
    return json.dumps(document, default=dict).encode()


def _answer(data: bytes) -> _Verdict:
    """Raises PluginFailed for anything but `{"healthy": true or false, "text": "..."}`."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise PluginFailed("what it answers is not JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("healthy"), bool):
        raise PluginFailed('its answer has no "healthy" that is true or false')
    return _Verdict(found["healthy"], _plain(str(found.get("text") or "")))


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:MAX_TEXT]
