"""Watching one kind: a list once, then every change, kept as a copy in memory.

The copy is only answered from while the watch is well: a connection that was heard of lately. A connection that is lost
goes on from the last version; 410, silence and whatever cannot be understood list anew. Objects are never taken out for
want of news, only for a DELETED event or a complete list without them. What answers to our own calls say goes into the
copy at once; events, lists and answers that were on their way meanwhile and are older change nothing.
Source: Kubernetes API concepts, "Efficient detection of changes", "Watch bookmarks".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Annotated

import msgspec

from reconciler.adapters.kubernetes.answers import NOT_UNDERSTOOD, Gone, Status
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
OPENING_S = 10.0
"""How long a list is good for by itself: its watch is open by then, or has to wait for a server that is busy."""
SILENCE_S = 90.0
"""A server sends bookmarks about each minute: one that is silent for longer is gone, whatever TCP believes."""
FIRST_PAUSE_S, MOST_PAUSE_S = 0.2, 10.0
"""Before a watch is begun again; at once when it was well for longer than the longest of them."""
KEPT_GONE = 10_000
"""Uids of objects that are gone: for what was on its way when they went, the latest are enough."""


class _Event(msgspec.Struct):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


class _BookmarkMeta(msgspec.Struct):
    resourceVersion: Annotated[str, msgspec.Meta(min_length=1)]  # noqa: N815 - the name on the wire


class _Bookmark(msgspec.Struct):
    metadata: _BookmarkMeta


_event_of = msgspec.json.Decoder(_Event).decode
_bookmark_of = msgspec.json.Decoder(_Bookmark).decode
_status_of = msgspec.json.Decoder(Status).decode

Listener = Callable[[ObjectRef], None]


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a task, and wait until it is over. To await it would take our own cancellation for the one of it."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


class Watched:
    """One kind, in one namespace or everywhere, followed by a task of its own from `start` to `stop`."""

    def __init__(self, transport: Transport, resource: Resource, namespace: str, clock: Clock) -> None:
        self.resource = resource
        self.namespace = namespace
        self.copy = Copy()
        self._transport = transport
        self._clock = clock
        self._gone: dict[str, None] = {}
        """Uids that are deleted, the latest last: what is still said of them is old."""
        self._learned = 0
        """The newest version that an answer to a call of ours has told."""
        self._version = ""
        self._newest = 0
        """The newest version that was reached."""
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
            self.copy.replace(self._up_to_date(listed))
            self._version = listed.version

    def start(self, *, quiet_below: int = 0) -> None:
        """Begin. Of a first list only what is newer than version `quiet_below` is told to listeners."""
        if self._task is None:
            self._quiet_below = quiet_below
            self._task = asyncio.create_task(self._follow(), name=f"watch {self.resource.plural}")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await ended(task)

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
        self._learned = max(self._learned, number(one.resource_version))
        self._put(one)

    def forget(self, ref: ObjectRef, uid: str) -> None:
        """Take an object out that the server has just told us is gone."""
        self._note_gone(uid)
        known = self.copy.get(ref)
        if known is not None and known.uid == uid:
            self._drop(ref)

    def _note_gone(self, uid: str) -> None:
        self._gone[uid] = None
        if len(self._gone) > KEPT_GONE:
            del self._gone[next(iter(self._gone))]

    async def _follow(self) -> None:
        failures = 0
        while True:
            began = self._clock.monotonic()
            with suppress(ReconcilerError):
                await self._list_and_watch()
            self._heard = float("-inf")  # until it is begun again, nobody knows what has changed
            failures = 0 if self._clock.monotonic() - began > MOST_PAUSE_S else failures + 1
            if failures:
                await self._clock.sleep(min(MOST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 10)))

    async def _list_and_watch(self) -> None:
        """Follow until the connection ends, or until what comes makes no sense: then everything is listed again."""
        try:
            if not self._version:
                await self._list()
            await self._events()
        except (Gone, *NOT_UNDERSTOOD):
            self._version = ""

    def _up_to_date(self, listed: Listed) -> Mapping[ObjectRef, LiveObject]:
        """A list, and what we have learned since it was asked for."""
        version = number(listed.version)
        if self._learned <= version and not self._gone:
            return listed.objects
        objects = {ref: one for ref, one in listed.objects.items() if one.uid not in self._gone}
        newer = {ref: one for ref, one in self.copy.objects().items() if number(one.resource_version) > version}
        return objects | newer

    async def _list(self) -> None:
        listed = await list_all(self._transport, self.resource, namespace=self.namespace)
        if number(listed.version) < self._newest:  # the cluster came out of a backup: what we know is of another time
            self._learned = 0
            self._gone.clear()
        objects = self._up_to_date(listed)
        before = self.copy.replace(objects)
        self._version, self._newest = listed.version, number(listed.version)
        self._heard = self._clock.monotonic() - (SILENCE_S - OPENING_S)
        self.relists += 1
        first, self._complete = not self._complete, True
        for ref, one in objects.items():
            known = before.get(ref)
            moved = known is None or known.resource_version != one.resource_version
            if moved and not (first and number(one.resource_version) <= self._quiet_below):
                self._tell(ref)
        for ref in before.keys() - objects.keys():
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
            try:
                async for line in lines:
                    self._heard = self._clock.monotonic()
                    if line.strip():
                        self._take(line)
            except TimeoutError:
                # Of a cluster that came out of a backup nothing is told before its versions are where they were once.
                self._version = ""
                raise

    def _take(self, line: bytes) -> None:
        """Act on one line. Raises Gone for 410, ClusterUnavailable for other errors, NOT_UNDERSTOOD for nonsense."""
        event = _event_of(line)
        match event.type:
            case "ADDED" | "MODIFIED":
                one = live_object(bytes(event.object), self.resource)
                self._reached(one.resource_version)
                self._put(one)
            case "DELETED":
                one = live_object(bytes(event.object), self.resource)
                self._reached(one.resource_version)
                self._note_gone(one.uid)
                known = self.copy.get(one.ref)
                if known is None or known.uid == one.uid:
                    self._drop(one.ref)
            case "BOOKMARK":
                self._reached(_bookmark_of(event.object).metadata.resourceVersion)
            case "ERROR":
                status = _status_of(event.object)
                if status.code == 410:
                    raise Gone(status.message)
                raise ClusterUnavailable(status.message or "the watch ended with an error")
            case other:
                raise msgspec.ValidationError(f"an event of type {other!r}")

    def _reached(self, version: str) -> None:
        """Go on from there after a connection is lost, unless something newer has come already."""
        if number(version) >= number(self._version):
            self._version = version
            self._newest = max(self._newest, number(version))

    def _put(self, one: LiveObject) -> None:
        if one.uid in self._gone:
            return
        known = self.copy.get(one.ref)
        if known is not None and number(known.resource_version) > number(one.resource_version):
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
