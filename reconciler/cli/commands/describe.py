"""`reconciler describe`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.cli import options
from reconciler.cli.command import build
from reconciler.cli.fleets import OpenStores, opened, run
from reconciler.cli.looking import WITH_SERVICES, Pod, Presence, look, record_of
from reconciler.cli.output import clean, emit, one_line, table, to_json
from reconciler.cli.views.diagnostics import plural
from reconciler.cli.views.records import age, audit_json, moment, record_json, running
from reconciler.cli.views.recovery import recovery_json, standing
from reconciler.model.identity import AgentName
from reconciler.model.registry import AuditEntry, Record, Reservation

LAST_CHANGES = 8


def describe(agent: options.Agent, namespace: options.InNamespace = None, output: options.Output = "text") -> None:
    """Show all about one agent: its record, placement, pods, objects, last changes, and what it waits for."""
    name = options.agent_named(agent, namespace)
    value, text = run(_describe(name))
    emit(to_json(value) if output == "json" else text)


async def _describe(name: AgentName) -> tuple[dict[str, Any], str]:
    async with opened() as session:
        stores = await session.stores()
        record = await record_of(stores.registry, name)
        seen = (await look(stores, frozenset({name.namespace}), WITH_SERVICES)).of(record)
        entries = [entry async for entry in stores.registry.audit(name=name)][-LAST_CHANGES:]
        value = record_json(record) | {
            "ready": seen.ready,
            "replicas": seen.wanted,
            "addresses": [
                {"cluster": one.cluster, "service": one.service, "ports": dict(one.ports)} for one in seen.addresses
            ],
            "pods": [pod_json(pod) for pod in seen.pods],
            "objects": [
                {"cluster": entry.cluster, "kind": entry.ref.kind, "name": entry.ref.name, "uid": entry.uid}
                for entry in record.inventory
            ],
            "reservations": [
                {"cluster": held.cluster, "replicas": held.replicas, "requests": dict(held.requests)}
                for held in record.reservations
            ],
            "unreadable": list(seen.unreadable),
            "recovery": recovery_json(record),
            "lastChanges": [audit_json(entry) for entry in entries],
        }
        return value, _text(stores, record, seen, entries)


def pod_json(pod: Pod) -> dict[str, Any]:
    """A pod in YAML names."""
    return {
        "name": pod.ref.name,
        "cluster": pod.cluster,
        "phase": pod.phase,
        "ready": pod.ready,
        "restarts": pod.restarts,
        "pid": pod.pid,
        "ports": dict(pod.ports),
        "reason": pod.reason,
        "created": pod.created,
    }


def _text(stores: OpenStores, record: Record, seen: Presence, entries: list[AuditEntry]) -> str:
    now = stores.clock.now_ms()
    facts = [
        ("Agent", str(record.name)),
        ("Id", record.id),
        ("State", f"{record.state}{f' ({one_line(record.message)})' if record.message else ''}"),
        ("Ready", seen.text),
        ("Revision", _revision(record, now)),
        ("Last good", f"revision {record.good.number} of {record.good.commit[:7] or '-'}" if record.good else "none"),
        ("File", record.source_path),
        ("Templates", ", ".join(record.lineage) or "none"),
        ("Labels", ", ".join(f"{key}={value}" for key, value in sorted(record.labels.items())) or "none"),
        ("Placement", ", ".join(f"{p.replicas} on {p.cluster}" for p in record.placement) or "nowhere"),
        *([("Home", f"{record.home}, to which it goes back when that is well")] if record.home else []),
        *([("Behind", f"{', '.join(record.behind)}: something is still to be done there")] if record.behind else []),
        *_addresses(seen),
        ("Holds", "; ".join(_held(record)) or "nothing"),
        *_blockers(record),
        *([("Recovery", recovery)] if (recovery := standing(record, None)) else []),
        *[("Unreadable", why) for why in seen.unreadable],
    ]
    width = max(len(key) for key, _ in facts) + 2
    parts = ["\n".join(f"{key + ':':<{width}}{clean(value)}" for key, value in facts)]
    if seen.pods:
        rows = [_pod_row(pod) for pod in seen.pods]
        parts.append(table(("POD", "CLUSTER", "PHASE", "READY", "RESTARTS", "PID", "PORTS", "REASON"), rows))
    if record.inventory:
        owned = [(entry.ref.kind, entry.ref.name, entry.cluster) for entry in record.inventory]
        parts.append(table(("OBJECT", "NAME", "CLUSTER"), owned))
    if entries:
        told = [(moment(e.at_ms), e.fact.actor or "-", e.fact.action, e.fact.message or "-") for e in reversed(entries)]
        parts.append(table(("CHANGED", "BY", "ACTION", "WHAT"), told))
    return "\n\n".join(parts)


def _revision(record: Record, now: int) -> str:
    number, commit = running(record)
    told = f"{number} of commit {commit[:7] or '-'}, {age(record.updated_ms, now)} ago"
    return told if number == record.revision else f"{told}; back from {record.revision}"


def _addresses(seen: Presence) -> list[tuple[str, str]]:
    return [("Address", f"{told} on {one.cluster}") for one in seen.addresses for told in _ports(one.ports)]


def _ports(ports: Mapping[str, str]) -> list[str]:
    """`http at 127.0.0.1:36483`: each port once, by its name where it has one."""
    named = {address for key, address in ports.items() if not key.isdigit()}
    return [f"{key} at {real}" for key, real in ports.items() if not key.isdigit() or real not in named]


def _pod_row(pod: Pod) -> tuple[str, ...]:
    ready = "yes" if pod.ready else "no"
    pid = str(pod.pid) if pod.pid else "-"
    ports = ", ".join(_ports(pod.ports)) or "-"
    return (pod.ref.name, pod.cluster, pod.phase, ready, str(pod.restarts), pid, ports, pod.reason or "-")


def _held(record: Record) -> list[str]:
    return [f"{held.replicas} x ({_requests(held)}) on {held.cluster}" for held in record.reservations]


def _requests(held: Reservation) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(held.requests.items())) or "nothing"


def _blockers(record: Record) -> list[tuple[str, str]]:
    found = []
    if record.quarantine:
        found.append(("Quarantine", f"since {moment(record.quarantine.since_ms)}: {record.quarantine.reason}"))
    if record.suspended:
        found.append(("Suspended", "by hand; `reconciler resume` ends it"))
    if record.override:
        until = moment(record.override.until_ms) or "it is lifted"
        why = f" ({record.override.reason})" if record.override.reason else ""
        found.append(
            (
                "Override",
                f"{plural(record.override.replicas, 'replica')} by {record.override.author} until {until}{why}",
            )
        )
    return found


command = build(
    describe, name="describe", examples=("reconciler describe demo/hello", "reconciler describe hello -n demo -o json")
)
