"""What a wrapper of a registry hands on as it is: all that writes, and all that nobody should read from a copy."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator

from reconciler.model.audit import AuditVerdict
from reconciler.model.identity import AgentName
from reconciler.model.objects import Observation
from reconciler.model.registry import (
    AgentRevision,
    AuditEntry,
    JournalEntry,
    Lease,
    RegistrySnapshot,
)
from reconciler.ports import Registry


class Passing:
    """The part of the Registry port that goes to the registry itself. `_registry` raises RegistryError."""

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

    async def acquire(self, lease: str, *, holder: str, ttl_ms: int, now_ms: int) -> Lease:
        return await (await self._registry()).acquire(lease, holder=holder, ttl_ms=ttl_ms, now_ms=now_ms)

    async def release(self, lease: Lease) -> None:
        await (await self._registry()).release(lease)
