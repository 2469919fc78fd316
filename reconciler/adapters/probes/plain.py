"""A connection to an endpoint without TLS: a bare socket that the event loop only watches.

A sweep asks thousands of these, and a transport with its protocol and a timer for each costs more than the kernel's
part: `benchmarks/sweepparts.py` measures both. May live here: a socket and its states. Not: what is asked, and why.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from reconciler.adapters.probes.answers import Answer, Hearing, HungUp
from reconciler.adapters.probes.deadlines import Deadlines

AT_A_TIME = 16 * 1024
"""Most answers are one piece of some hundred bytes."""


class PlainConnection:
    """Asks and hears, one thing at a time; the first waits until it is connected. What comes unasked ends it."""

    __slots__ = (
        "_answer", "_connected", "_deadlines", "_hearing", "_loop", "_reading", "_socket", "_unsent", "_writing",
        "until", "used",
    )  # fmt: skip

    def __init__(self, made: socket.socket, deadlines: Deadlines) -> None:
        """Over a socket that is connected, or about to be."""
        self._loop = asyncio.get_running_loop()
        self._deadlines = deadlines
        self._answer: asyncio.Future[Answer] | None = None
        self._hearing: Hearing | None = None
        self._unsent = b""
        self._connected = self._reading = self._writing = False
        self.until = self.used = 0.0
        self._socket: socket.socket | None = made

    @property
    def reusable(self) -> bool:
        """Whether another question may follow."""
        return self._socket is not None

    async def ask(self, question: bytes, until: float) -> Answer:
        """Send a request and hear its answer. Raises OSError, TimeoutError at `until` by the loop's clock.

        When it is cancelled the connection is over.
        """
        if self._socket is None:
            raise HungUp(unheard=True)
        hearing = self._hearing = Hearing()
        self._answer = self._loop.create_future()
        self._unsent, self.until = question, until
        self._deadlines.watch(self, self._loop)
        try:
            self._send()
            return await self._answer
        finally:
            self._answer = self._hearing = None
            self.until = 0.0
            if not hearing.again:
                self.close()

    def expire(self) -> None:
        """The time of what is under way is over."""
        self._fail(TimeoutError())

    def close(self) -> None:
        """Hang up at once."""
        made, self._socket = self._socket, None
        if made is not None:
            if self._reading:
                self._loop.remove_reader(made.fileno())
            if self._writing:
                self._loop.remove_writer(made.fileno())
            made.close()

    def _send(self) -> None:
        """Send what is left. A socket that is not connected yet takes nothing."""
        made = self._socket
        if made is None:
            return
        try:
            sent = made.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._lost(error)
            return
        self._connected = self._connected or sent > 0
        self._unsent = self._unsent[sent:]
        if self._writing != bool(self._unsent):
            self._writing = not self._writing
            if self._writing:
                self._loop.add_writer(made.fileno(), self._send)
            else:
                self._loop.remove_writer(made.fileno())
        if not self._reading:
            self._reading = True
            self._loop.add_reader(made.fileno(), self._hear)  # not the socket, whose name the loop would write down

    def _hear(self) -> None:
        made = self._socket
        if made is None:
            return
        try:
            data = made.recv(AT_A_TIME)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(error)
            return
        answer, hearing = self._answer, self._hearing
        if not data:
            self._lost(None)
        elif answer is None or hearing is None or answer.done():
            self.close()
        else:
            try:
                found = hearing.feed(data)
            except OSError as error:
                answer.set_exception(error)
            else:
                if found is not None:
                    answer.set_result(found)

    def _lost(self, error: OSError | None) -> None:
        """The connection is over, or never came to be."""
        self.close()
        answer, hearing = self._answer, self._hearing
        if answer is None or hearing is None or answer.done():
            return
        found = hearing.ended() if error is None else None
        if found is not None:
            answer.set_result(found)
        elif error is not None and not self._connected:
            answer.set_exception(error)
        else:
            answer.set_exception(HungUp(unheard=hearing.silent))

    def _fail(self, error: BaseException) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def connecting(address: str, port: int) -> socket.socket:
    """A socket that is about to be connected. The caller closes it. Raises OSError."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        with suppress(BlockingIOError):
            made.connect((address, port))
    except BaseException:
        made.close()
        raise
    return made
