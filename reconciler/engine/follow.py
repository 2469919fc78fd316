"""Following clusters while much is done there: they may then answer reads from what their events say, and each event
wakes whoever waits for that object.

Costs one list and one watch a kind, so that it only begins where single reads would cost more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from reconciler.engine.rollout import POD_KINDS
from reconciler.engine.run import Run
from reconciler.model.errors import ReconcilerError
from reconciler.model.objects import RENDERED_KINDS, Scope, Unreadable
from reconciler.model.plan import Change
from reconciler.ports import Cluster

FOLLOW_FROM = 10
"""Changes on one cluster. Each is looked at a few times until it is ready."""


@asynccontextmanager
async def following(run: Run, changes: Sequence[Change]) -> AsyncIterator[None]:
    """Listen to the clusters that many of `changes` are about, as long as the block lasts."""
    count: dict[str, int] = {}
    for change in changes:
        for name in {item.cluster for item in change.objects}:
            count[name] = count.get(name, 0) + 1
    tasks = [
        asyncio.create_task(_listen(run, name, cluster))
        for name, number in sorted(count.items())
        if number >= FOLLOW_FROM and (cluster := run.clusters.get(name)) is not None
        if not isinstance(cluster, Unreadable)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(run: Run, name: str, cluster: Cluster) -> None:
    """Take in what changes, and wake whoever waits for it. A cluster that cannot be followed is asked each time."""
    run.bells.followed.add(name)
    try:
        async with aclosing(cluster.changes(Scope(kinds=(*RENDERED_KINDS, *POD_KINDS)))) as changes:
            async for ref in changes:
                run.bells.ring(name, ref)
    except ReconcilerError:
        return
    finally:
        run.bells.followed.discard(name)
