"""What a wrapper of a registry hands on as it is: all that writes, and all that nobody should read from a copy."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from reconciler.model.audit import AuditVerdict
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Observation
from reconciler.model.registry import (
    AgentRevision,
    AuditEntry,
    JournalEntry,
    Lease,
    RegistrySnapshot,
    Write,
)
from reconciler.model.series import HealthChange, HealthPoint, Retention
from reconciler.model.upkeep import BackedUp, Fault, Pruned
from reconciler.ports import Registry, Upkeep


class Passing:
    """The part of the Registry port that goes to the registry itself, and Upkeep. `_registry` raises RegistryError."""

    @abstractmethod
    async def _registry(self) -> Registry: ...

    async def snapshot(self) -> Observation[RegistrySnapshot]:
        return await (await self._registry()).snapshot()

    async def open_journal(self) -> tuple[JournalEntry, ...]:
        return await (await self._registry()).open_journal()

    async def revisions(self, name: AgentName) -> tuple[AgentRevision, ...]:
        return await (await self._registry()).revisions(name)

    async def audit(self, *, name: AgentName | None = None, since: int = 0) -> AsyncIterator[AuditEntry]:
        async for entry in (await self._registry()).audit(name=name, since=since):
            yield entry

    async def verify_audit(self) -> AuditVerdict:
        return await (await self._registry()).verify_audit()

    async def changes(self, since: int) -> AsyncIterator[tuple[int, AgentName]]:
        async for item in (await self._registry()).changes(since):
            yield item

    async def acquire(self, lease: str, *, holder: str, ttl_ms: int, now_ms: int, says: str = "") -> Lease:
        return await (await self._registry()).acquire(lease, holder=holder, ttl_ms=ttl_ms, now_ms=now_ms, says=says)

    async def leases(self, prefix: str) -> tuple[Lease, ...]:
        return await (await self._registry()).leases(prefix)

    async def release(self, lease: Lease) -> None:
        await (await self._registry()).release(lease)

    async def record_health(
        self, changes: Sequence[HealthChange], points: Sequence[HealthPoint], *, op_id: str
    ) -> None:
        await (await self._registry()).record_health(changes, points, op_id=op_id)

    async def health_changes(self, name: AgentName | None, *, since_ms: int) -> tuple[HealthChange, ...]:
        return await (await self._registry()).health_changes(name, since_ms=since_ms)

    async def health_points(
        self, name: AgentName | None, *, since_ms: int, until_ms: int, span_ms: int
    ) -> tuple[HealthPoint, ...]:
        return await (await self._registry()).health_points(name, since_ms=since_ms, until_ms=until_ms, span_ms=span_ms)

    async def prune_health(self, retention: Retention, *, now_ms: int, most: int) -> int:
        return await (await self._registry()).prune_health(retention, now_ms=now_ms, most=most)

    async def integrity(self) -> tuple[Fault, ...]:
        return await (await self._upkeep()).integrity()

    async def prune(self, *, before_ms: int, said: Write | None) -> Pruned:
        return await (await self._upkeep()).prune(before_ms=before_ms, said=said)

    async def backup(self, target: Path) -> BackedUp:
        return await (await self._upkeep()).backup(target)

    async def _upkeep(self) -> Upkeep:
        registry = await self._registry()
        if isinstance(registry, Upkeep):
            return registry
        raise RegistryError("this registry is not looked after by reconciler", hint="use its own tools")
