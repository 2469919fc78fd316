"""When `get --watch` looks again: when a record was written or a cluster changed, and now and then all the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import suppress

from reconciler.cli.fleets import OpenStores
from reconciler.cli.looking import LOOKED_AT, snapshot
from reconciler.model.errors import ReconcilerError
from reconciler.model.objects import Scope, Unreadable
from reconciler.ports import Cluster

LEAST_S = 1.0
"""No more often than this."""
MOST_S = 30.0
"""At least this often: a scaling by hand ends without anybody writing a record."""


async def looks(stores: OpenStores) -> AsyncGenerator[None, None]:
    """Yield at once, and then whenever there may be something new. Raises RegistryError where that cannot be known."""
    news = asyncio.Event()
    clusters = [one for one in stores.clusters.values() if not isinstance(one, Unreadable)]
    tasks = [asyncio.create_task(_follow(one, news)) for one in clusters]
    try:
        since = (await snapshot(stores.registry)).seq
        while True:
            last = time.monotonic()
            yield
            while True:
                await asyncio.sleep(LEAST_S)
                async for seq, _name in stores.registry.changes(since):
                    since = seq
                    news.set()
                if news.is_set() or time.monotonic() - last >= MOST_S:
                    break
            news.clear()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(cluster: Cluster, news: asyncio.Event) -> None:
    """Set `news` when the cluster changes; where it cannot be followed, again and again."""
    while True:
        with suppress(ReconcilerError):
            async for _ref in cluster.changes(Scope(kinds=LOOKED_AT)):
                news.set()
        news.set()
        await asyncio.sleep(LEAST_S)
