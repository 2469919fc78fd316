"""A prober whose probes are counted, by what they asked and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.daemon.measures import Measures
from reconciler.model.health import CardProbe, GrpcProbe, HttpProbe, PluginProbe, ProbeRequest, Sample, TcpProbe
from reconciler.ports import Prober

_KINDS = {HttpProbe: "http", TcpProbe: "tcp", GrpcProbe: "grpc", CardProbe: "card", PluginProbe: "plugin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Implements ports.Prober around another one."""

    inner: Prober
    measures: Measures

    async def probe(self, request: ProbeRequest) -> Sample:
        sample = await self.inner.probe(request)
        outcome = "ok" if sample.ok else "not-made" if sample.refused else "failed"
        self.measures.probed(_KINDS[type(request)], outcome)
        return sample

    async def close(self) -> None:
        await self.inner.close()
