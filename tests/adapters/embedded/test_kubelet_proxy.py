"""A Service's listeners: one a port however often it is opened at once, and none once it is closed."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from reconciler.adapters.embedded.kubelet import proxy
from reconciler.adapters.embedded.kubelet.ports import PortBook
from reconciler.adapters.embedded.kubelet.proxy import ADDRESS_ANNOTATION, Proxies, Service
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.model.errors import ClusterUnavailable

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


class Store:
    """The one Service, and how many writes of it still fail."""

    def __init__(self) -> None:
        self.failing = 0
        self.written = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def get(self, _ref: Any) -> Any:
        return BODY

    def update(self, body: Any, *, manager: str) -> None:
        if self.failing:
            self.failing -= 1
            raise ClusterUnavailable(f"full, {manager}")
        assert ADDRESS_ANNOTATION in body["metadata"]["annotations"]
        self._loop.call_soon_threadsafe(self.written.set)


@pytest.mark.parametrize("what", ["opened", "published"])
async def test_a_service_that_could_not_be_opened_or_published_is_tried_again(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "RETRY_SECONDS", 0.0, raising=False)
    store, start, failing = Store(), asyncio.start_server, [what == "opened"]

    async def started(*arguments: Any, **options: Any) -> asyncio.Server:
        if failing.pop() if failing else False:
            raise OSError
        return await start(*arguments, **options)

    monkeypatch.setattr(asyncio, "start_server", started)
    store.failing = 2 if what == "published" else 0
    with ThreadPoolExecutor(1) as writer:
        proxies = Proxies(cast("ObjectStore", store), PortBook(), writer=writer)
        proxies.look([BODY], [])
        async with asyncio.timeout(10):
            await store.written.wait()
        await proxies.close()


async def test_a_service_that_is_gone_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "RETRY_SECONDS", 0.0, raising=False)
    tried: list[int] = []

    async def refused(*_arguments: Any, **_options: Any) -> asyncio.Server:
        tried.append(1)
        raise OSError

    monkeypatch.setattr(asyncio, "start_server", refused)
    with ThreadPoolExecutor(1) as writer:
        proxies = Proxies(cast("ObjectStore", Store()), PortBook(), writer=writer)
        proxies.look([BODY], [])
        while not tried:  # noqa: ASYNC110 - it begins within a few turns of the loop
            await asyncio.sleep(0)
        proxies.look([], [])
        await asyncio.sleep(0.02)
        so_far = len(tried)
        await asyncio.sleep(0.05)
        assert len(tried) == so_far
        await proxies.close()
