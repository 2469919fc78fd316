"""The watches of one cluster: which kinds are followed, who listens, and the copies that reads may answer from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from reconciler.adapters.kubernetes.connection import Connection
from reconciler.adapters.kubernetes.copies import Copy
from reconciler.adapters.kubernetes.listing import Listed
from reconciler.adapters.kubernetes.resources import Resource
from reconciler.adapters.kubernetes.watching import Listener, Watched, ended, number
from reconciler.model.errors import ReconcilerError
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import LiveObject, Scope
from reconciler.ports import Clock

_Key = tuple[str, str, str]
"""(group, kind, namespace or "")."""
RETRY_S = 5.0


class Watches:
    """Started by `changes`, and then kept until `close`: a second listener costs no request."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._at = connection
        self._clock = clock
        self._watched: dict[_Key, Watched] = {}
        self._seen: dict[tuple[str, str], int] = {}
        """The newest version of each kind that an answer has told us."""
        self._starting: set[asyncio.Task[None]] = set()

    def copy_of(self, resource: Resource, namespace: str) -> Copy | None:
        """A copy that holds all of a kind in a namespace and may be answered from; None when there is none."""
        for where in dict.fromkeys(("", namespace)):
            found = self._watched.get((resource.group, resource.kind, where))
            if found is not None and found.fresh:
                return found.copy
        return None

    def seed(self, resource: Resource, namespace: str, listed: Listed) -> None:
        """Keep a complete list: a watch that is asked for later goes on from it instead of listing again."""
        self.saw(resource, number(listed.version))
        transport = self._at.opened
        if namespace or transport is None:
            return
        key = (resource.group, resource.kind, namespace)
        if key not in self._watched:
            self._watched[key] = Watched(transport, resource, namespace, self._clock)
        self._watched[key].seed(listed)

    def learn(self, resource: Resource, one: LiveObject) -> None:
        """Take in what an answer says of one object."""
        self.saw(resource, number(one.resource_version))
        for watched in self._of(resource, one.ref.namespace):
            watched.learn(one)

    def gone(self, resource: Resource, ref: ObjectRef, uid: str) -> None:
        """Take in that an object is no longer there."""
        for watched in self._of(resource, ref.namespace):
            watched.forget(ref, uid)

    def saw(self, resource: Resource, version: int) -> None:
        """Remember that all of a kind up to a version is known to whoever asked for it."""
        key = (resource.group, resource.kind)
        self._seen[key] = max(self._seen.get(key, 0), version)

    def _of(self, resource: Resource, namespace: str) -> list[Watched]:
        keys = dict.fromkeys(((resource.group, resource.kind, ""), (resource.group, resource.kind, namespace)))
        return [self._watched[key] for key in keys if key in self._watched]

    def changes(self, scope: Scope) -> AsyncGenerator[ObjectRef, None]:
        """What changes from this call on; what a first list shows to be newer than all that was told counts too."""
        queue: asyncio.Queue[ObjectRef] = asyncio.Queue()
        waiting: set[ObjectRef] = set()
        since = {(group, kind): self._seen.get((group, kind), 0) for group, _, kind in scope.kinds}

        def listener(ref: ObjectRef) -> None:
            if ref not in waiting and (scope.namespaces is None or ref.namespace in scope.namespaces):
                waiting.add(ref)
                queue.put_nowait(ref)

        starting = asyncio.create_task(self._listen(scope, listener, since))
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        return self._from(queue, waiting, listener, starting)

    async def _from(
        self,
        queue: asyncio.Queue[ObjectRef],
        waiting: set[ObjectRef],
        listener: Listener,
        starting: asyncio.Task[None],
    ) -> AsyncGenerator[ObjectRef, None]:
        try:
            while True:
                ref = await queue.get()
                waiting.discard(ref)
                yield ref
        finally:
            await ended(starting)
            for watched in self._watched.values():
                watched.unlisten(listener)

    async def _listen(self, scope: Scope, listener: Listener, since: dict[tuple[str, str], int]) -> None:
        for group, version, kind in scope.kinds:
            resource = await self._resource(group, version, kind)
            if resource is None:
                continue
            for namespace in ("",) if scope.namespaces is None else sorted(scope.namespaces):
                watched = await self._watch(resource, namespace)
                watched.listen(listener)
                watched.start(quiet_below=since[group, kind])

    async def _resource(self, group: str, version: str, kind: str) -> Resource | None:
        """Where a kind is, asked until the server answers."""
        while True:
            try:
                return await self._at.resource(group, version, kind)
            except ReconcilerError:
                await self._clock.sleep(RETRY_S)

    async def _watch(self, resource: Resource, namespace: str) -> Watched:
        transport = await self._at.transport()  # before looking: another listener may wait for it too
        key = (resource.group, resource.kind, namespace)
        everywhere = self._watched.get((resource.group, resource.kind, ""))
        found = everywhere if everywhere is not None and everywhere.followed else self._watched.get(key)
        if found is None:
            found = self._watched[key] = Watched(transport, resource, namespace, self._clock)
        return found

    async def close(self) -> None:
        """Stop all of them."""
        starting = list(self._starting)
        for task in starting:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)
        watched, self._watched = list(self._watched.values()), {}
        for one in watched:
            await one.stop()
