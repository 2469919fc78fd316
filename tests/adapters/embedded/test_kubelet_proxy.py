"""A Service's listeners: one a port however often it is opened at once, and none once it is closed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from reconciler.adapters.embedded.kubelet.ports import PortBook
from reconciler.adapters.embedded.kubelet.proxy import Service

BODY: dict[str, Any] = {
    "metadata": {"uid": "u", "name": "s", "namespace": "ns"},
    "spec": {"selector": {"app": "a"}, "ports": [{"port": 80, "name": "http"}]},
}


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.Server]:
    """All that listen, in the order in which they began; beginning takes a moment."""
    made: list[asyncio.Server] = []
    start = asyncio.start_server

    async def started(*arguments: Any, **options: Any) -> asyncio.Server:
        server = await start(*arguments, **options)
        made.append(server)
        await asyncio.sleep(0)
        return server

    monkeypatch.setattr(asyncio, "start_server", started)
    return made


async def test_a_service_that_is_opened_twice_at_once_listens_once(servers: list[asyncio.Server]) -> None:
    service = Service("u", PortBook())
    first, second = await asyncio.gather(service.open(BODY), service.open(BODY))
    assert first == second
    assert len(servers) == 1
    await service.close()


async def test_a_service_that_is_closed_while_it_opens_does_not_listen(servers: list[asyncio.Server]) -> None:
    service = Service("u", PortBook())
    opening = asyncio.create_task(service.open(BODY))
    while not servers:  # noqa: ASYNC110 - it begins within a few turns of the loop
        await asyncio.sleep(0)
    await service.close()
    await opening
    assert not [server for server in servers if server.is_serving()]
    assert await service.open(BODY) == {}
    assert len(servers) == 1
