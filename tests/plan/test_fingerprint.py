"""Fingerprints: what makes two changes one and the same, and what does not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import Manifest, MustBe
from reconciler.model.plan import Action, ObjectChange, TakeBack, Verb
from reconciler.model.registry import PlacedReplicas
from reconciler.plan.fingerprint import digest, fingerprint

NAME = AgentName(namespace="support", name="triage")
REF = ObjectRef(group="apps", kind="Deployment", namespace="support", name="triage")
MANIFEST = Manifest(ref=REF, body={"kind": "Deployment"}, hash="h1", agent=NAME)
APPLY = ObjectChange(
    cluster="local",
    ref=REF,
    verb=Verb.APPLY,
    expect=MustBe(uid="u1", resource_version="7"),
    manifest=MANIFEST,
    force=("kubectl",),
    take=(("f:spec", "f:paused"),),
)
ASKED: dict[str, Any] = {
    "name": NAME,
    "action": Action.UPDATE,
    "before": "s1",
    "after": "s2",
    "objects": (APPLY,),
    "placement": (PlacedReplicas(cluster="local", replicas=2),),
}


def of(**other: Any) -> str:
    asked = ASKED | other
    return fingerprint(asked.pop("name"), asked.pop("action"), **asked)


def effect(**other: Any) -> dict[str, Any]:
    return {"objects": (dataclasses.replace(APPLY, **other),)}


@pytest.mark.parametrize(
    "other",
    [
        {"name": AgentName(namespace="support", name="other")},
        {"name": AgentName(namespace="other", name="triage")},
        {"action": Action.SCALE},
        {"before": "s0"},
        {"after": "s3"},
        {"before": "s2", "after": "s1"},
        {"objects": ()},
        {"objects": (APPLY, APPLY)},
        {"placement": ()},
        {"placement": (PlacedReplicas(cluster="local", replicas=3),)},
        {"placement": (PlacedReplicas(cluster="other", replicas=2),)},
        effect(cluster="other"),
        effect(ref=dataclasses.replace(REF, name="other")),
        effect(verb=Verb.REPLACE),
        effect(manifest=dataclasses.replace(MANIFEST, hash="h2")),
        effect(manifest=None),
        effect(force=()),
        effect(force=("kubectl-edit",)),
        effect(take=()),
        effect(take=(("f:spec", "f:replicas"),)),
    ],
    ids=str,
)
def test_another_effect_has_another_fingerprint(other: dict[str, Any]) -> None:
    assert of(**other) != of()


@pytest.mark.parametrize(
    "other",
    [
        effect(expect=MustBe(uid="u2", resource_version="8")),
        effect(hand_over_replicas=3),
        effect(take_back=TakeBack.AT_LEAST_LIVE),
        effect(former={"kind": "Deployment"}),
        effect(manifest=dataclasses.replace(MANIFEST, body={"kind": "Deployment", "spec": {}})),
    ],
    ids=str,
)
def test_what_moves_by_itself_is_in_no_fingerprint(other: dict[str, Any]) -> None:
    assert of(**other) == of()


def test_a_digest_is_of_the_value_and_not_of_the_order_in_which_it_was_built() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1, "b": [2]}) == "0855bfc20eb6cfaa4be7d6b510c63dd22997718bddadcb1a4915cec3a16145b9"


def test_a_fingerprint_stays_what_it_was_so_that_plans_saved_before_can_be_applied() -> None:
    gone = dataclasses.replace(APPLY, verb=Verb.DELETE, manifest=None, force=(), take=())
    assert of() == "8f8a4bcf9da3bda0a609985510c9cf56b8fd6e64d9adada930662f22469ba109"
    assert (
        of(action=Action.DELETE, objects=(gone,), after="", placement=())
        == "4f81f63e18f7000c3884c6eee15c4716f562ee812f70125b5c44c38b131968aa"
    )
