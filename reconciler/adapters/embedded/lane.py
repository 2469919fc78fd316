"""One thread for calls that block, in the order in which they were made.

Calls that pile up while one runs are taken in one go and answered in one go: handing each over alone costs more than
most of them take.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
_Answer = tuple["asyncio.Future[Any]", Any, BaseException | None]
_BATCH = 32


class Lane:
    """A thread and its queue. Used from one event loop at a time."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._waiting: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()
        self._busy = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of the call. Cancelling the caller takes the call back unless it has begun."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._busy = loop, False
            self._waiting.clear()  # their loop is gone, and who waited with it
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((future, functools.partial(function, *args, **kwargs)))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._start, loop)
        return await future

    def close(self) -> None:
        """Wait for what runs."""
        self._thread.shutdown()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand the next calls to the thread. Runs in the loop, as all that touches the queue."""
        batch: list[tuple[asyncio.Future[Any], Callable[[], Any]]] = []
        while self._waiting and len(batch) < _BATCH:
            future, function = self._waiting.popleft()
            if not future.done():
                batch.append((future, function))
        self._busy = bool(batch)
        if batch:
            self._thread.submit(self._run, loop, batch)

    def _run(self, loop: asyncio.AbstractEventLoop, batch: list[tuple[asyncio.Future[Any], Callable[[], Any]]]) -> None:
        answers: list[_Answer] = []
        for future, function in batch:
            if future.cancelled():
                continue
            try:
                answers.append((future, function(), None))
            except BaseException as error:  # noqa: BLE001 - raised again where the call was made
                answers.append((future, None, error))
        try:
            loop.call_soon_threadsafe(self._deliver, loop, answers)
        except RuntimeError:
            return  # the loop is closed: nobody waits for the answers

    def _deliver(self, loop: asyncio.AbstractEventLoop, answers: list[_Answer]) -> None:
        for future, result, error in answers:
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        self._start(loop)
