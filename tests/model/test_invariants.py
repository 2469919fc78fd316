"""What must hold between records: each fault is found and named, and a registry in order has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from reconciler.model.identity import AgentName
from reconciler.model.invariants import faults_of, feed_faults, history_faults
from reconciler.model.registry import AgentState, PlacedReplicas, Record, RegistrySnapshot, Reservation
from tests.contracts.values import DEPLOYMENT, MINER, TRIAGE, record, revision


def snapshot(*records: Record, seq: int = 2) -> RegistrySnapshot:
    return RegistrySnapshot(seq=seq, fleet=None, records={one.name: one for one in records})


def miner() -> Record:
    return replace(record(MINER), inventory=())


def told(*records: Record) -> list[str]:
    return [f"{fault.where}: {fault.what}" for fault in faults_of(snapshot(*records))]


def test_records_in_order_have_no_faults() -> None:
    running = replace(record(), state=AgentState.RUNNING)
    assert told(running, miner()) == []


def test_what_is_reserved_may_be_as_little_as_servers_store() -> None:
    running = replace(record(), state=AgentState.RUNNING)
    held = tuple(replace(one, requests={"cpu": "1000100u"}) for one in running.reservations)
    assert told(replace(running, reservations=held), miner()) == []


RESERVED = Reservation(cluster="local", replicas=2, requests={"cpu": "100m"})
MISTAKES: dict[str, tuple[Callable[[Record], Record], str]] = {
    "no id": (lambda one: replace(one, id=""), "its record has no id"),
    "no version": (lambda one: replace(one, version=0), "its record has version 0"),
    "good after last": (
        lambda one: replace(one, revision=1),
        "its last good revision is 2, and the last one tried is 1",
    ),
    "reserved twice": (
        lambda one: replace(one, reservations=(RESERVED, RESERVED)),
        "it holds more than one reservation on local",
    ),
    "less than nothing": (
        lambda one: replace(one, reservations=(replace(RESERVED, replicas=-1),)),
        "it reserves -1 replicas on local",
    ),
    "no quantity": (
        lambda one: replace(one, reservations=(replace(RESERVED, requests={"cpu": "much"}),)),
        "it reserves 'much' of cpu on local: no quantity",
    ),
    "less than no cpu": (
        lambda one: replace(one, reservations=(replace(RESERVED, requests={"cpu": "-1"}),)),
        "it reserves '-1' of cpu on local: no quantity",
    ),
    "placed twice": (
        lambda one: replace(one, placement=(PlacedReplicas(cluster="local", replicas=1),) * 2),
        "it is placed on local more than once",
    ),
    "runs unreserved": (
        lambda one: replace(one, state=AgentState.RUNNING, reservations=()),
        "it runs on local and has no reservation there",
    ),
    "object twice": (
        lambda one: replace(one, inventory=one.inventory * 2),
        "Deployment support/triage on local stands in its inventory more than once",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_record_that_cannot_be_right_is_named(name: str) -> None:
    spoil, what = MISTAKES[name]
    (line,) = told(spoil(record()), miner())
    assert line.startswith("support/triage: ")
    assert what in line


def test_a_record_under_another_name_is_named() -> None:
    other = AgentName(namespace="support", name="other")
    found = faults_of(RegistrySnapshot(seq=1, fleet=None, records={other: record()}))
    assert [f"{fault.where}: {fault.what}" for fault in found] == [
        "support/other: its record says that it is support/triage"
    ]


def test_an_id_that_two_agents_have_is_named() -> None:
    (line,) = told(record(), replace(miner(), id="id-triage"))
    assert line == "research/miner: support/triage has the same id, id-triage"


def test_an_object_that_two_agents_own_is_named() -> None:
    assert record().inventory[0].ref == DEPLOYMENT
    (line,) = told(record(), replace(record(MINER), id="m"))
    assert line == "support/triage: Deployment support/triage on local stands in the inventory of research/miner too"


def test_the_same_object_on_two_clusters_is_two_objects() -> None:
    elsewhere = replace(record().inventory[0], cluster="eu-1")
    assert told(record(), replace(miner(), inventory=(elsewhere,))) == []


def test_the_present_revision_must_be_in_the_history() -> None:
    assert history_faults(record(), [revision(3), revision(2)]) == ()
    (fault,) = history_faults(record(), [revision(2), revision(1)])
    assert fault.what == "its present revision 3 is not in its history"
    assert history_faults(replace(record(), revision=0), []) == ()


def test_who_came_back_has_older_revisions_with_higher_numbers() -> None:
    assert history_faults(replace(record(), revision=1), [revision(4), revision(1)]) == ()


def test_a_feed_must_be_in_order_whole_at_its_end_and_speak_of_everybody() -> None:
    assert feed_faults([(1, TRIAGE), (2, MINER)], snapshot(record(), miner())) == ()
    assert feed_faults([(1, TRIAGE), (2, MINER), (3, MINER)], snapshot(record(), miner())) == (), "written since"
    lines = [
        fault.what
        for feed in ([(2, TRIAGE), (2, MINER)], [(1, TRIAGE), (1, MINER)], [(2, TRIAGE)])
        for fault in feed_faults(feed, snapshot(record(), miner()))
    ]
    assert lines == [
        "change 2 follows change 2",
        "change 1 follows change 1",
        "it ends with change 1, and 2 was written last",
        "the change feed does not speak of it",
    ]
