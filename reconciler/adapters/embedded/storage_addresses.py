"""Cluster IPs and node ports of Services: given once, unique, kept for the life of the Service.

They are names to be unique by, not addresses that answer: agents of this machine are reached at their pods' ports.
"""

from __future__ import annotations

import ipaddress
import zlib
from typing import Any

from reconciler.adapters.embedded.storage_sql import Database
from reconciler.model.errors import Rejected
from reconciler.model.identity import ObjectRef

RANGE = ipaddress.IPv4Network("10.96.0.0/12")
NODE_PORTS = range(30_000, 32_768)
_TRIES = 4_096


def allocate(db: Database, body: dict[str, Any], ref: ObjectRef, live: dict[str, Any] | None = None) -> None:
    """Fill in `spec.clusterIP`, `clusterIPs` and node ports, in place. Raises Rejected when one is taken."""
    spec = body["spec"]
    uid = body["metadata"]["uid"]
    was = live["spec"] if live else {}
    _drop_what_went_with_the_type(spec, was)
    if spec.get("type") == "ExternalName":
        return
    if not spec.get("clusterIP"):
        given = spec.get("clusterIPs")
        spec["clusterIP"] = given[0] if given else was.get("clusterIP") or _free(db, uid)
    if not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    address = spec["clusterIP"]
    if address != "None" and address != was.get("clusterIP"):
        _claim(db, address, uid, ref)
    if spec.get("type") == "NodePort" or (
        spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True)
    ):
        _node_ports(db, spec, was, uid, ref)


_OF_ADDRESSES = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
_NODE_PORT_TYPES = frozenset({"NodePort", "LoadBalancer"})


def _drop_what_went_with_the_type(spec: dict[str, Any], was: dict[str, Any]) -> None:
    """Take out what the server gave a Service of the type that it was, and one of its type has not; in place."""
    old, new = was.get("type"), spec.get("type")
    gone: list[str] = []
    if old not in {None, "ExternalName"} and new == "ExternalName":
        gone += _OF_ADDRESSES
    if _reached_from_outside(was) and not _reached_from_outside(spec):
        gone.append("externalTrafficPolicy")
    if old == "LoadBalancer" and new != old:
        gone += ["allocateLoadBalancerNodePorts", "loadBalancerClass"]
    for key in gone:
        if spec.get(key) == was.get(key):
            spec.pop(key, None)
    given = {port.get("nodePort") for port in was.get("ports", ())}
    ports = spec.get("ports", ())
    if old in _NODE_PORT_TYPES and new not in _NODE_PORT_TYPES and {port.get("nodePort") for port in ports} <= given:
        for port in ports:
            port.pop("nodePort", None)


def _reached_from_outside(spec: dict[str, Any]) -> bool:
    return spec.get("type") in _NODE_PORT_TYPES or bool(spec.get("externalIPs"))


def _free(db: Database, uid: str) -> str:
    start = zlib.crc32(uid.encode())
    size = RANGE.num_addresses - 2
    for step in range(_TRIES):
        address = str(RANGE[1 + (start + step) % size])
        if db.claim(address, uid):
            return address
    raise Rejected("no free cluster IP was found")


def _claim(db: Database, address: str, uid: str, ref: ObjectRef) -> None:
    try:
        inside = ipaddress.ip_address(address) in RANGE
    except ValueError:
        raise Rejected(
            f"{ref}: spec.clusterIP: Invalid value: {address!r}: must be empty, 'None', or a valid IP address", ref=ref
        ) from None
    if not inside:
        raise Rejected(
            f"{ref}: spec.clusterIP: Invalid value: {address!r}: the provided IP is not in the valid range {RANGE}",
            ref=ref,
        )
    if not db.claim(address, uid):
        raise Rejected(f"{ref}: spec.clusterIP: Invalid value: {address!r}: provided IP is already allocated", ref=ref)


def _node_ports(db: Database, spec: dict[str, Any], was: dict[str, Any], uid: str, ref: ObjectRef) -> None:
    before = {(port.get("port"), port.get("protocol")): port.get("nodePort") for port in was.get("ports", ())}
    for port in spec.get("ports", ()):
        wanted = port.get("nodePort") or before.get((port.get("port"), port.get("protocol")))
        if wanted:
            if not db.claim(f"port {wanted}", uid):
                raise Rejected(f"{ref}: spec.ports.nodePort: {wanted}: provided port is already allocated", ref=ref)
            port["nodePort"] = wanted
            continue
        start = zlib.crc32(f"{uid} {port.get('port')}".encode())
        for step in range(len(NODE_PORTS)):
            candidate = NODE_PORTS[(start + step) % len(NODE_PORTS)]
            if db.claim(f"port {candidate}", uid):
                port["nodePort"] = candidate
                break
        else:
            raise Rejected(f"{ref}: no free node port was found", ref=ref)
