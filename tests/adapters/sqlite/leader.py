"""A process that leads: PATH HOLDER TTL_MS. Takes the lease, then writes with its epoch, one write for each line on its
standard input, or without end where TTL_MS is negative. Prints what each led to.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.model.errors import RegistryConflict
from tests.contracts.values import fact, write

LEASE = "leader"


async def main(path: str, holder: str, ttl_ms: int) -> None:
    clock = SystemClock()
    registry = await SqliteRegistry.open(Path(path), clock)
    lease = await registry.acquire(LEASE, holder=holder, ttl_ms=abs(ttl_ms), now_ms=clock.now_ms())
    say(f"leads in epoch {lease.epoch}")
    for number in count(1):
        if ttl_ms > 0 and not sys.stdin.readline():
            break
        try:
            op_id = f"{holder}-{number}"
            await registry.commit(write(op_id=op_id, audit=(fact(holder, None),), lease=LEASE, epoch=lease.epoch))
        except RegistryConflict as error:
            say(f"fenced: {error.message}")
            break
        say("written")
    await registry.close()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
