"""What must hold between the records of a registry, whatever keeps them: pure functions from records to faults.

May know records, revisions and the feed. What only one back end can get wrong is checked there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.registry import AgentRevision, AgentState, Record, RegistrySnapshot
from reconciler.model.units import stored_amount
from reconciler.model.upkeep import Fault


def faults_of(snapshot: RegistrySnapshot) -> tuple[Fault, ...]:
    """What is wrong with the live records of a snapshot, each by itself and one against another; in a fixed order."""
    records = [snapshot.records[name] for name in sorted(snapshot.records)]
    found = [fault for name, record in sorted(snapshot.records.items()) for fault in _of_one(name, record)]
    found += _twice({record.id: record.name for record in records}, records)
    found += _owned_twice(records)
    return tuple(found)


def history_faults(record: Record, revisions: Sequence[AgentRevision]) -> tuple[Fault, ...]:
    """What is wrong between a live record and the revisions of its agent, which come with the highest number first.

    Numbers above the record's are no fault: an agent that was deleted and came back begins anew with 1.
    """
    where, numbers = str(record.name), [revision.number for revision in revisions]
    found = []
    if numbers != sorted(set(numbers), reverse=True):
        found.append(Fault(where=where, what=f"its revisions are not in order, each once: {_some(numbers)}"))
    if record.revision and record.revision not in numbers:
        found.append(Fault(where=where, what=f"its present revision {record.revision} is not in its history"))
    return tuple(found)


def feed_faults(feed: Iterable[tuple[int, AgentName]], snapshot: RegistrySnapshot) -> tuple[Fault, ...]:
    """What is wrong with the change feed up to the snapshot: order, its end, and agents that it does not speak of.

    Lines that a later one of the same agent replaced may have been pruned, so a gap alone is no fault.
    """
    found, last, told = [], 0, set()
    for seq, name in feed:
        if seq > snapshot.seq:
            break
        if seq <= last:
            found.append(Fault(where="feed", what=f"change {seq} follows change {last}"))
        last = seq
        told.add(name)
    if last != snapshot.seq:
        found.append(Fault(where="feed", what=f"it ends with change {last}, and {snapshot.seq} was written last"))
    found += [
        Fault(where=str(name), what="the change feed does not speak of it")
        for name in sorted(snapshot.records)
        if name not in told
    ]
    return tuple(found)


def _of_one(key: AgentName, record: Record) -> Iterator[Fault]:
    where = str(key)
    if record.name != key:
        yield Fault(where=where, what=f"its record says that it is {record.name}")
    if not record.id:
        yield Fault(where=where, what="its record has no id")
    if record.version < 1:
        yield Fault(where=where, what=f"its record has version {record.version}; a written one has 1 or more")
    if record.good is not None and record.good.number > record.revision:
        yield Fault(
            where=where,
            what=f"its last good revision is {record.good.number}, and the last one tried is {record.revision}",
        )
    yield from _reservations(where, record)
    yield from _inventory(where, record)


def _reservations(where: str, record: Record) -> Iterator[Fault]:
    counted = Counter(held.cluster for held in record.reservations)
    for cluster in sorted(name for name, count in counted.items() if count > 1):
        yield Fault(where=where, what=f"it holds more than one reservation on {cluster}")
    for held in record.reservations:
        if held.replicas < 0:
            yield Fault(where=where, what=f"it reserves {held.replicas} replicas on {held.cluster}")
        for name, text in sorted(held.requests.items()):
            if not _is_amount(text):
                yield Fault(where=where, what=f"it reserves {text[:40]!r} of {name} on {held.cluster}: no quantity")
    placed = Counter(share.cluster for share in record.placement)
    for cluster in sorted(name for name, count in placed.items() if count > 1):
        yield Fault(where=where, what=f"it is placed on {cluster} more than once")
    if record.state is AgentState.RUNNING:
        yield from _settled(where, record)


def _is_amount(text: str) -> bool:
    """Whether it is what a server stores for what an agent asks for."""
    try:
        return stored_amount(text) >= 0
    except ValueError:
        return False


def _settled(where: str, record: Record) -> Iterator[Fault]:
    """An agent that runs holds what it was placed with; while a change is under way it may hold more."""
    held = {one.cluster: one.replicas for one in record.reservations}
    for share in record.placement:
        if share.replicas and share.cluster not in held:
            yield Fault(where=where, what=f"it runs on {share.cluster} and has no reservation there")


def _inventory(where: str, record: Record) -> Iterator[Fault]:
    counted = Counter((item.cluster, item.ref) for item in record.inventory)
    for cluster, ref in sorted((key for key, count in counted.items() if count > 1), key=str):
        yield Fault(where=where, what=f"{_object(cluster, ref)} stands in its inventory more than once")


def _twice(owners: Mapping[str, AgentName], records: Sequence[Record]) -> Iterator[Fault]:
    for record in records:
        if record.id and owners[record.id] != record.name:
            yield Fault(where=str(record.name), what=f"{owners[record.id]} has the same id, {record.id}")


def _owned_twice(records: Sequence[Record]) -> Iterator[Fault]:
    """Objects that two agents say they own: each would undo what the other does."""
    owner: dict[tuple[str, ObjectRef], AgentName] = {}
    for record in records:
        for item in record.inventory:
            first = owner.setdefault((item.cluster, item.ref), record.name)
            if first != record.name:
                yield Fault(
                    where=str(record.name),
                    what=f"{_object(item.cluster, item.ref)} stands in the inventory of {first} too",
                )


def _object(cluster: str, ref: ObjectRef) -> str:
    return f"{ref.kind} {ref.namespace}/{ref.name} on {cluster}"


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
