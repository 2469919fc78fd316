"""What a supervisor does while its store cannot be read: it waits, and does not ask as fast as it can."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from reconciler.adapters.embedded import supervisor
from reconciler.adapters.embedded.supervisor import Supervisor
from reconciler.model.errors import ClusterUnavailable


async def test_a_store_that_cannot_be_read_is_not_asked_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FALLBACK_SECONDS", 3600.0)
    made = Supervisor(tmp_path, tmp_path, idle_seconds=1.0)
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(_since: int, _timeout: float) -> bool:
        loop.call_soon_threadsafe(asked.set)
        raise ClusterUnavailable("the disk is gone")

    monkeypatch.setattr(made._store, "wait", wait)
    try:
        waiting = asyncio.create_task(made._until_news(0.0))
        await asked.wait()
        await asyncio.gather(*(loop.run_in_executor(made._threads, lambda: None) for _ in range(2)))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        made._told.set()
        await waiting
    finally:
        await made._kubelet.close()
        made._threads.shutdown()
        made._store.close()
