"""One server, once it is needed: its transport, opened at the first call, and what its discovery has said of kinds."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import msgspec

from reconciler.adapters.kubernetes.answers import NOT_UNDERSTOOD
from reconciler.adapters.kubernetes.resources import BUILT_IN, ApiGroups, ApiResources, Resource, found_in
from reconciler.model.errors import ClusterUnavailable
from reconciler.ports import Clock

if TYPE_CHECKING:
    from reconciler.adapters.kubernetes.transport import Transport

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Where credentials come from. `kubeconfig` "" is $KUBECONFIG or ~/.kube/config, `context` "" its current one."""

    context: str = ""
    kubeconfig: str = ""
    in_cluster: bool = False


class Connection:
    """How one cluster is spoken to."""

    def __init__(self, name: str, login: Login, clock: Clock) -> None:
        self.name = name
        self._login = login
        self._clock = clock
        self._opening = asyncio.Lock()
        self._transport: Transport | None = None
        self._known: dict[tuple[str, str, str], Resource | None] = {}

    async def transport(self) -> Transport:
        """The transport. What it needs is imported now, in a thread: it takes long."""
        if self._transport is None:
            async with self._opening:
                if self._transport is None:
                    self._transport = await asyncio.to_thread(self._open)
        return self._transport

    @property
    def inside(self) -> bool:
        """Whether we run in the cluster ourselves."""
        return self._login.in_cluster

    @property
    def opened(self) -> Transport | None:
        """The transport, where it was needed before."""
        return self._transport

    def _open(self) -> Transport:
        from reconciler.adapters.kubernetes.access import Access
        from reconciler.adapters.kubernetes.transport import Transport

        return Transport(self.name, Access(self._login), self._clock)

    async def read(self, path: str, what: str, kind: type[Answer], *, patience_s: float | None = None) -> Answer:
        """GET `path` as a struct. Raises what Transport.call raises, and ClusterUnavailable for another make."""
        from reconciler.adapters.kubernetes.transport import Request

        request = Request(method="GET", path=path, what=what, patience_s=patience_s)
        reply = await (await self.transport()).call(request)
        try:
            return msgspec.json.decode(reply.body, type=kind)
        except NOT_UNDERSTOOD as error:
            raise ClusterUnavailable(f"{what}: the answer cannot be understood: {error}", cluster=self.name) from error

    async def resource(
        self, group: str, version: str, kind: str, *, patience_s: float | None = None
    ) -> Resource | None:
        """Where a kind is; None where the server does not have it, which is asked each time: it may be installed."""
        built_in = BUILT_IN.get((group, kind))
        if built_in is not None and version in ("", built_in.version):
            return built_in
        known = self._known.get((group, version, kind)) or self._any_version(group, version, kind)
        if known is not None:
            return known
        found = self._known[group, version, kind] = await self._discover(group, version, kind, patience_s)
        return found

    def forget(self, resource: Resource) -> None:
        """Ask anew where a kind is: it was not found where it had been. Whoever installed it may take it away."""
        self._known = {key: one for key, one in self._known.items() if one != resource}

    def _any_version(self, group: str, version: str, kind: str) -> Resource | None:
        if version:
            return None
        return next((one for key, one in self._known.items() if one and (key[0], key[2]) == (group, kind)), None)

    async def _discover(self, group: str, version: str, kind: str, patience_s: float | None) -> Resource | None:
        """Ask for the groups and then for the group's kinds: only a list without it says that something is not there.

        A path that is not found says nothing, for a proxy's paths are not found either.
        """
        what = f"find {kind} of {group or 'the core group'}"
        if not group:
            return found_in(await self.read("/api/v1", what, ApiResources, patience_s=patience_s), group, "v1", kind)
        served = (await self.read("/apis", what, ApiGroups, patience_s=patience_s)).versions(group)
        if not served or version not in ("", *served):
            return None
        version = version or served[0]
        listed = await self.read(f"/apis/{group}/{version}", what, ApiResources, patience_s=patience_s)
        return found_in(listed, group, version, kind)

    async def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()
