"""A process that writes to a registry until it is killed, or COUNT times: PATH WHO COUNT. Prints what was answered."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.model.identity import AgentName
from tests.contracts.values import fact, intent, record, write


async def main(path: str, who: str, count: int) -> None:
    registry = await SqliteRegistry.open(Path(path), SystemClock())
    name = AgentName(namespace="writers", name=who)
    version = 0
    while version < count or not count:
        version += 1
        await registry.commit(
            write(
                replace(record(name, version=version), message="x" * 3000),
                op_id=f"{who}-{version}",
                journal=(replace(intent(f"{who}-{version}"), agent=name),),
                audit=(fact(f"{version}", name),),
            )
        )
        sys.stdout.write(f"{version}\n")
        sys.stdout.flush()
    await registry.close()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
