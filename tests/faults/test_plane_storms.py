"""The whole life of a fleet before a real API server, with many requests going wrong by chance, from a seed."""

from __future__ import annotations

import os
import random

import pytest

from reconciler.adapters.kubernetes import listing
from reconciler.engine import follow
from tests.doubles.fault_proxy import Exchange, Fault
from tests.faults.plane_fleets import Life
from tests.faults.plane_world import PlaneWorld

SEEDS = range(20) if os.environ.get("RECONCILER_ALL_FAULTS") else range(2)
AGENTS = 12
"""Enough that the cluster is followed while they are applied."""
SHARE = 0.08
STORM = 12
READS = (Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.TORN, Fault.ERROR, Fault.BUSY, Fault.LATENCY)
WRITES = (*READS, Fault.ERROR_AFTER)
WATCHES = (Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.TORN, Fault.ERROR, Fault.GONE, Fault.LATENCY)


class Storm:
    """Faults by chance. A server that asks one to wait asks the next ones too."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._busy = 0

    def __call__(self, exchange: Exchange) -> Fault | None:
        if self._busy and not exchange.watches:
            self._busy -= 1
            return Fault.BUSY
        if self._random.random() > SHARE:
            return None
        if exchange.watches:
            return self._random.choice(WATCHES)
        if "continue" in exchange.query and self._random.random() < 0.5:
            return Fault.GONE
        fault = self._random.choice(WRITES if exchange.writes else READS)
        if fault is Fault.BUSY:
            self._busy = self._random.randrange(STORM)
        return fault


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_fleet_lives_through_a_storm(
    world: PlaneWorld, seed: int, monkeypatch: pytest.MonkeyPatch, record_property
):
    monkeypatch.setattr(listing, "PAGE", 5)
    monkeypatch.setattr(follow, "FOLLOW_FROM", 1)  # watched however little a pass has left to do
    life = Life(world, AGENTS)
    for phase in life.phases():
        life.commit(phase)
        world.proxy.script = Storm(f"{seed} {phase}")
        for _ in range(2):
            await world.pass_with_faults()
        world.proxy.be_well()
        assert await world.passes_until_quiet() <= 2, f"seed {seed}, {phase}"
        await life.judge()
    await life.settle()
    kinds = {fault for _, fault in world.proxy.played}
    assert any(exchange.watches for exchange in world.proxy.seen)
    assert any("continue" in exchange.query for exchange in world.proxy.seen)
    assert len(kinds) >= 6
    record_property("plane_storm", len(world.proxy.played))
