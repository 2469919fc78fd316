"""Who a connection or a request counts as: its address, or the one that a proxy which is trusted says it asks for."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.model.errors import UsageError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
NOBODY_KNOWN = "?"
FORWARDED = "X-Forwarded-For"


def read_networks(text: str) -> tuple[Network, ...]:
    """Addresses and networks between commas. Raises UsageError."""
    parts = [part.strip() for part in text.split(",")]
    try:
        return tuple(ipaddress.ip_network(part) for part in parts if part)
    except ValueError as error:
        raise UsageError(f"--trusted-proxies: {error}", hint="addresses or networks, like 10.0.0.7,fd00::/8") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """Tells clients apart. `proxies` are believed, and nobody else: whoever asks could write into that header."""

    proxies: tuple[Network, ...] = ()

    def of_connection(self, transport: asyncio.BaseTransport | None) -> str | None:
        """Whose a connection is; None for a proxy's, that is many clients'."""
        peer = _peer(transport)
        return None if self._trusts(peer) else counted(peer)

    def of_request(self, transport: asyncio.BaseTransport | None, forwarded: Sequence[str]) -> str:
        """Who asks, by the lines of X-Forwarded-For. Each proxy writes whom it heard behind those before it, so the
        last one that is no proxy of ours is whom ours heard; what stands before may be made up.
        """
        asks = _peer(transport)
        hops = [hop for line in forwarded for hop in line.split(",")]
        while hops and self._trusts(asks) and (before := _address(hops.pop())) is not None:
            asks = before
        return counted(asks)

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self.proxies)


def counted(address: Address | None) -> str:
    """What an address counts as: itself, or of IPv6 the network of 64 bits that one client has whole."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False).network_address)
    return NOBODY_KNOWN if address is None else str(address)


def _peer(transport: asyncio.BaseTransport | None) -> Address | None:
    name = transport.get_extra_info("peername") if transport is not None else None
    return _address(str(name[0])) if isinstance(name, tuple) and name else None


def _address(text: str) -> Address | None:
    """An address as a socket or a proxy says it: some add a port, and IPv4 may come as IPv6."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
