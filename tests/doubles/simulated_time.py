"""Simulated time: an event loop that never waits. Whenever nothing is ready it is at once as late as its next timer.

All of asyncio goes by it (sleeps, time-outs, `loop.time`), and calls that would block are made in place, so that one
seed gives one run. What belongs to a simulated process can be held up or ended between any two of its steps, as SIGSTOP
and SIGKILL do.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")
START_MS = 1_800_000_000_000
_MANY_CANCELLED = 200
"""Timers that are kept though nobody waits for them any more."""


class NothingWillHappen(RuntimeError):
    """Everybody waits, and no timer is set: as a real program that hangs for ever."""


class Process:
    """All that one simulated program does: what runs in its context, and what that starts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stopped = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self._held: list[asyncio.Handle] = []

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` as a task of this process."""
        context = copy_context()
        context.run(_PROCESS.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)

    def stop(self) -> None:
        """SIGSTOP: it does nothing more, and does not know."""
        self.stopped = True

    def resume(self) -> None:
        """SIGCONT: what came due meanwhile is done now."""
        self.stopped = False
        held, self._held = self._held, []
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        loop.again(held)

    def hold(self, step: asyncio.Handle) -> None:
        """Keep a step for later."""
        self._held.append(step)

    @property
    def alive(self) -> list[asyncio.Task[Any]]:
        """Tasks that have not ended."""
        self.tasks = {task for task in self.tasks if not task.done()}
        return sorted(self.tasks, key=lambda task: task.get_name())


_PROCESS: ContextVar[Process | None] = ContextVar("simulated process", default=None)


def process_now() -> Process | None:
    """Whose step runs now; None for what is outside of all simulated programs."""
    return _PROCESS.get()


async def outside(work: Coroutine[Any, Any, T]) -> T:
    """What `work` answers, which is done by no simulated program: it goes on where the one that waits is held up."""
    context = copy_context()
    context.run(_PROCESS.set, None)
    task = asyncio.get_running_loop().create_task(work, context=context)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # who asked may be gone
    return await asyncio.shield(task)


class _Nothing(selectors.SelectSelector):
    """No socket is ever asked."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        raise AssertionError(f"nobody waits here, not even for {timeout} s")


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Threads and sockets have no place in it."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Nothing())
        self.failures: list[str] = []
        """What nobody caught."""
        self.set_exception_handler(self._uncaught)

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        """One turn, as the base class makes it, less all that waits: where nobody has anything to do, time passes."""
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        if self._timer_cancelled_count > _MANY_CANCELLED:  # type: ignore[has-type]
            timers[:] = [timer for timer in timers if not timer._cancelled]
            heapq.heapify(timers)
            self._timer_cancelled_count = 0
        while timers and timers[0]._cancelled:
            self._drop(timers)
        if not ready:
            if not timers:
                raise NothingWillHappen
            self._now = max(self._now, timers[0].when())
        while timers and timers[0].when() <= self._now:
            ready.append(self._drop(timers))
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(_PROCESS)  # type: ignore[attr-defined]
            if process is not None and process.stopped:
                process.hold(handle)
            else:
                handle._run()

    def _drop(self, timers: list[asyncio.TimerHandle]) -> asyncio.TimerHandle:
        """Take the next timer out."""
        timer = heapq.heappop(timers)
        timer._scheduled = False  # type: ignore[attr-defined]
        if timer._cancelled:
            self._timer_cancelled_count -= 1
        return timer

    def again(self, steps: Iterable[asyncio.Handle]) -> None:
        """Do steps that were held; those that were called off meanwhile are not done."""
        self._ready.extend(steps)  # type: ignore[attr-defined]

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task = super().create_task(coro, **options)
        context: Context | None = options.get("context")
        process = context.get(_PROCESS) if context is not None else _PROCESS.get()
        if process is not None:
            process.tasks.add(task)
            task.add_done_callback(process.tasks.discard)
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Make the call now, in place; who waits for it goes on in a later step."""
        future: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self.call_soon(_settle, future, None, error)
        else:
            self.call_soon(_settle, future, result, None)
        return future

    def _uncaught(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.failures.append(f"{context['message']}: {type(error).__name__}: {error}" if error else context["message"])


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class SimulatedClock:
    """Implements ports.Clock on a simulated loop. The wall clock can be set; monotonic time cannot."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ahead_ms = 0

    def now_ms(self) -> int:
        return START_MS + self._ahead_ms + round(self._loop.time() * 1000)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def seconds(self) -> float:
        """Wall time in seconds since 1970."""
        return self.now_ms() / 1000

    def jump(self, seconds: float) -> None:
        """Set the wall clock by `seconds`."""
        self._ahead_ms += round(seconds * 1000)
