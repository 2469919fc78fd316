"""EmbeddedCluster: the Cluster port over an object store and, unless nothing is to run, a supervisor.

Here live the translation between port values and stored objects, and the warm copy that `observe` answers from. It
decides nothing about objects (that is the store) and starts no process itself: `ensure_supervisor` does, and is called
after every write that gives the supervisor something to do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec, Self, TypeVar

from reconciler.adapters.embedded import logtail
from reconciler.adapters.embedded.capacity import machine_capacity, unlimited_capacity
from reconciler.adapters.embedded.lane import Lane
from reconciler.adapters.embedded.lifecycle import is_locked
from reconciler.adapters.embedded.storage_sql import Database, Expired
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.adapters.embedded.unrun import ready_status
from reconciler.adapters.embedded.warm import WarmCopy
from reconciler.model.errors import ClusterError, ClusterUnavailable, OutcomeUnknown, Rejected
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import (
    FIELD_MANAGER,
    Absent,
    Capacity,
    ClusterIdentity,
    Found,
    LiveObject,
    LiveSet,
    LogOptions,
    Manifest,
    Observation,
    Precondition,
    Scope,
    Unreadable,
    Usage,
    main_container,
)
from reconciler.model.ownership import OwnedPath

VERSION = "v1.36+embedded"
"""The Kubernetes API whose semantics the store has."""
DATABASE = "cluster.db"
LOGS = "logs"
_CONTROLLER = "embedded-controller"
_RUNNABLE = frozenset({"Deployment", "ReplicaSet", "Pod"})
_POLL_SECONDS = 0.05
_BATCH = 1000
LOOK_SECONDS = 1.0
"""How often who observes looks whether there is a supervisor: it may be killed while a daemon runs for months."""

P = ParamSpec("P")
R = TypeVar("R")


class EmbeddedCluster:
    """One state folder as a cluster. All reads and writes go through one thread of its own, in the order of calls."""

    def __init__(
        self,
        name: str,
        state_dir: Path,
        *,
        store: ObjectStore,
        watcher: Database,
        run: Literal["processes", "nothing"],
        ensure_supervisor: Callable[[Path], None],
    ) -> None:
        self._name = name
        self._state_dir = state_dir
        self._store = store
        self._watcher = watcher
        self._run = run
        self._ensure_supervisor = ensure_supervisor
        self._looked = float("-inf")
        self._idle_at = -1
        """The version of the store at which nothing wanted a supervisor."""
        self._warm = WarmCopy(store)
        self._lane = Lane(f"cluster-{name}")
        self._identity: Found[ClusterIdentity] | None = None

    @classmethod
    def open(
        cls,
        name: str,
        state_dir: Path,
        *,
        run: Literal["processes", "nothing"],
        ensure_supervisor: Callable[[Path], None],
    ) -> Self:
        """Open the cluster kept in `state_dir`, making it when there is none.

        `ensure_supervisor(state_dir)` is called, in a thread, after writes of workloads (never with run="nothing").
        Raises ClusterUnavailable.
        """
        path = state_dir / DATABASE
        store = ObjectStore.open(path)
        try:
            watcher = Database.open(path)
        except BaseException:
            store.close()
            raise
        return cls(name, state_dir, store=store, watcher=watcher, run=run, ensure_supervisor=ensure_supervisor)

    async def close(self) -> None:
        """Close the store; what was asked for before is finished first. Processes go on under their supervisor."""
        await asyncio.to_thread(self._lane.close)
        self._store.close()
        self._watcher.close()

    @property
    def name(self) -> str:
        return self._name

    @property
    def reaches_pods(self) -> bool:
        """Pods are processes of this machine."""
        return True

    async def identity(self) -> Observation[ClusterIdentity]:
        """It does not change, so that it is read once: who asks later waits for no other call."""
        if self._identity is None:
            found = await self._read(lambda: ClusterIdentity(uid=self._store.uid, version=VERSION))
            if isinstance(found, Unreadable):
                return found
            self._identity = found
        return self._identity

    async def observe(self, scope: Scope) -> Observation[LiveSet]:
        """A complete, consistent list. Values are shared with later answers: they are not to be changed.

        What is stored of pods is only true while a supervisor lives: where one is needed and gone (killed, or the
        machine was restarted), it is started first.
        """
        if self._run == "processes" and (now := asyncio.get_running_loop().time()) - self._looked >= LOOK_SECONDS:
            self._looked = now
            await self._see_to_supervisor()
        return await self._read(self._warm.observe, scope)

    async def _see_to_supervisor(self) -> None:
        """Start the supervisor when there is none and pods want one. Never fails: observing goes on, and the next
        write says why.
        """
        with contextlib.suppress(OSError, ClusterError):
            version = await self._call(self._store.resource_version)
            if version == self._idle_at or is_locked(self._state_dir):
                return
            if await self._call(_wants_pods, self._store):
                await asyncio.to_thread(self._ensure_supervisor, self._state_dir)
            else:
                self._idle_at = version

    async def get(self, ref: ObjectRef) -> Observation[LiveObject]:
        found = await self._read(self._store.get, ref)
        if isinstance(found, Unreadable):
            return found
        return Absent() if found.value is None else Found(live_object(ref, found.value))

    async def apply(
        self,
        manifest: Manifest,
        expect: Precondition,
        *,
        manager: str = FIELD_MANAGER,
        force: bool = False,
        take: Sequence[OwnedPath] = (),
    ) -> LiveObject:
        ref, body = manifest.ref, dict(manifest.body)
        body = await self._write(self._apply, ref, body, manager=manager, force=force, expect=expect, take=take)
        await self._supervise(ref)
        return live_object(ref, body)

    async def delete(self, ref: ObjectRef, expect: Precondition) -> None:
        await self._write(self._store.delete, ref, expect, grace=self._run == "processes")
        await self._supervise(ref)

    def changes(self, scope: Scope) -> AsyncGenerator[ObjectRef, None]:
        return self._changes(scope, self._watcher.version())

    async def _changes(self, scope: Scope, since: int) -> AsyncGenerator[ObjectRef, None]:
        kinds = {(group, kind) for group, _, kind in scope.kinds}
        while True:
            version = self._watcher.version()
            if version <= since:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            try:
                events = await self._call(self._store.events, since, _BATCH)
            except Expired:
                events, since = [], version
                for ref in sorted((await self._call(self._warm.observe, scope)).objects):
                    yield ref
            seen: set[ObjectRef] = set()
            for event in events:
                since = event.resource_version
                ref = event.ref
                inside = scope.namespaces is None or ref.namespace in scope.namespaces
                if (ref.group, ref.kind) in kinds and inside and ref not in seen:
                    seen.add(ref)
                    yield ref

    async def capacity(self) -> Observation[Capacity]:
        if self._run == "nothing":
            return Found(unlimited_capacity())
        return await self._read(lambda: machine_capacity(self._store.list("", "Pod")[0]))

    async def usage(self, scope: Scope) -> Observation[Usage]:
        """The supervisor's last samples. Labels and kinds of the scope are not looked at: only pods are measured."""
        samples = await self._read(self._store.usage)
        if isinstance(samples, Unreadable | Absent):
            return samples
        names = scope.namespaces
        return Found(
            Usage(pods={ref: one for ref, one in samples.value.items() if names is None or ref.namespace in names})
        )

    async def logs(self, pod: ObjectRef, options: LogOptions) -> AsyncIterator[str]:
        body = await self._write(self._store.get, pod)
        if body is None:
            raise Rejected(f"{pod}: there is no such pod", ref=pod, cluster=self._name)
        folder = self._state_dir / LOGS / pod.namespace / pod.name
        container = main_container(body)
        uid: str = body["metadata"]["uid"]

        async def alive() -> bool:
            now = await self._call(self._store.get, pod)
            return now is not None and now["metadata"]["uid"] == uid and not _ended(now)

        async for line in logtail.lines(folder, container, options, alive):
            yield line

    def _apply(self, ref: ObjectRef, body: dict[str, Any], **options: Any) -> Any:
        applied = self._store.apply(body, **options)
        if self._run == "nothing" and ref.kind == "Deployment":
            return self._store.patch_status(ref, ready_status(applied), manager=_CONTROLLER) or applied
        return applied

    async def _supervise(self, ref: ObjectRef) -> None:
        """See that somebody acts on the write. Raises OutcomeUnknown: the object is written, but nothing runs it."""
        if self._run == "nothing" or ref.kind not in _RUNNABLE:
            return
        try:
            await asyncio.to_thread(self._ensure_supervisor, self._state_dir)
        except (OSError, ClusterUnavailable) as error:
            raise OutcomeUnknown(
                f"{ref} is stored in cluster {self._name}, but its supervisor cannot be started: {error}",
                hint="`reconciler doctor` says what is missing",
            ) from error

    async def _read(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Found[R] | Unreadable:
        try:
            return Found(await self._call(function, *args, **kwargs))
        except ClusterError as error:
            return Unreadable(reason=error.message)

    async def _write(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await self._call(function, *args, **kwargs)
        except ClusterError as error:
            error.cluster = self._name
            raise

    async def _call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._lane.call(function, *args, **kwargs)


def live_object(ref: ObjectRef, body: dict[str, Any]) -> LiveObject:
    """A stored object as the port speaks of it."""
    metadata = body["metadata"]
    return LiveObject(ref=ref, uid=metadata["uid"], resource_version=metadata["resourceVersion"], body=body)


def _wants_pods(store: ObjectStore) -> bool:
    """Whether pods are to run, or are to be ended: those of what was deleted run on until somebody does that."""
    deployments, _ = store.list("apps", "Deployment")
    if any(item["spec"].get("replicas", 1) for item in deployments):
        return True
    pods, _ = store.list("", "Pod")
    return any(not _ended(pod) or "deletionTimestamp" in pod["metadata"] for pod in pods)


def _ended(pod: dict[str, Any]) -> bool:
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}
