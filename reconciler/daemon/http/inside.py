"""What the interface sees of a daemon: its last plan and sweep, its stores, and what it can ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.daemon.http.problems import RETRY_S, Problem
from reconciler.daemon.loop import Mode
from reconciler.daemon.measures import Measures
from reconciler.daemon.telling import Teller
from reconciler.engine.apply import ApplyOptions
from reconciler.engine.world import Stores, World
from reconciler.model.fleet import Declaration
from reconciler.model.health import Assessment
from reconciler.model.identity import AgentName
from reconciler.model.plan import Plan
from reconciler.ports import Clock

if TYPE_CHECKING:
    from reconciler.daemon.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """One daemon, as those see it who ask over HTTP. Nothing here waits for its loop."""

    world: World
    measures: Measures
    tell: Teller
    options: ApplyOptions
    mode: Mode
    not_ready: Callable[[], str]
    leads: Callable[[], bool]
    declared: Callable[[], Declaration | None]
    plan: Callable[[], Plan | None]
    """The last plan; None before there was one, and while another daemon leads."""
    assessed: Callable[[], Mapping[AgentName, Assessment]]
    fetch: Callable[[], None]
    """Have Git asked now, by this daemon while it looks after agents, else when it comes to."""
    alone: Callable[[], bool]
    """Whether it is this daemon alone that asks Git for the fleet."""
    look: Callable[[str], None]
    """Have the loop look again, for a reason."""

    @staticmethod
    def of(service: Service) -> Inside:
        """What a service shows of itself."""
        return Inside(
            world=service.world,
            measures=service.measures,
            tell=service.tell,
            options=service.options,
            mode=service.settings.mode,
            not_ready=service.not_ready,
            leads=lambda: service.standing is not None and service.standing.leads,
            declared=lambda: service.cache.declaration,
            plan=lambda: service.plan,
            assessed=lambda: service.assessed,
            fetch=service.fetch.now,
            alone=lambda: service.alone,
            look=service.look,
        )

    @property
    def clock(self) -> Clock:
        return self.world.clock

    async def stores(self) -> Stores:
        """Where the fleet lives. Raises Problem until that is known, ReconcilerError when it cannot be opened."""
        declared = self.declared()
        if declared is None or declared.fleet is None:
            why = self.not_ready() or "fleet.yaml cannot be used"
            raise Problem(503, "not-ready", why, headers={"Retry-After": str(RETRY_S)})
        return await self.world.stores(declared.fleet)
