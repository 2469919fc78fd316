"""What is written before effects, and what an open entry means after a crash."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.engine import journal
from reconciler.engine.journal import Resolution, Step
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import AnyState, LiveObject, Manifest
from reconciler.model.plan import Action, Change, ObjectChange, Verb
from reconciler.model.registry import (
    AgentState,
    Good,
    InventoryEntry,
    JournalPhase,
    Record,
    Reservation,
)

NAME = AgentName(namespace="support", name="triage")
DEPLOYMENT = ObjectRef(group="apps", kind="Deployment", namespace="support", name="triage")
SERVICE = ObjectRef(group="", kind="Service", namespace="support", name="triage")
CONFIG = ObjectRef(group="", kind="ConfigMap", namespace="support", name="triage")
GOOD = Good(number=1, commit="c", spec_hash="old", document={}, manifests={})


def manifest(ref: ObjectRef, digest: str = "new") -> Manifest:
    return Manifest(ref=ref, body={}, hash=digest, agent=NAME)


def effect(ref: ObjectRef, verb: Verb) -> ObjectChange:
    wanted = None if verb is Verb.DELETE else manifest(ref)
    return ObjectChange(cluster="local", ref=ref, verb=verb, expect=AnyState(), manifest=wanted)


def change(*objects: ObjectChange, desired=(), reservations=(), action=Action.UPDATE) -> Change:
    return Change(
        name=NAME,
        action=action,
        wave=0,
        after=(),
        reasons=(),
        attributes=(),
        hidden=0,
        drift=(),
        objects=objects,
        risks=(),
        replicas=(1, 1),
        replicas_text="",
        fingerprint="f00",
        record_version=1,
        reservations=reservations,
        desired={"local": tuple(desired)} if desired else {},
    )


def held(ref: ObjectRef, uid: str = "u", digest: str = "old", version: str = "7") -> InventoryEntry:
    return InventoryEntry(cluster="local", ref=ref, uid=uid, resource_version=version, hash=digest)


def record(state=AgentState.DEPLOYING, *, inventory=(), reservations=(), good: Good | None = GOOD) -> Record:
    return Record(
        id="id",
        name=NAME,
        version=3,
        state=state,
        labels={},
        document={},
        spec_hash="old",
        lineage=(),
        source_path="agents/triage.yaml",
        commit="c",
        revision=1,
        placement=(),
        reservations=reservations,
        inventory=inventory,
        good=good,
    )


def entry(step: Step = Step.FORWARD):
    made = journal.intent(change(effect(SERVICE, Verb.APPLY)), (), commit="c", at_ms=5)
    return made if step is Step.FORWARD else journal.turned(made, step, reason="it broke", at_ms=6)


def test_an_intent_names_what_it_will_touch():
    made = journal.intent(
        change(effect(SERVICE, Verb.APPLY), effect(CONFIG, Verb.DELETE)),
        (Reservation(cluster="local", replicas=2, requests={"cpu": "1"}),),
        commit="abc",
        at_ms=5,
    )
    assert (made.id, made.agent, made.action) == ("support/triage:update:f00", NAME, "update")
    assert (made.phase, made.commit, made.at_ms) == (JournalPhase.INTENT, "abc", 5)
    assert made.detail == {
        "step": "forward",
        "specHash": "",
        "reservations": [{"cluster": "local", "replicas": 2, "requests": {"cpu": "1"}}],
        "untouched": [],
        "objects": [
            {"cluster": "local", "ref": "/Service:support/triage", "verb": "apply", "hash": "new"},
            {"cluster": "local", "ref": "/ConfigMap:support/triage", "verb": "delete", "hash": ""},
        ],
    }
    assert journal.former_reservations(made) == (Reservation(cluster="local", replicas=2, requests={"cpu": "1"}),)


def test_the_same_change_has_the_same_entry_and_another_has_another():
    one = change(effect(SERVICE, Verb.APPLY))
    assert journal.entry_id(one) == journal.entry_id(replace(one, wave=4, record_version=9))
    assert journal.entry_id(one) != journal.entry_id(replace(one, action=Action.DELETE))
    assert journal.entry_id(one) != journal.entry_id(replace(one, fingerprint="f01"))


def test_an_entry_that_turns_stays_open_and_keeps_what_it_knew():
    turned = journal.turned(entry(), Step.UNDO, reason="it broke", at_ms=9)
    assert (turned.phase, turned.at_ms) == (JournalPhase.INTENT, 9)
    assert journal.step_of(turned) is Step.UNDO
    assert turned.detail["reason"] == "it broke"
    assert turned.detail["objects"] == entry().detail["objects"]


@pytest.mark.parametrize("phase", [JournalPhase.DONE, JournalPhase.FAILED, JournalPhase.UNDONE])
def test_an_entry_is_closed_with_its_outcome(phase):
    closed = journal.closed(entry(), phase, at_ms=9)
    assert (closed.phase, closed.at_ms, closed.id) == (phase, 9, entry().id)


def test_a_step_of_an_unknown_version_decides_least():
    assert journal.step_of(replace(entry(), detail={"step": "sideways"})) is Step.FORWARD
    assert journal.step_of(replace(entry(), detail={})) is Step.FORWARD


@pytest.mark.parametrize(
    ("step", "state", "planned", "resolution"),
    [
        (Step.FORWARD, AgentState.DEPLOYING, True, Resolution.SUPERSEDE),
        (Step.ROLL_BACK, AgentState.DEPLOYING, True, Resolution.SUPERSEDE),
        (Step.UNDO, None, True, Resolution.SUPERSEDE),
        (Step.FORWARD, None, False, Resolution.CLOSE),
        (Step.FORWARD, AgentState.RUNNING, False, Resolution.CLOSE),
        (Step.ROLL_BACK, AgentState.RUNNING, False, Resolution.CLOSE),
        (Step.UNDO, AgentState.QUARANTINED, False, Resolution.CLOSE),
        (Step.FORWARD, AgentState.SUSPENDED, False, Resolution.CLOSE),
        (Step.FORWARD, AgentState.DEGRADED, False, Resolution.CLOSE),
        (Step.FORWARD, AgentState.DEPLOYING, False, Resolution.LEAVE),
        (Step.FORWARD, AgentState.REGISTERED, False, Resolution.LEAVE),
        (Step.FORWARD, AgentState.TERMINATING, False, Resolution.LEAVE),
        (Step.FORWARD, AgentState.RECOVERING, False, Resolution.LEAVE),
        (Step.ROLL_BACK, AgentState.DEPLOYING, False, Resolution.ROLL_BACK),
        (Step.UNDO, AgentState.DEPLOYING, False, Resolution.UNDO),
    ],
)
def test_what_is_done_about_an_open_entry(step, state, planned, resolution):
    there = record(state) if state else None
    assert journal.resolve(entry(step), record=there, planned=planned) is resolution


def test_there_is_no_going_back_to_what_never_was():
    there = record(good=None)
    assert journal.resolve(entry(Step.ROLL_BACK), record=there, planned=False) is Resolution.LEAVE


def test_before_effects_the_inventory_is_old_union_new_and_trusts_no_hash_of_what_changes():
    given = change(effect(DEPLOYMENT, Verb.APPLY), effect(CONFIG, Verb.DELETE), desired=(manifest(SERVICE),))
    before = record(inventory=(held(DEPLOYMENT), held(CONFIG)))
    assert journal.intended_inventory(given, before) == (
        held(CONFIG),
        InventoryEntry(cluster="local", ref=SERVICE),
        held(DEPLOYMENT, digest="", version=""),
    )


def test_the_first_inventory_is_all_that_is_wanted():
    given = change(effect(SERVICE, Verb.CREATE))
    assert journal.intended_inventory(given, None) == (InventoryEntry(cluster="local", ref=SERVICE),)


def live(ref: ObjectRef, uid: str = "n") -> LiveObject:
    return LiveObject(ref=ref, uid=uid, resource_version="9", body={})


def test_after_effects_the_inventory_is_exact():
    before = (
        held(CONFIG),
        held(SERVICE, digest="same"),
        held(DEPLOYMENT),
        InventoryEntry(cluster="far", ref=SERVICE),
        InventoryEntry(cluster="near", ref=SERVICE),
    )
    after = journal.exact_inventory(
        before,
        applied={("local", DEPLOYMENT): (live(DEPLOYMENT), "new")},
        deleted=[("local", CONFIG)],
        wanted=[("local", SERVICE), ("local", DEPLOYMENT), ("near", SERVICE)],
    )
    assert after == (
        held(SERVICE, digest="same"),
        InventoryEntry(cluster="local", ref=DEPLOYMENT, uid="n", resource_version="9", hash="new"),
        InventoryEntry(cluster="near", ref=SERVICE),
    )


def test_uids_that_become_known_are_kept_without_confirming_anything():
    before = (InventoryEntry(cluster="local", ref=SERVICE), held(CONFIG))
    assert journal.identified(before, {("local", SERVICE): "n"}) == (
        InventoryEntry(cluster="local", ref=SERVICE, uid="n"),
        held(CONFIG),
    )


def test_while_both_revisions_may_run_the_larger_of_both_is_reserved():
    old = (
        Reservation(cluster="a", replicas=5, requests={"cpu": "1"}),
        Reservation(cluster="b", replicas=1, requests={"cpu": "1"}),
    )
    new = (
        Reservation(cluster="a", replicas=2, requests={"cpu": "2"}),
        Reservation(cluster="c", replicas=3, requests={"cpu": "2"}),
    )
    assert journal.intended_reservations(new, record(reservations=old)) == (
        Reservation(cluster="a", replicas=5, requests={"cpu": "2"}),
        Reservation(cluster="b", replicas=1, requests={"cpu": "1"}),
        Reservation(cluster="c", replicas=3, requests={"cpu": "2"}),
    )
    assert journal.intended_reservations(new, None) == new


def test_a_reference_reads_as_in_tracking_annotations():
    assert journal.ref_text(DEPLOYMENT) == "apps/Deployment:support/triage"
    assert journal.ref_text(SERVICE) == "/Service:support/triage"
