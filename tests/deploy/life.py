"""The life of a fleet whose cluster is reached as a service account, and which rights its requests use."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.adapters.kubernetes import transport as transports
from reconciler.bootstrap import Session
from reconciler.engine.apply import locked
from reconciler.engine.recover import Means, Treated, Treatment, treat
from reconciler.engine.world import Stores
from reconciler.model.agent import Agent, Remedy
from reconciler.model.errors import NotAllowed
from reconciler.model.events import ChangeFinished
from reconciler.model.identity import AgentName
from reconciler.model.objects import Unreadable
from reconciler.model.recovery import RecoveryState, Taken
from reconciler.ports import Cluster
from tests.controlplane.plane import ControlPlane
from tests.deploy.shipped import One
from tests.doubles.prober import TableProber
from tests.engine.fleets import OPTIONS, FleetRepo, _fleet, agent, applied, finished, snapshot, stores_of

SPARE = "spare"
"""A second cluster that starts nothing: agents that may fail over to it have their Services exported."""
COMMON = "  ports: [{name: http, port: 8080}]\n  resources: {requests: {cpu: 100m, memory: 32Mi}}\n"


class AccountFleet(FleetRepo):
    """A fleet on one plane, reached with a kubeconfig that may be another's from session to session."""

    def __init__(self, root: Path, plane: ControlPlane, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace
        self.kubeconfig = root.with_suffix(".kubeconfig")
        reached = {"kubeconfig": str(self.kubeconfig), "context": plane.name}
        clusters = [{"name": plane.name, "kubernetes": reached}, {"name": SPARE, "embedded": {"run": "nothing"}}]
        head = {"apiVersion": "agents.codevald.io/v1", "kind": "Fleet", "metadata": {"name": namespace}}
        spec = {"deletions": {"max": 100, "percent": 100}, "clusters": clusters}
        super().__init__(root, yaml.safe_dump(head | {"spec": spec}))

    def declare(self, bodies: Mapping[str, str], *, image: str = "acme/agent:1") -> None:
        """Commit agents, each on the plane unless it says otherwise."""
        here = f"  placement: {{policy: all, clusters: {{names: [{self.plane.name}]}}}}\n"
        texts = {
            name: agent(
                name, COMMON + body + ("" if "placement" in body else here), namespace=self.namespace, image=image
            )
            for name, body in bodies.items()
        }
        self.commit({f"agents/{name}.yaml": text for name, text in texts.items()})

    def leave(self, *names: str) -> None:
        self.commit({f"agents/{name}.yaml": None for name in names})

    def everything(self) -> str:
        """The body of an agent that has an object of every kind."""
        return (
            "  autoscaling: {min: 2, max: 4, metrics: [{cpu: 50%}]}\n"
            f"  placement: {{policy: failover, clusters: {{names: [{self.plane.name}, {SPARE}]}}}}\n"
        )

    @asynccontextmanager
    async def as_account(self, kubeconfig: Path) -> AsyncIterator[Session]:
        """A session with the rights of an account."""
        shutil.copyfile(kubeconfig, self.kubeconfig)
        async with await self.session() as session:
            yield session

    async def cluster(self, session: Session) -> tuple[Stores, Cluster]:
        """The plane, as the fleet reaches it."""
        stores = await stores_of(session)
        cluster = stores.clusters[self.plane.name]
        assert not isinstance(cluster, Unreadable)
        return stores, cluster

    async def agents(self, session: Session) -> Mapping[AgentName, Agent]:
        """What is declared."""
        agents: Mapping[AgentName, Agent] = (await _fleet(session)).agents
        return agents

    async def apply(self, session: Session, **options: Any) -> dict[str, ChangeFinished]:
        """What became of each agent, by name alone."""
        events = finished(await applied(session, **options))
        return {name.rpartition("/")[2]: event for name, event in events.items()}


async def restart(fleet: AccountFleet, session: Session, name: str) -> Treated:
    """The remedy for an agent that is ill."""
    stores, _cluster = await fleet.cluster(session)
    known = await snapshot(session)
    declared = (await fleet.agents(session))[AgentName(namespace=fleet.namespace, name=name)]
    record, spec = known.records[declared.name], (await _fleet(session)).fleet
    assert spec is not None
    now = session.clock.now_ms()
    begun = Taken(remedy=Remedy.RESTART, at_ms=now, because="it is ill")
    state = RecoveryState(spec_hash=record.spec_hash, since_ms=now, step=1, taken=(begun,))
    means = Means(world=session, stores=stores, fleet=spec, prober=TableProber(), known=known.fleet, chance=lambda: 0.0)
    async with locked(
        stores, session.clock, fleet=spec.name, commit="", options=OPTIONS, stop=asyncio.Event(), emit=lambda _: None
    ) as run:
        return await treat(run, means, Treatment(agent=declared, record=record, state=state))


class Asked:
    """The rights that requests of ours have used, and those that were refused, as the server's authorizer sees them."""

    def __init__(self) -> None:
        self.used: set[One] = set()
        self.refused: set[One] = set()

    def of(self, request: transports.Request) -> list[One]:
        """The right that a request needs; none for what everybody may ask, as the version."""
        head, *steps = request.path.strip("/").split("/")
        if head not in ("api", "apis"):
            return []
        group, steps = ("", steps[1:]) if head == "api" else (steps[0] if steps else "", steps[2:])
        if not steps:
            return []
        if steps[0] == "namespaces" and len(steps) > 2:
            steps = steps[2:]
        resource, *rest = steps
        watching = (request.query or {}).get("watch") == "1"
        reading = "watch" if watching else "get" if rest else "list"
        verb = {"GET": reading, "PATCH": "patch", "DELETE": "delete"}[request.method]
        name = rest[0] if resource == "namespaces" else ""
        return [One(group, "/".join([resource, *rest[1:]]), verb, name)]


def recorded(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Record what every transport that is opened from now on asks."""
    asked = Asked()

    class Recording(transports.Transport):
        async def call(self, request):
            rights = asked.of(request)
            asked.used.update(rights)
            try:
                reply = await super().call(request)
            except NotAllowed:
                asked.refused.update(rights)
                raise
            if request.method == "PATCH" and reply.code == 201:
                asked.used.update(one._replace(verb="create") for one in rights)
            return reply

        @asynccontextmanager
        async def stream(self, request, *, silence_s):
            rights = asked.of(request)
            asked.used.update(rights)
            try:
                async with super().stream(request, silence_s=silence_s) as lines:
                    yield lines
            except NotAllowed:
                asked.refused.update(rights)
                raise

    monkeypatch.setattr(transports, "Transport", Recording)
    return asked
