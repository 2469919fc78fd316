"""A cluster that is well, away, silent, red or another one, as a test says, around one that really keeps objects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

from reconciler.model.errors import ClusterUnavailable
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import (
    FIELD_MANAGER,
    OPTIONAL_KINDS,
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
)
from reconciler.model.ownership import OwnedPath
from reconciler.ports import Cluster

Answer = TypeVar("Answer")
OPTIONAL = {kind for _, _, kind in OPTIONAL_KINDS}


class Sky(StrEnum):
    """How a cluster is."""

    WELL = "well"
    AWAY = "away"
    """Nobody is there: every call fails at once."""
    SILENT = "silent"
    """Somebody is there and says nothing: no call ever ends."""
    REFUSING = "refusing"
    """It answers and does not let us in."""
    RED = "red"
    """It answers, and has no node that is ready."""


class WeatherCluster:
    """Implements ports.Cluster. `writes` are the verbs that got through, with their objects; `asked` counts all calls.

    `turns` maps a verb and kind, as `apply Deployment`, to what the sky becomes just before the first such call.
    It serves `apis`, and keeps the objects of their kinds by itself.
    """

    def __init__(self, inner: Cluster) -> None:
        self.inner = inner
        self.sky = Sky.WELL
        self.uid = ""
        self.apis: frozenset[str] = frozenset()
        self.turns: dict[str, Sky] = {}
        self.writes: list[tuple[str, ObjectRef]] = []
        self.asked = 0
        self.exports: dict[ObjectRef, LiveObject] = {}

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def reaches_pods(self) -> bool:
        return self.inner.reaches_pods

    async def _read(self, work: Callable[[], Awaitable[Observation[Any]]]) -> Observation[Any]:
        self.asked += 1
        match self.sky:
            case Sky.SILENT:
                await asyncio.Event().wait()
            case Sky.AWAY:
                return Unreadable(reason=f"{self.name} cannot be reached")
            case Sky.REFUSING:
                return Unreadable(reason=f"{self.name} does not accept our credentials", refused=True)
        return await work()

    async def _write(self, verb: str, ref: ObjectRef, work: Callable[[], Awaitable[Answer]]) -> Answer:
        self.asked += 1
        self.sky = self.turns.pop(f"{verb} {ref.kind}", self.sky)
        match self.sky:
            case Sky.SILENT:
                await asyncio.Event().wait()
            case Sky.AWAY | Sky.REFUSING:
                raise ClusterUnavailable(f"{ref}: {self.name} cannot be reached", ref=ref, cluster=self.name)
        answer = await work()
        self.writes.append((verb, ref))
        return answer

    async def identity(self) -> Observation[ClusterIdentity]:
        found = await self._read(self.inner.identity)
        if not isinstance(found, Found):
            return found
        return Found(replace(found.value, uid=self.uid or found.value.uid, apis=self.apis))

    async def observe(self, scope: Scope) -> Observation[LiveSet]:
        asked = {kind for _, _, kind in scope.kinds}
        served = {kind for group, version, kind in OPTIONAL_KINDS if f"{group}/{version}" in self.apis}
        assert not (asked & OPTIONAL) - served, "only what is served is asked for"
        found = await self._read(lambda: self.inner.observe(scope))
        if isinstance(found, Found) and asked & OPTIONAL:
            return Found(replace(found.value, objects={**found.value.objects, **self.exports}))
        return found

    async def get(self, ref: ObjectRef) -> Observation[LiveObject]:
        if ref.kind in OPTIONAL:
            return await self._read(lambda: self._export(ref))
        return await self._read(lambda: self.inner.get(ref))

    async def _export(self, ref: ObjectRef) -> Observation[LiveObject]:
        return Found(self.exports[ref]) if ref in self.exports else Absent()

    async def _keep(self, manifest: Manifest) -> LiveObject:
        number = str(len(self.writes) + 1)
        body = {**manifest.body, "metadata": {**manifest.body["metadata"], "uid": f"e{number}"}}
        made = LiveObject(ref=manifest.ref, uid=f"e{number}", resource_version=number, body=body)
        return self.exports.setdefault(manifest.ref, made)

    async def _drop(self, ref: ObjectRef) -> None:
        self.exports.pop(ref, None)

    async def apply(
        self,
        manifest: Manifest,
        expect: Precondition,
        *,
        manager: str = FIELD_MANAGER,
        force: bool = False,
        take: Sequence[OwnedPath] = (),
    ) -> LiveObject:
        work = lambda: self.inner.apply(manifest, expect, manager=manager, force=force, take=take)  # noqa: E731
        if manifest.ref.kind in OPTIONAL:
            return await self._write("apply", manifest.ref, lambda: self._keep(manifest))
        return await self._write("apply", manifest.ref, work)

    async def delete(self, ref: ObjectRef, expect: Precondition) -> None:
        work = (lambda: self._drop(ref)) if ref.kind in OPTIONAL else lambda: self.inner.delete(ref, expect)
        await self._write("delete", ref, work)

    def changes(self, scope: Scope) -> AsyncGenerator[ObjectRef, None]:
        return self.inner.changes(scope)

    async def capacity(self) -> Observation[Capacity]:
        found = await self._read(self.inner.capacity)
        return Found(Capacity(nodes=(), resting=0)) if self.sky is Sky.RED else found

    async def usage(self, scope: Scope) -> Observation[Usage]:
        return await self._read(lambda: self.inner.usage(scope))

    def logs(self, pod: ObjectRef, options: LogOptions) -> AsyncIterator[str]:
        return self.inner.logs(pod, options)
