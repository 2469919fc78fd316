"""A look at everything: what becomes of it when it is stopped."""

from __future__ import annotations

import asyncio
import gc
import warnings
from pathlib import Path

from reconciler.engine.observe import observe
from reconciler.engine.world import Stores
from reconciler.model.objects import RENDERED_KINDS, Scope
from tests.doubles.clock import FakeClock
from tests.doubles.world import open_registry


async def test_a_look_that_is_stopped_before_it_asks_leaves_no_question_behind(tmp_path: Path) -> None:
    registry = await open_registry(tmp_path, FakeClock())
    looking = asyncio.ensure_future(observe(Stores(registry=registry, clusters={}), Scope(kinds=RENDERED_KINDS)))
    await asyncio.sleep(0)  # what it asks has been handed out, and nobody has begun to ask
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        gc.collect()
    await registry.close()
    assert [str(warning.message) for warning in told] == []
