"""plan, apply, show and what looks at a running fleet, on the embedded cluster with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.bootstrap import find_fleet, open_fleet
from reconciler.daemon.standing import LEADER_LEASE
from reconciler.engine.locks import APPLY_LEASE
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import AnyState, Manifest, Unreadable
from reconciler.spec import read_fleet

from .conftest import Edit, Program, environment

WITHIN_S = 30.0


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def running(fleet: Program) -> Program:
    """A fleet whose one agent runs."""
    fleet("apply", "--auto-approve", code=0)
    return fleet


def pods(program: Program) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(program("describe", "demo/hello", "-o", "json", code=0).out)["pods"]
    return found


def test_two_commands_bring_an_agent_up_and_one_takes_it_down(fleet: Program) -> None:
    assert "Plan: 1 to create, 0 to update, 0 to scale, 0 to delete." in fleet("plan", code=0).out
    fleet("plan", "--detailed-exitcode", code=2)
    done = fleet("apply", "--auto-approve", code=0)
    assert "demo/hello   created            ready 1/1 " in done.out
    assert "Applied 1 change in " in done.out
    assert "No changes." in fleet("plan", "--detailed-exitcode", code=0).out
    (pod,) = pods(fleet)
    assert pod["ready"] is True
    pid = pod["pid"]
    assert isinstance(pid, int)
    os.kill(pid, 0)
    assert "demo/hello   deleted" in fleet("destroy", "--auto-approve", code=0).out
    until(lambda: not Path(f"/proc/{pid}").exists())
    assert "No agents on record" in fleet("get", "agents", code=0).err
    assert "`reconciler history demo/hello` tells" in fleet("describe", "demo/hello", code=1).err
    assert "1 to create" in fleet("plan", code=0).out


def test_what_looks_at_a_running_agent(running: Program) -> None:
    assert running("get", "agents", "-n", "demo", "-l", "team=demo", "-o", "name", code=0).out == "demo/hello\n"
    assert running("get", "agents", "-l", "team!=demo", "-o", "name", code=0).out == ""
    lines = running("get", "agents", code=0).out.splitlines()
    assert lines[0].split() == ["NAMESPACE", "NAME", "STATE", "READY", "REVISION", "CLUSTERS", "AGE"]
    assert lines[1].split()[:6] == ["demo", "hello", "running", "1/1", "1", "local"]
    assert len(running("get", "agents", "--no-headers", "-o", "wide", code=0).out.splitlines()) == 1
    assert json.loads(running("get", "agents", "-o", "json", "--sort-by", "updated").out)["items"][0]["ready"] == 1
    assert running("get", "templates", "--no-headers", code=0).out.split() == ["base", "1"]
    assert "reachable" in running("get", "clusters", code=0).out
    by_age = ("get", "agents", "-o", "name", "--sort-by", ".metadata.creationTimestamp")
    assert running(*by_age, code=0).out == "demo/hello\n"
    described = running("describe", "hello", "-n", "demo", code=0).out
    assert re.search(r"^Address: +http at 127\.0\.0\.1:\d+ on local$", described, re.MULTILINE)
    assert re.search(r" http at 127\.0\.0\.1:\d+ +-$", described, re.MULTILINE)
    assert "Nothing keeps demo/hello" in running("why", "demo/hello", code=0).out
    assert "was not restarted" in running("logs", "demo/hello", "--previous", code=0).err
    assert "1 of 1 well" in running("health", "hello", "-n", "demo", code=0).out
    assert "demo/helo was not checked" in running("health", "demo/helo", code=1).err
    assert running("get", "agents", "demo/hello", "-o", "name", RECONCILER_NAMESPACE="other").out == "demo/hello\n"
    assert "hello listens on 127.0.0.1:" in running("logs", "demo/hello", "--tail", "5", code=0).out
    assert "5" not in running("logs", "demo/hello", "--tail", "0", code=0).out
    assert "1 " in running("history", "demo/hello", code=0).out.splitlines()[1]
    assert "The audit chain is whole" in running("audit", "verify", code=0).out
    assert {json.loads(line)["agent"] for line in running("audit", "list", "-o", "json", code=0).out.splitlines()} == {
        "demo/hello"
    }
    assert all(one["state"] == "ok" for one in json.loads(running("doctor", "-o", "json", code=0).out))


def test_explain_says_where_a_value_was_written(fleet: Program) -> None:
    commit = fleet.git("rev-parse", "HEAD").strip()
    told = json.loads(fleet("explain", "demo/hello", "resources.limits.memory", "-o", "json", code=0).out)
    assert told["fields"] == [
        {
            "path": "resources.limits.memory",
            "value": "256Mi",
            "file": "templates/base.yaml",
            "line": 6,
            "layer": "template base",
            "commit": commit,
        }
    ]
    out = fleet("explain", "demo/hello", "spec.rollout.settle", code=0).out
    assert "nowhere: it is the default" in out
    assert "did you mean 'resources'" in fleet("explain", "demo/hello", "resorces.limits", code=1).err
    assert "skills[greet].tags" in fleet("explain", "demo/hello", code=0).out
    assert "explain" not in fleet("render", "demo/nobody-at-all", code=1).err


def test_render_and_explain_mask_what_looks_secret(fleet: Program, edit: Edit) -> None:
    edit("agents/demo/hello.yaml", "  replicas: 1\n", "  env: [{name: API_TOKEN, value: hush-hush}]\n")
    edit(
        "agents/demo/hello.yaml",
        "  skills:",
        "  config: {deep: [{password: hush-hush}], open: yes-please, pin_key: 20260731, api_key: [hush-hush, b],"
        " credentials: {user: a, value: hush-hush}}\n  skills:",
    )
    for arguments in (
        ["render", "demo/hello", "--working-tree"],
        ["render", "demo/hello", "--working-tree", "-o", "json"],
        ["explain", "demo/hello", "--working-tree"],
        ["explain", "demo/hello", "config", "--working-tree", "-o", "json"],
        ["plan", "--working-tree"],
        ["plan", "--working-tree", "-o", "json"],
        ["plan", "--working-tree", "-o", "markdown"],
    ):
        done = fleet(*arguments, code=0)
        assert "hush-hush" not in done.out + done.err
        assert "20260731" not in done.out + done.err
        assert "yes-please" in done.out
        assert "(sensitive value)" in done.out


def test_a_saved_plan_is_done_exactly_once(running: Program, edit: Edit) -> None:
    edit("agents/demo/hello.yaml", "replicas: 1", "replicas: 2")
    running.commit()
    running("plan", "--out", "next.plan", code=0)
    file = running.folder / "next.plan"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first = file.read_bytes()
    running("plan", "--out", "next.plan", code=0)
    assert file.read_bytes() == first
    assert "fleet.yaml is there, and is no plan" in running("plan", "--out", "fleet.yaml", code=1).err
    assert "1 to scale" in running("show", "next.plan", code=0).out
    assert "demo/hello" in running("show", "next.plan", "-o", "markdown", code=0).out
    assert json.loads(running("show", "next.plan", "-o", "json", code=0).out)["changes"][0]["agent"] == "demo/hello"
    (running.folder / "README.md").write_text("Another commit that changes no agent.\n")
    running.commit()
    assert "scaled 1 -> 2" in running("apply", "next.plan", code=0).out
    assert "applied already" in running("apply", "next.plan", code=1).err


def test_a_saved_plan_of_a_branch_that_is_gone_says_so(running: Program, edit: Edit) -> None:
    edit("agents/demo/hello.yaml", "replicas: 1", "replicas: 2")
    running.git("checkout", "-q", "-b", "bigger")
    running.commit()
    running("plan", "--ref", "bigger", "--out", "next.plan", code=0)
    running.git("checkout", "-q", "main")
    running.git("merge", "-q", "bigger")
    running.git("branch", "-q", "-D", "bigger")
    done = running("apply", "next.plan", code=1)
    assert "next.plan is a plan of bigger at " in done.err
    assert "there is no bigger here" in done.err
    running("plan", "--out", "next.plan", code=0)
    running("apply", "next.plan", code=0)


def test_a_saved_plan_that_no_longer_holds_is_refused_plan_against_plan(running: Program, edit: Edit) -> None:
    edit("templates/base.yaml", "256Mi", "300Mi")
    running.commit()
    running("plan", "--out", "next.plan", code=0)
    edit("templates/base.yaml", "300Mi", "310Mi")
    running.commit()
    done = running("apply", "next.plan", code=1)
    assert "next.plan no longer holds: demo/hello would not be changed as planned" in done.err
    assert "saved:   resources.limits.memory: 256Mi -> 300Mi" in done.err
    assert "now:     resources.limits.memory: 256Mi -> 310Mi" in done.err
    assert "Applied" not in done.out


def test_findings_do_not_stop_the_healthy_and_make_the_exit_code_1(fleet: Program) -> None:
    (fleet.folder / "agents" / "demo" / "broken.yaml").write_text(
        "kind: Agent\nmetadata: {name: broken}\nspec: {x: 1}\n"
    )
    fleet.commit()
    done = fleet("plan", "--detailed-exitcode", code=1)
    assert "1 to create" in done.out
    assert "agents/demo/broken.yaml" in done.out + done.err
    done = fleet("apply", "--auto-approve", code=1)
    assert "demo/hello   created" in done.out


def test_apply_asks_and_without_a_terminal_refuses_at_once(fleet: Program) -> None:
    done = fleet("apply", stdin="yes\n", code=1)
    assert "there is no terminal to ask on" in done.err
    assert "--auto-approve" in done.err
    assert "No agents on record" in fleet("get", "agents").err


@pytest.mark.parametrize(("typed", "code"), [("yes\n", 0), ("y\n", 1), ("\x04", 1)])
def test_only_yes_on_a_terminal_is_yes(fleet: Program, typed: str, code: int) -> None:
    primary, secondary = pty.openpty()
    os.write(primary, typed.encode())
    done = subprocess.run(
        [sys.executable, "-m", "reconciler.cli", "apply"],
        cwd=fleet.folder,
        env=environment(fleet.home),
        stdin=secondary,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(primary)
    os.close(secondary)
    assert done.returncode == code
    assert "Only 'yes' is accepted: " in done.stderr
    assert ("Applied 1 change" in done.stdout) is (code == 0)


def test_ctrl_c_at_the_question_ends_it_at_once(fleet: Program) -> None:
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler.cli", "apply"],
        cwd=fleet.folder,
        env=environment(fleet.home),
        stdin=secondary,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    seen = b""
    while not seen.endswith(b"accepted: "):
        seen += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    os.close(primary)
    os.close(secondary)


def test_events_are_lines_of_json(fleet: Program) -> None:
    events = [json.loads(line) for line in fleet("apply", "--auto-approve", "-o", "json", code=0).out.splitlines()]
    assert events[0]["type"] == "apply-started"
    assert events[-1]["type"] == "apply-finished"
    assert [event["agent"] for event in events if event["type"] == "change-finished"] == ["demo/hello"]


def test_a_program_that_cannot_start_fails_with_the_reason_and_is_undone(fleet: Program, edit: Edit) -> None:
    edit("agents/demo/hello.yaml", "[python3, programs/hello.py]", "[no-such-program]")
    fleet.commit()
    done = fleet("apply", "--auto-approve", code=1)
    assert "no-such-program" in done.out
    assert "1 failed" in done.out


def test_ctrl_c_says_what_is_done_and_what_is_not(fleet: Program, edit: Edit) -> None:
    """The agent needs longer than anybody waits; Ctrl-C comes while it rolls out."""
    edit("agents/demo/hello.yaml", "[python3, programs/hello.py]", "[sleep, '3600']")
    fleet.commit()
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler.cli", "apply", "--auto-approve"],
        cwd=fleet.folder,
        env=environment(fleet.home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("demo/hello: 0/1 ready")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "SIGINT" in err
    assert "Interrupted." in out
    assert "demo/hello" in out.partition("Interrupted.")[2]
    assert "Traceback" not in out + err


def test_a_reader_that_goes_away_is_no_failure_to_speak_of(running: Program) -> None:
    command = f"{sys.executable} -m reconciler.cli audit list -o json | head -c 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}; echo code ${{PIPESTATUS[0]}}"],
        cwd=running.folder,
        env=environment(running.home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_an_agent_is_scaled_suspended_and_resumed_by_hand(running: Program) -> None:
    assert "scaled 1 -> 2" in running("scale", "demo/hello", "2", "--for", "2h", "--reason", "launch", code=0).out
    assert "launch" in running("plan", code=0).out
    assert "launch" in running("why", "demo/hello", code=0).out
    running("scale", "hello", "-n", "demo", "--end", code=0)
    until(lambda: len(pods(running)) == 1)
    running("suspend", "demo/hello", "--reason", "pause", code=0)
    until(lambda: pods(running) == [])
    assert "suspended" in running("get", "agents", code=0).out
    assert "No changes." in running("plan", "--detailed-exitcode", code=0).out
    running("resume", "demo/hello", code=0)
    until(lambda: len(pods(running)) == 1)
    assert "pause" in running("history", "demo/hello", code=0).out
    assert "0 to 10000" in running("scale", "demo/hello", "99999", code=1).err


@pytest.mark.parametrize("led", [True, False])
def test_a_wish_is_left_to_the_daemon_that_is_at_work(running: Program, *, led: bool) -> None:
    """Who keeps the fleet sees what is on record; another apply does not, and is not waited for."""

    async def hold() -> None:
        registry = await SqliteRegistry.open(running.folder / ".reconciler" / "registry.db", SystemClock())
        for lease in (APPLY_LEASE, LEADER_LEASE)[: 1 + led]:
            await registry.acquire(lease, holder="somebody", ttl_ms=60_000, now_ms=SystemClock().now_ms())
        await registry.close()

    asyncio.run(hold())
    done = running("scale", "demo/hello", "2", code=0 if led else 1)
    assert ("A daemon keeps this fleet" if led else "another apply holds this fleet") in done.err
    assert "by hand" in running("why", "demo/hello", code=0).out


def test_health_is_checked_once_and_shown_by_dimension(running: Program) -> None:
    out = running("health", code=0).out
    assert out.splitlines()[0].split()[:2] == ["AGENT", "HEALTH"]
    assert "1 of 1 well." in out
    value = json.loads(running("health", "-o", "json", code=0).out)
    assert {check["dimension"] for check in value["agents"][0]["checks"]} >= {"connectivity", "a2aCard"}
    assert "No agents that run here" in running("health", "-n", "other", code=0).err
    assert "1 of 1 well." in running("health", code=0, RECONCILER_NAMESPACE="other").out


def test_health_says_of_which_agents_it_cannot_tell(running: Program, edit: Edit) -> None:
    edit("agents/demo/hello.yaml", "replicas: 1", "replicas: many")
    running.commit()
    done = running("health", code=1)
    assert "demo/hello was not checked: its file cannot be used" in done.err
    told = json.loads(running("health", "-o", "json", code=1).out)
    assert "its file cannot be used" in told["unchecked"]["demo/hello"]
    assert "its file cannot be used" in running("health", "demo/hello", code=1).err
    running("health", "-n", "other", code=0)


def test_targets_make_a_partial_plan_and_unknown_ones_are_told(fleet: Program) -> None:
    assert "partial" in fleet("plan", "--target", "demo/hello", code=0).out
    assert "demo/hallo" in fleet("plan", "--target", "demo/hallo", code=1).err


def test_an_apply_that_shows_no_plan_says_what_its_target_depends_on_and_leaves_out(fleet: Program, edit: Edit) -> None:
    (fleet.folder / "agents/demo/base.yaml").write_text(
        (fleet.folder / "agents/demo/hello.yaml").read_text().replace("name: hello", "name: base")
    )
    edit("agents/demo/hello.yaml", "spec:", "spec:\n  dependsOn: [demo/base]")
    options = ("--working-tree", "--target", "demo/hello")
    left_out = "note: demo/base is to be created and is left out, though demo/hello depends on it; add --target"
    assert left_out in fleet("plan", *options, code=0).out
    assert left_out in fleet("apply", *options, "-o", "json", code=1).err


def test_another_ref_is_planned_without_being_checked_out(fleet: Program, edit: Edit) -> None:
    edit("agents/demo/hello.yaml", "replicas: 1", "replicas: 3")
    fleet.commit()
    first = fleet.git("rev-parse", "HEAD~1").strip()
    done = json.loads(fleet("plan", "--ref", "HEAD~1", "-o", "json", code=0).out)
    assert done["revision"]["commit"] == first
    assert done["changes"][0]["replicas"]["after"] == 1


def test_a_cluster_that_runs_nothing_says_so_everywhere(fleet: Program, edit: Edit) -> None:
    fleet_file = fleet.folder / "fleet.yaml"
    fleet_file.write_text(
        "apiVersion: agents.codevald.io/v1\nkind: Fleet\nmetadata: {name: fleet}\n"
        "spec: {clusters: [{name: local, embedded: {run: nothing}}]}\n"
    )
    fleet.commit()
    told = "Cluster local runs nothing: no processes are started"
    assert told in fleet("plan", code=0).out
    assert json.loads(fleet("plan", "-o", "json", code=0).out)["idleClusters"] == ["local"]
    fleet("plan", "--out", "next.plan", code=0)
    assert told in fleet("show", "next.plan", code=0).out
    assert told in fleet("apply", "next.plan").err
    assert fleet("get", "clusters", "--no-headers", code=0).out.split()[:3] == ["local", "embedded", "nothing"]
    assert "it runs nothing: no processes are started" in fleet("doctor", code=0).out


def test_an_agent_of_files_that_are_not_committed_is_acted_on_by_hand_and_never_deleted_for_it(
    fleet: Program,
) -> None:
    new = fleet.folder / "agents" / "demo" / "fresh.yaml"
    new.write_text((fleet.folder / "agents" / "demo" / "hello.yaml").read_text().replace("name: hello", "name: fresh"))
    fleet("apply", "--working-tree", "--auto-approve", code=0)
    assert "scaled 1 -> 2" in fleet("scale", "demo/fresh", "2", code=0).out
    new.unlink()
    for by_hand in (("scale", "demo/fresh", "1"), ("resume", "demo/fresh")):
        fleet("suspend", "demo/fresh")
        assert "would be deleted" in fleet(*by_hand, code=1).err
    assert fleet("get", "agents", "fresh", "-o", "name", code=0).out == "demo/fresh\n"


def test_what_was_never_committed_is_reached_once_it_runs(fleet: Program) -> None:
    shutil.rmtree(fleet.folder / ".git")
    assert "is no Git repository" in fleet("plan", code=1).err
    fleet("apply", "--working-tree", "--auto-approve", code=0)
    for command in (("get", "agents"), ("scale", "demo/hello", "2"), ("health",), ("destroy", "--auto-approve")):
        done = fleet(*command, code=0)
        assert "hello" in done.out
        assert "Nothing of this fleet is committed" in done.err


def test_what_is_held_is_told_where_the_plan_is_not_shown(running: Program) -> None:
    (running.folder / "agents" / "demo" / "hello.yaml").unlink()
    running.commit()
    running("plan", "--out", "held.plan", code=0)
    running("plan", "--detailed-exitcode", code=2)
    assert "held: " in running("apply", "held.plan", code=1).err
    done = running("apply", "--auto-approve", "-o", "json", code=1)
    assert "held: " in done.err
    assert [json.loads(line)["type"] for line in done.out.splitlines()] == ["apply-started", "apply-finished"]


def test_nobody_is_asked_about_a_plan_that_is_not_shown(fleet: Program) -> None:
    assert "add --auto-approve" in fleet("apply", "-o", "json", code=1).err
    assert fleet("get", "agents", "-o", "name", code=0).out == ""
    assert "for one agent alone: --target" in fleet("plan", "demo/hello", code=1).err


def test_what_git_suspends_is_told_with_its_line(fleet: Program, edit: Edit) -> None:
    edit("agents/demo/hello.yaml", "replicas: 1", "suspend: true")
    fleet.commit()
    assert "(agents/demo/hello.yaml:10:3)" in fleet("why", "demo/hello", code=0).out
    fleet("apply", "--auto-approve", code=0)
    out = fleet("why", "demo/hello", code=0).out
    assert "suspended: in Git (agents/demo/hello.yaml:10:3)" in out
    assert "take `suspend: true` out of agents/demo/hello.yaml" in out
    fleet("plan", "--out", "next.plan", code=0)
    assert fleet("apply", "next.plan", code=0).out == "No changes.\n"


def test_scaling_for_no_time_is_refused(fleet: Program) -> None:
    assert "must be more than nothing" in fleet("scale", "demo/hello", "--replicas=2", "--for", "0s", code=1).err
    assert "say the number once" in fleet("scale", "demo/hello", "2", "--replicas", "3", code=1).err


def test_mistakes_in_files_are_nothing_to_destroy(fleet: Program, edit: Edit) -> None:
    edit("agents/demo/hello.yaml", "[base]", "[bsae]")
    fleet.commit()
    done = fleet("destroy", "--auto-approve", code=0)
    assert "unknown-template" not in done.out + done.err
    edit("fleet.yaml", "kind: Fleet", "kind: Fleat")
    fleet.commit()
    fleet("destroy", "--auto-approve", code=1)


def test_destroy_that_leaves_a_protected_agent_fails_and_says_so(fleet: Program, edit: Edit) -> None:
    edit("agents/demo/hello.yaml", "replicas: 1", "protect: true\n  suspend: true")
    fleet.commit()
    fleet("apply", "--auto-approve", code=0)
    assert "demo/hello is protected" in fleet("destroy", "--auto-approve", code=1).out
    assert fleet("get", "agents", "-o", "name", code=0).out == "demo/hello\n"


def take_replicas(program: Program, count: int) -> None:
    """Have another manager apply the agent's replicas, by force."""
    deployment = ObjectRef(group="apps", kind="Deployment", namespace="demo", name="hello")
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": "demo", "name": "hello"},
        "spec": {"replicas": count},
    }
    name = AgentName(namespace="demo", name="hello")

    async def work() -> None:
        async with await open_fleet(find_fleet(program.folder)) as world:
            revision = await world.source.revision("")
            fleet_spec = read_fleet(revision, await world.source.blobs(revision)).fleet
            assert fleet_spec is not None
            cluster = (await world.stores(fleet_spec)).clusters["local"]
            assert not isinstance(cluster, Unreadable)
            manifest = Manifest(ref=deployment, body=body, hash="", agent=name)
            await cluster.apply(manifest, AnyState(), manager="keda", force=True)

    asyncio.run(work())


def test_a_field_that_another_manager_holds_is_told_with_its_manager(running: Program, edit: Edit) -> None:
    take_replicas(running, 2)
    told = "spec.replicas is 2 and held by keda, {} is declared"
    assert told.format(1) in running("why", "demo/hello", code=0).out
    edit("agents/demo/hello.yaml", "replicas: 1", "replicas: 3")
    running.commit()
    done = running("apply", "--auto-approve", code=0)
    assert told.format(3) in done.err
    assert "1 -> 3" not in done.out.splitlines()[-2]
    assert told.format(3) in running("apply", "--auto-approve", code=0).err
