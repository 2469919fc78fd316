"""Several probers as one: each request goes to who can answer it."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.model.health import PluginProbe, ProbeRequest, Sample
from reconciler.ports import Prober


@dataclass(frozen=True, slots=True, kw_only=True)
class Probers:
    """Implements ports.Prober: checks of plugins by `plugins`, all else by `endpoints`."""

    endpoints: Prober
    plugins: Prober

    async def probe(self, request: ProbeRequest) -> Sample:
        return await (self.plugins if isinstance(request, PluginProbe) else self.endpoints).probe(request)

    async def close(self) -> None:
        try:
            await self.plugins.close()
        finally:
            await self.endpoints.close()
