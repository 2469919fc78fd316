"""Plan files: equal bytes for equal state, read with suspicion, compared by what they would do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.identity import AgentName
from reconciler.model.plan import Policy
from reconciler.plan.planfile import MAX_BYTES, PlanFileError, compare, dump, load, restrict
from tests.plan.builders import World, agent, fleet_files, path_of, ref, running


def changed(*names: str) -> World:
    world = running("research/miner", "support/knowledge", "support/triage")
    for name in names:
        world.files[path_of(name)] = agent(name, replicas=3)
    return world


def test_equal_state_gives_equal_bytes_and_no_time_stamp() -> None:
    world = changed("support/triage")
    first = dump(world.plan())
    world.now_ms += 60_000
    assert dump(world.plan()) == first


@pytest.mark.parametrize(
    "policy",
    [
        Policy(max_deletes="20%", targets=(AgentName.parse("support/triage"),)),
        Policy(max_deletes=3, allow_empty=True),
        Policy(accept_rewind=True, clusters=("local",)),
        Policy(destroy=True),
    ],
)
def test_what_is_read_is_what_was_written(policy: Policy) -> None:
    plan = changed("support/triage", "support/knowledge").plan(policy)
    saved = load(dump(plan))
    assert saved.policy == policy
    assert saved.fleet == "acme"
    assert saved.commit == plan.revision.commit
    assert saved.fingerprints == {change.name: change.fingerprint for change in plan.changes}
    assert len(saved.digest) == 64
    assert compare(saved, plan) == ()


def test_people_can_read_a_plan_file() -> None:
    lines = dump(changed("support/triage").plan()).decode().splitlines()
    assert lines[0] == "{"
    assert any(line.startswith('  "fleet": ') for line in lines)


def test_an_edited_file_is_refused() -> None:
    document = json.loads(dump(changed("support/triage").plan()))
    document["changes"][0]["action"] = "delete"
    with pytest.raises(PlanFileError, match=r"^the plan file was changed after it was written$") as caught:
        load(json.dumps(document).encode())
    assert "reconciler plan --out" in caught.value.hint


def test_an_unknown_major_version_is_refused_and_a_minor_one_read() -> None:
    from reconciler.plan.fingerprint import digest

    document = json.loads(dump(changed("support/triage").plan()))
    for version, fine in (("1.7", True), ("1.7.2", True), ("1", True), ("2.0", False), ("", False), ("one", False)):
        edited = {key: value for key, value in document.items() if key != "digest"}
        edited |= {"format_version": version, "something_new": [1]}
        data = json.dumps(edited | {"digest": digest(edited)}).encode()
        if fine:
            assert load(data).fleet == "acme"
        else:
            with pytest.raises(PlanFileError, match=f"has format {version}, this program reads 1.x") as caught:
                load(data)
            assert "version that wrote it" in caught.value.hint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\xff",
        b"[]",
        b"{}",
        b'{"format_version": 1}',
        b'{"format_version": "1.0"}',
        b'{"format_version": "1.0", "fleet": []}',
        b"[" * 200_000,
        b'{"format_version": "1.0", "x": ' + b"[" * 200_000,
        (
            b'{"format_version": "1.0", "fleet": "a", "commit": "", "changes": [{"agent": "a", "action": "", '
            b'"fingerprint": ""}], "digest": "", "policy": {"maxDeletes": null, "allowEmpty": false, "acceptRewind": '
            b'false, "targets": [], "clusters": [], "destroy": false}}'
        ),
    ],
)
def test_what_is_no_plan_file_is_refused_with_what_to_do(data: bytes) -> None:
    with pytest.raises(PlanFileError, match=r"^(this is no plan file|the plan file is damaged): .+") as caught:
        load(data)
    assert "reconciler plan --out" in caught.value.hint


def test_a_huge_file_is_not_even_parsed() -> None:
    with pytest.raises(PlanFileError, match=f"has {MAX_BYTES + 1} bytes, {MAX_BYTES} are allowed") as caught:
        load(b" " * (MAX_BYTES + 1))
    assert "reconciler plan --out" in caught.value.hint
    with pytest.raises(PlanFileError, match="this is no plan file"):
        load(b" " * MAX_BYTES)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_make_reading_fail_in_any_other_way(data: bytes) -> None:
    with pytest.raises(PlanFileError):
        load(data)


@given(st.data())
def test_any_flipped_byte_is_noticed_or_means_the_same(data: st.DataObject) -> None:
    original = DUMPED
    place = data.draw(st.integers(0, len(original) - 1))
    edited = bytearray(original)
    edited[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        saved = load(bytes(edited))
    except PlanFileError:
        return
    assert saved == load(original)


DUMPED = dump(changed("support/triage").plan())


def test_a_change_of_a_planned_agent_is_told_plan_against_plan() -> None:
    world = changed("support/triage")
    saved = load(dump(world.plan()))
    world.files[path_of("support/triage")] = agent("support/triage", replicas=4)
    (difference,) = compare(saved, world.plan())
    assert difference.agent == AgentName.parse("support/triage")
    assert difference.now is not None
    assert (difference.saved["replicas"], difference.now["replicas"]) == ([1, 3], [1, 4])


def test_a_planned_agent_that_needs_nothing_any_more_is_a_difference() -> None:
    world = changed("support/triage")
    saved = load(dump(world.plan()))
    world.converge()
    (difference,) = compare(saved, world.plan())
    assert difference.now is None


def test_commits_and_changes_that_leave_the_planned_agents_alone_do_not_matter() -> None:
    world = changed("support/triage")
    saved = load(dump(world.plan()))
    world.files[path_of("support/knowledge")] = agent("support/knowledge", replicas=2)
    world.files[path_of("support/newcomer")] = agent("support/newcomer")
    now = world.plan()
    assert now.revision.commit != saved.commit
    assert compare(saved, now) == ()
    restricted = restrict(now, saved)
    assert [str(change.name) for change in restricted.changes] == ["support/triage"]
    assert restricted.partial


def test_status_writes_and_health_do_not_make_a_plan_stale() -> None:
    world = changed("support/triage")
    saved = load(dump(world.plan()))
    world.touch(ref("Deployment", "support/triage"))
    world.alter("support/triage", version=9, last_seen_ms=5, updated_ms=7)
    assert compare(saved, world.plan()) == ()


def test_a_hand_edit_of_a_planned_agent_makes_a_plan_stale() -> None:
    world = changed("support/triage")
    saved = load(dump(world.plan()))
    world.edit(
        ref("Service", "support/triage"),
        lambda body: body["metadata"]["labels"].update({"app.kubernetes.io/name": "x"}),
        {"f:metadata": {"f:labels": {"f:app.kubernetes.io/name": {}}}},
    )
    assert [str(item.agent) for item in compare(saved, world.plan())] == ["support/triage"]


def edit_token(body: dict[str, Any]) -> None:
    env = body["spec"]["template"]["spec"]["containers"][0]["env"]
    next(item for item in env if item["name"] == "API_TOKEN")["value"] = "other-secret"


def test_secrets_are_in_no_plan_file() -> None:
    world = World(files=fleet_files("support/triage"))
    world.files[path_of("support/triage")] = agent(
        "support/triage", env=[{"name": "API_TOKEN", "value": "hunter2-hunter2"}]
    )
    world.converge()
    world.edit(
        ref("Deployment", "support/triage"),
        edit_token,
        {
            "f:spec": {
                "f:template": {
                    "f:spec": {
                        "f:containers": {'k:{"name":"agent"}': {"f:env": {'k:{"name":"API_TOKEN"}': {"f:value": {}}}}}
                    }
                }
            }
        },
    )
    plan = world.plan()
    assert plan.changes[0].drift, "the edit is found"
    text = dump(plan).decode() + repr([(item.before, item.after) for item in plan.changes[0].drift])
    assert "hunter2" not in text
    assert "other-secret" not in text
    assert "(sensitive value)" in text


def forged(data: bytes, **edits: Any) -> bytes:
    """The file with other words in its first change, and the digest that belongs to them."""
    from reconciler.plan.fingerprint import digest

    document = json.loads(data)
    del document["digest"]
    document["changes"][0] |= edits
    return json.dumps(document | {"digest": digest(document)}).encode()


@pytest.mark.parametrize(
    "edits",
    [
        {"action": "delete"},
        {"attributes": []},
        {"attributes": [{"path": "replicas", "before": 1, "after": 2, "origin": None}]},
        {"attributes": "none"},
        {"objects": []},
    ],
)
def test_a_file_that_shows_something_else_than_it_does_is_told_apart(edits: dict[str, Any]) -> None:
    plan = changed("support/triage").plan()
    saved = load(forged(dump(plan), **edits))
    assert [str(item.agent) for item in compare(saved, plan)] == ["support/triage"]
    assert compare(load(forged(dump(plan))), plan) == ()


def test_an_agent_stands_in_a_plan_file_once() -> None:
    from reconciler.plan.fingerprint import digest

    document = json.loads(dump(changed("support/triage").plan()))
    del document["digest"]
    document["changes"] *= 2
    with pytest.raises(PlanFileError, match="twice"):
        load(json.dumps(document | {"digest": digest(document)}).encode())
