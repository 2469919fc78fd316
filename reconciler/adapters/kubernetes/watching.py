"""Watching one kind: a list once, then every change, kept as a copy in memory.

The copy is only answered from while the watch is well: a connection that was heard of lately. A connection that is lost
goes on from the last version; 410 and whatever cannot be understood list anew. Objects are never taken out for want of
news, only for a DELETED event or a complete list without them.
Source: Kubernetes API concepts, "Efficient detection of changes", "Watch bookmarks".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec

from reconciler.adapters.kubernetes.answers import Gone, Status
from reconciler.adapters.kubernetes.copies import Copy
from reconciler.adapters.kubernetes.listing import Listed, list_all, live_object
from reconciler.adapters.kubernetes.resources import Resource
from reconciler.adapters.kubernetes.transport import Request, Transport
from reconciler.model.errors import ClusterUnavailable, ReconcilerError
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import LiveObject
from reconciler.ports import Clock

SERVER_S = 300
"""How long the server keeps one watch open."""
SILENCE_S = 90.0
"""A server sends bookmarks about each minute: one that is silent for longer is gone, whatever TCP believes."""
FIRST_PAUSE_S, MOST_PAUSE_S = 0.2, 10.0


class _Event(msgspec.Struct):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


class _BookmarkMeta(msgspec.Struct):
    resourceVersion: str = ""  # noqa: N815 - the name on the wire


class _Bookmark(msgspec.Struct):
    metadata: _BookmarkMeta


_event_of = msgspec.json.Decoder(_Event).decode
_bookmark_of = msgspec.json.Decoder(_Bookmark).decode
_status_of = msgspec.json.Decoder(Status).decode

Listener = Callable[[ObjectRef], None]


class Watched:
    """One kind, in one namespace or everywhere, followed by a task of its own from `start` to `stop`."""

    def __init__(self, transport: Transport, resource: Resource, namespace: str, clock: Clock) -> None:
        self.resource = resource
        self.namespace = namespace
        self.copy = Copy()
        self._transport = transport
        self._clock = clock
        self._gone: set[str] = set()
        """Uids that the server said are deleted before the watch did: what it still says of them is old."""
        self._version = ""
        self._heard = float("-inf")
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._complete = False
        self._quiet_below = 0
        self.relists = 0
        """How many times everything was listed."""

    def seed(self, listed: Listed) -> None:
        """Begin from a list that somebody has just made. Not once it is followed: then it knows better."""
        if self._task is None:
            self.copy.replace(listed.objects)
            self._version = listed.version

    def start(self, *, quiet_below: int = 0) -> None:
        """Begin. Of a first list only what is newer than version `quiet_below` is told to listeners."""
        if self._task is None:
            self._quiet_below = quiet_below
            self._task = asyncio.create_task(self._follow(), name=f"watch {self.resource.plural}")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @property
    def followed(self) -> bool:
        return self._task is not None

    @property
    def fresh(self) -> bool:
        """Whether the copy may be answered from: it is complete, and the server was heard of lately."""
        return self._complete and self._clock.monotonic() - self._heard < SILENCE_S

    def listen(self, listener: Listener) -> None:
        self._listeners.add(listener)

    def unlisten(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    def learn(self, one: LiveObject) -> None:
        """Take what an answer to one of our own calls says: we read our own writes."""
        if self._complete:
            self._put(one)

    def forget(self, ref: ObjectRef, uid: str) -> None:
        """Take an object out that the server has just told us is gone."""
        known = self.copy.get(ref)
        if known is not None and known.uid == uid:
            self._gone.add(uid)
            self._drop(ref)

    async def _follow(self) -> None:
        failures = 0
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._events()
                failures = 0
            except Gone:
                self._version = ""
            except ReconcilerError:
                failures += 1
            except msgspec.MsgspecError:
                failures += 1
                self._version = ""
            if failures:
                await self._clock.sleep(min(MOST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures, 10)))

    async def _list(self) -> None:
        listed = await list_all(self._transport, self.resource, namespace=self.namespace)
        before = self.copy.replace(listed.objects)
        self._gone.clear()
        self._version = listed.version
        self._heard = self._clock.monotonic()
        self.relists += 1
        first, self._complete = not self._complete, True
        for ref, one in listed.objects.items():
            known = before.get(ref)
            moved = known is None or known.resource_version != one.resource_version
            if moved and not (first and number(one.resource_version) <= self._quiet_below):
                self._tell(ref)
        for ref in before.keys() - listed.objects.keys():
            self._tell(ref)

    async def _events(self) -> None:
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(SERVER_S),
        }
        what = f"watch {self.resource.plural}"
        request = Request(method="GET", path=self.resource.path(self.namespace), what=what, query=query)
        async with self._transport.stream(request, silence_s=SILENCE_S) as lines:
            self._complete = True  # what was listed, by us or before us, and from here on every change
            self._heard = self._clock.monotonic()
            async for line in lines:
                self._heard = self._clock.monotonic()
                if line.strip():
                    self._take(line)

    def _take(self, line: bytes) -> None:
        """Act on one line. Raises Gone for 410, ClusterUnavailable for other errors, MsgspecError for nonsense."""
        event = _event_of(line)
        match event.type:
            case "ADDED" | "MODIFIED":
                one = live_object(bytes(event.object), self.resource)
                self._version = one.resource_version
                self._put(one)
            case "DELETED":
                one = live_object(bytes(event.object), self.resource)
                self._version = one.resource_version
                self._gone.discard(one.uid)
                known = self.copy.get(one.ref)
                if known is None or known.uid == one.uid:
                    self._drop(one.ref)
            case "BOOKMARK":
                self._version = _bookmark_of(event.object).metadata.resourceVersion
            case "ERROR":
                status = _status_of(event.object)
                if status.code == 410:
                    raise Gone(status.message)
                raise ClusterUnavailable(status.message or "the watch ended with an error")
            case other:
                raise msgspec.ValidationError(f"an event of type {other!r}")

    def _put(self, one: LiveObject) -> None:
        if one.uid in self._gone:
            return
        known = self.copy.get(one.ref)
        if known is not None and known.uid == one.uid and number(known.resource_version) > number(one.resource_version):
            return
        if known is not None and known.resource_version == one.resource_version:
            return
        self.copy.put(one)
        self._tell(one.ref)

    def _drop(self, ref: ObjectRef) -> None:
        self.copy.drop(ref)
        self._tell(ref)

    def _tell(self, ref: ObjectRef) -> None:
        for listener in tuple(self._listeners):
            listener(ref)


def number(version: str) -> int:
    """A resourceVersion as the number that it is compared as within one kind (KEP-5504); 0 for one that is none."""
    return int(version) if version.isascii() and version.isdigit() else 0
