"""The way back from an adoption: what was there before, of the fields that are about to change, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.model.identity import ObjectRef
from reconciler.model.objects import LiveObject
from reconciler.model.plan import Missing
from reconciler.plan.adoption import former
from reconciler.plan.ownership import Lost

REF = ObjectRef(group="apps", kind="Deployment", namespace="support", name="triage")
WANTED = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "wanted", "labels": {"a": "b"}}}
LIVE = LiveObject(ref=REF, uid="u1", resource_version="7", body={"kind": "Deployment", "spec": {"paused": True}})
HEAD = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "triage", "namespace": "support"}}
POD = ("f:spec", "f:template", "f:spec")
AGENT = (*POD, "f:containers", 'k:{"name":"agent"}')
ACCOUNT = (*POD, "f:serviceAccountName")


def lost(fields: tuple[str, ...], live: Any) -> Lost:
    return Lost(path="", fields=fields, wanted="ours", live=live, owner=None)


def pod(spec: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"template": {"spec": spec}}}


@pytest.mark.parametrize(
    ("found", "body"),
    [
        ([], {}),
        ([lost(("f:spec", "f:replicas"), 3)], {"spec": {"replicas": 3}}),
        (
            [lost(("f:spec", "f:replicas"), 3), lost(("f:spec", "f:paused"), True)],
            {"spec": {"replicas": 3, "paused": True}},
        ),
        ([lost(("f:metadata", "f:labels", "f:app.kubernetes.io/name"), "x")], None),
        ([lost(("f:spec", "f:replicas"), Missing.FIELD)], {}),
        ([lost((*AGENT, "f:image"), "acme/old:1")], pod({"containers": [{"name": "agent", "image": "acme/old:1"}]})),
        (
            [lost((*AGENT, "f:image"), "acme/old:1"), lost((*AGENT, "f:env", 'k:{"name":"MODE"}', "f:value"), "old")],
            pod({"containers": [{"name": "agent", "image": "acme/old:1", "env": [{"name": "MODE", "value": "old"}]}]}),
        ),
        (
            [
                lost((*AGENT, "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}', "f:name"), "web"),
                lost((*AGENT, "f:ports", 'k:{"containerPort":80,"protocol":"UDP"}', "f:name"), "dns"),
                lost((*AGENT, "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}', "f:hostPort"), 81),
            ],
            pod(
                {
                    "containers": [
                        {
                            "name": "agent",
                            "ports": [
                                {"containerPort": 80, "protocol": "TCP", "name": "web", "hostPort": 81},
                                {"containerPort": 80, "protocol": "UDP", "name": "dns"},
                            ],
                        }
                    ]
                }
            ),
        ),
        (
            [lost((*POD, "f:volumes", 'k:{"name":"data"}'), {"name": "data", "emptyDir": {}})],
            pod({"volumes": [{"name": "data", "emptyDir": {}}]}),
        ),
        ([lost(ACCOUNT, "theirs")], pod({"serviceAccountName": "theirs"})),
        ([lost(ACCOUNT, Missing.FIELD)], pod({"serviceAccountName": "default"})),
    ],
)
def test_what_was_there_is_a_body_that_brings_it_back(found: list[Lost], body: dict[str, Any] | None) -> None:
    if body is None:  # labels stand beside the name
        body = {"metadata": {**HEAD["metadata"], "labels": {"app.kubernetes.io/name": "x"}}}  # type: ignore[dict-item]
    assert former(WANTED, LIVE, found) == {**HEAD, **body}
    assert LIVE.body == {"kind": "Deployment", "spec": {"paused": True}}
    assert WANTED["metadata"] == {"name": "wanted", "labels": {"a": "b"}}
