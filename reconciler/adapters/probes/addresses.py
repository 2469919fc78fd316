"""Which addresses no probe may reach: those that answer for the machine or the cloud instead of for an agent."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(
    {
        ipaddress.ip_address("100.100.100.200"),  # Alibaba Cloud
        ipaddress.ip_address("192.0.0.192"),  # Oracle Cloud
        ipaddress.ip_address("168.63.129.16"),  # Azure's host agent
        ipaddress.ip_address("fd00:ec2::254"),  # AWS, IPv6
        ipaddress.ip_address("fd20:ce::254"),  # Google Cloud, IPv6
    }
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@lru_cache(maxsize=16_384)  # a sweep asks for the same few thousand pods again and again
def literal(host: str) -> str | None:
    """`host` as the one way to write the address that it is; None when it is a name, or an address written oddly."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


@lru_cache(maxsize=16_384)
def refusal(text: str, *, loopback: bool) -> str:
    """Why the IP address `text` may not be probed, "" when it may. `loopback`: whether this machine's own may.

    Addresses inside addresses (IPv4-mapped, 6to4, NAT64) are judged by what they lead to.
    """
    address = _inner(ipaddress.ip_address(text.partition("%")[0]))
    if address in _METADATA:
        return f"{text} is a cloud's metadata service"
    if address.is_link_local:
        return f"{text} is link-local, where metadata services live"
    if address.is_unspecified or address.is_multicast or address.is_reserved:
        return f"{text} is no address of a single host"
    if address.is_loopback and not loopback:
        return f"{text} is this machine itself"
    return ""


def _inner(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
