"""Who asks: whose address counts, and whom a proxy that is trusted may say that it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.daemon.http.clients import Clients, read_networks
from reconciler.daemon.http.limits import Crowd, Limits
from reconciler.model.errors import UsageError
from tests.daemon.serving import Daemon, open_daemon, serving

BEHIND = Clients(proxies=read_networks("10.0.0.0/8, fd00::7"))


class Peer(asyncio.Transport):
    """A transport that only knows from where it was opened."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 40000)})


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.9"], "192.0.2.1"),
        ("10.0.0.7", [], "10.0.0.7"),
        ("10.0.0.7", ["198.51.100.9"], "198.51.100.9"),
        ("10.0.0.7", ["made up, 203.0.113.1, 198.51.100.9"], "198.51.100.9"),
        ("10.0.0.7", ["203.0.113.1", "198.51.100.9, 10.0.0.8"], "198.51.100.9"),
        ("::ffff:10.0.0.7", ["198.51.100.9:51000"], "198.51.100.9"),
        ("fd00::7", ["[2001:db8:1:2:3::4]:443"], "2001:db8:1:2::"),
        ("fd00::8", ["198.51.100.9"], "fd00::"),
        ("10.0.0.7", ["10.0.0.9"], "10.0.0.9"),
        ("10.0.0.7", ["198.51.100.9, unknown"], "10.0.0.7"),
        ("10.0.0.7", [""], "10.0.0.7"),
    ],
)
def test_a_client_is_the_last_address_that_is_no_proxys(peer: str, forwarded: list[str], client: str) -> None:
    assert BEHIND.of_request(Peer(peer), forwarded) == client


def test_unless_proxies_are_named_nobody_is_believed() -> None:
    assert Clients().of_request(Peer("127.0.0.1"), ["198.51.100.9"]) == "127.0.0.1"
    assert Clients().of_connection(Peer("10.0.0.7")) == "10.0.0.7"
    assert BEHIND.of_connection(Peer("10.0.0.7")) is None


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.1/8", "10.0.0.0/40"])
def test_what_is_no_network_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="--trusted-proxies"):
        read_networks(text)


class Held:
    working = False

    def drop(self) -> None:
        pass


def test_connections_of_a_proxy_are_bounded_with_all_others_and_not_by_themselves() -> None:
    crowd = Crowd(Limits(connections=4, connections_each=1), BEHIND)
    held = [Held() for _ in range(6)]
    for one in held[:3]:
        one.working = True
        assert crowd.admits(one, Peer("10.0.0.7"))
    held[3].working = True
    assert crowd.admits(held[3], Peer("192.0.2.1"))
    assert not crowd.admits(held[4], Peer("10.0.0.7"))
    for one in held:
        crowd.left(one)
    assert len(crowd) == 0
    assert crowd.admits(held[5], Peer("192.0.2.1"))


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = await open_daemon(tmp_path)
    yield made
    await made.registry.close()


@pytest.mark.parametrize(
    ("more", "others"), [({}, 429), ({"clients": Clients(proxies=read_networks("127.0.0.1"))}, 200)]
)
async def test_one_client_that_asks_too_often_through_a_trusted_proxy_keeps_no_other_from_asking(
    daemon: Daemon, more: dict[str, Any], others: int
) -> None:
    async with serving(daemon, limits=Limits(rate=0.001, burst=3), **more):
        noisy = [(await daemon.ask("/api/v1/fleet", headers={"X-Forwarded-For": "192.0.2.1"}))[0] for _ in range(4)]
        assert noisy == [200, 200, 200, 429]
        assert (await daemon.ask("/api/v1/fleet", headers={"X-Forwarded-For": "192.0.2.2"}))[0] == others


async def test_whoever_is_on_this_machine_may_not_read_where_a_proxy_lets_others_ask(daemon: Daemon) -> None:
    with pytest.raises(UsageError, match="trusted proxy"):
        async with serving(daemon, anonymous=True, clients=BEHIND):
            pass
