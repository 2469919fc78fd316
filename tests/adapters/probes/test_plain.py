"""Bare sockets: what is sent in pieces, who never takes us, who gives up; and one timer for the deadlines of all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.probes import HttpProber
from reconciler.adapters.probes.deadlines import Deadlines
from reconciler.adapters.probes.plain import PlainConnection
from reconciler.model.health import HttpProbe

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def later() -> float:
    return asyncio.get_running_loop().time() + 60


@dataclass
class Pair:
    """A connection whose other end the test holds."""

    ours: PlainConnection
    theirs: socket.socket

    async def heard(self, size: int) -> bytes:
        found, loop = b"", asyncio.get_running_loop()
        while len(found) < size:
            found += await loop.sock_recv(self.theirs, size - len(found))
        return found


@pytest.fixture
async def pair() -> Pair:
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return Pair(PlainConnection(ours, Deadlines()), theirs)


async def test_a_question_that_does_not_fit_at_once_is_sent_in_pieces(pair: Pair) -> None:
    question = bytes(range(256)) * 4096
    asked = asyncio.create_task(pair.ours.ask(question, later()))
    assert await pair.heard(len(question)) == question
    pair.theirs.send(ANSWER)
    assert (await asked).body == b"ok"
    asked = asyncio.create_task(pair.ours.ask(b"again", later()))
    assert await pair.heard(5) == b"again"
    pair.theirs.send(ANSWER)
    assert (await asked).status == 200
    pair.ours.close()
    pair.theirs.close()


async def test_who_gives_up_hangs_up(pair: Pair) -> None:
    asked = asyncio.create_task(pair.ours.ask(b"well?", later()))
    assert await pair.heard(5) == b"well?"
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await asyncio.get_running_loop().sock_recv(pair.theirs, 1) == b""
    assert not pair.ours.reusable
    pair.theirs.close()


async def test_what_comes_unasked_ends_the_connection(pair: Pair) -> None:
    asked = asyncio.create_task(pair.ours.ask(b"well?", later()))
    await pair.heard(5)
    pair.theirs.send(ANSWER)
    assert (await asked).status == 200
    pair.theirs.send(b"HTTP/1.1 200 OK\r\n\r\n")
    assert await asyncio.get_running_loop().sock_recv(pair.theirs, 1) == b""
    assert not pair.ours.reusable
    pair.theirs.close()


async def test_a_listener_that_takes_nobody_costs_the_deadline() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = listener.getsockname()[1]
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:  # fill what the kernel would accept in its place
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
    prober = HttpProber(clock=SystemClock())
    sample = await prober.probe(HttpProbe(host="127.0.0.1", port=port, timeout_ms=200))
    assert (sample.ok, sample.problem) == (False, "no answer within 200 ms")
    for made in (*waiting, listener):
        made.close()
    await prober.close()


@dataclass
class Timer:
    at: float
    ring: Callable[[], None]
    cancelled: bool = False

    def when(self) -> float:
        return self.at

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Loop:
    """Stands in for an event loop: time passes when the test says so."""

    now: float = 0.0
    timers: list[Timer] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, ring: Callable[[], None]) -> Timer:
        self.timers.append(Timer(at, ring))
        return self.timers[-1]

    def until(self, now: float) -> None:
        self.now = now
        while due := [one for one in self.timers if one.at <= now and not one.cancelled]:
            due[0].cancelled = True
            due[0].ring()

    @property
    def set(self) -> int:
        return sum(not one.cancelled for one in self.timers)


@dataclass(eq=False)
class Asking:
    until: float
    over: int = 0

    def expire(self) -> None:
        self.over += 1
        self.until = 0.0


def watching(loop: Loop, *asking: Asking) -> Deadlines:
    deadlines = Deadlines()
    for one in asking:
        deadlines.watch(one, loop)  # type: ignore[arg-type]
    return deadlines


def test_each_is_told_at_its_own_time_by_one_timer() -> None:
    loop, late, soon, same = Loop(), Asking(5.0), Asking(2.0), Asking(2.0)
    watching(loop, late, soon, same)
    assert loop.set == 1
    loop.until(1.9)
    assert (soon.over, same.over, late.over) == (0, 0, 0)
    loop.until(2.0)
    assert (soon.over, same.over, late.over) == (1, 1, 0)
    loop.until(9.0)
    assert (soon.over, same.over, late.over) == (1, 1, 1)
    assert loop.set == 0


def test_who_is_done_is_told_nothing_and_who_asks_again_only_at_the_new_time() -> None:
    loop, done, again = Loop(), Asking(1.0), Asking(2.0)
    deadlines = watching(loop, done, again)
    done.until = 0.0
    again.until = 7.0
    deadlines.watch(again, loop)  # type: ignore[arg-type]
    loop.until(6.9)
    assert (done.over, again.over) == (0, 0)
    loop.until(7.0)
    assert (done.over, again.over) == (0, 1)
