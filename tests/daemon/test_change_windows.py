"""A daemon and change windows: what waits goes out when the window opens, with nobody at the keyboard."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reconciler.daemon.loop import Mode
from reconciler.daemon.service import Settings
from tests.daemon.test_service import Fleet, running
from tests.daemon.waiting import until
from tests.doubles.clock import ShiftedClock
from tests.doubles.source import MemorySource
from tests.engine.fleets import NOTHING, agent

MINUTE_MS = 60_000


async def test_what_waits_for_a_window_goes_out_when_it_opens(tmp_path: Path) -> None:
    clock, source = ShiftedClock(), MemorySource()
    opens_in_s = 3
    clock.advance(((-clock.now_ms()) % MINUTE_MS) / 1000 - opens_in_s + 60)
    opens = datetime.fromtimestamp((clock.now_ms() + opens_in_s * 1000) / 1000, UTC)
    window: dict[str, Any] = {"name": "soon", "from": f"{opens:%H:%M}", "to": "24:00"}
    source.commit({"fleet.yaml": NOTHING + f"  windows: [{json.dumps(window)}]\n", "agents/a.yaml": agent("a")})
    fleet = Fleet(tmp_path, source, Mode.APPLY)
    fleet.clock = clock
    fleet.service.settings = Settings(poll_s=60.0, resync_s=600.0)
    async with running(fleet):
        await until(lambda: fleet.told("planned"))
        (line,) = fleet.told("planned")
        assert "support/a waits until" in line["held"][0]
        assert fleet.told("change-started") == []
        await until(lambda: fleet.told("change-ended", outcome="applied"))
