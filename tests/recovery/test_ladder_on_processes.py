"""Every rung of the ladder on real processes: what a remedy does, and that it leaves nothing to be planned."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from typing import Any

from reconciler.engine.operate import Hand, resume
from reconciler.model.plan import HoldCode
from reconciler.model.recovery import Ended
from reconciler.model.registry import AgentState
from tests.engine.fleets import plan_of, stores_of
from tests.recovery.living import Living, ask, command, living, patient, pid_of, running, seconds_since


async def test_one_that_stays_up_and_answers_500_is_restarted_and_that_leaves_no_drift(
    tmp_path, record_property
) -> None:
    async with living(tmp_path / "fleet", {"agents/triage.yaml": patient()}) as daemon:
        await daemon.until_ready()
        ((_, sick),) = (await daemon.pods()).items()
        began = time.monotonic()
        assert await ask(sick, "/sicken") == 200
        await daemon.until(lambda: daemon.told("well"))
        record_property("recovered", f"from answering 500 to healthy again: {seconds_since(began):.1f} s")
        await daemon.until_ready()
        ((_, fresh),) = (await daemon.pods()).items()
        assert (fresh["metadata"]["uid"], pid_of(fresh)) != (sick["metadata"]["uid"], pid_of(sick))
        assert daemon.remedies() == [("restart", "done")]
        now = await daemon.record()
        assert now.state is AgentState.RUNNING
        assert now.message == ""
        assert now.recovery is not None
        assert now.recovery.well_ms > now.recovery.since_ms > 0
        assert [(item.remedy, item.ended) for item in now.recovery.taken] == [("restart", Ended.DONE)]
        assert (await plan_of(daemon.world)).changes == ()
        assert await (await stores_of(daemon.world)).registry.open_journal() == ()
        steps = await daemon.audit()
    assert steps[0].startswith("restart (1 of 3): answers: 1 of 1 do not answer")
    assert steps[1].startswith("restart: 1 pod started anew on local")
    assert steps[2].startswith("healthy again after")
    assert daemon.alerts == []
    assert b'reconciler_remedies_total{outcome="done",remedy="restart"} 1.0' in daemon.measures.text()
    assert b"reconciler_recovery_seconds_count 1.0" in daemon.measures.text()


async def test_only_the_pod_that_is_ill_goes_while_the_others_serve(tmp_path) -> None:
    async with living(tmp_path / "fleet", {"agents/triage.yaml": patient(replicas=3)}) as daemon:
        await daemon.until_ready(count=3)
        before = await daemon.pods()
        victim = sorted(before)[1]
        await ask(before[victim], "/sicken")
        await daemon.until(lambda: daemon.told("remedy"))
        fewest = 3
        while not daemon.told("well"):
            fewest = min(fewest, len(await daemon.healthy()))
        await daemon.until_ready(count=3)
        after = await daemon.pods()
    assert fewest == 2
    assert set(before) - set(after) == {victim}
    assert daemon.remedies() == [("restart", "done")]


def rungs(taken: list[Any]) -> list[Any]:
    """Each once: one that flaps is spared the second restart, and whether it does hangs on when it is looked at."""
    return [rung for rung, _ in itertools.groupby(taken)]


async def test_a_revision_that_turns_bad_is_rolled_back_once_and_then_quarantined(tmp_path) -> None:
    files = {"agents/triage.yaml": patient(attempts=4)}
    async with living(tmp_path / "fleet", files) as daemon:
        await daemon.until_ready()
        daemon.repo.commit({"agents/triage.yaml": patient(sick_after="0.5", attempts=4)})
        await daemon.until(lambda: daemon.told("change-ended", action="update", outcome="applied"))
        await daemon.until(lambda: daemon.told("remedy-ended", remedy="rollback"))
        back_since = daemon.told("remedy-ended", remedy="rollback")[0]["at_ms"]
        await daemon.until(lambda: [line for line in daemon.told("well") if line["at_ms"] > back_since])
        assert rungs(daemon.remedies()) == [("restart", "done"), ("rollback", "done")], "once or twice: it may flap"
        await daemon.until_ready()
        back = await daemon.record()
        assert back.state is AgentState.RUNNING
        assert back.quarantine is not None
        assert back.quarantine.reason.startswith("unhealthy, and rolled back: answers: 1 of 1 do not answer")
        plan = await plan_of(daemon.world)
        assert plan.changes == ()
        assert [hold.code for hold in plan.holds] == [HoldCode.QUARANTINED]
        assert daemon.alerts == []

        (pod,) = (await daemon.pods()).values()
        await ask(pod, "/sicken")
        await daemon.until(lambda: daemon.told("remedy-ended", remedy="quarantine"))
        ended = await daemon.record()
        assert ended.state is AgentState.QUARANTINED
        assert ended.quarantine is not None
        assert ended.quarantine.reason.startswith("the revision that it went back to is unhealthy too after 4 of 4")
        assert ended.recovery is not None
        assert ended.recovery.left
        (kept,) = (await daemon.pods()).values()
        assert kept["metadata"]["uid"] == pod["metadata"]["uid"], "what runs is left to people"
        told, sweeps = len(daemon.lines), swept(daemon)
        await daemon.until(lambda: swept(daemon) > sweeps + 5)
        assert [line for line in daemon.lines[told:] if line["event"].startswith("remedy")] == []
        assert [(alert.name, alert.resolved) for alert in daemon.alerts] == [("AgentQuarantined", False)]
        assert rungs(daemon.remedies())[2:] == [("quarantine", "done")]
        why = (await command(daemon, "why", "support/triage")).splitlines()
        assert why[0] == "support/triage: it is quarantined, ready 1/1."
        assert any("left to people after" in line for line in why)
        steps = [line.split()[1] for line in why[why.index("") + 2 :]]
        assert rungs(steps) == ["restart", "rollback", "quarantine"]
        assert "and left to people" in await command(daemon, "describe", "support/triage")

        await resume(
            Hand(
                registry=(await stores_of(daemon.world)).registry,
                clock=daemon.world.clock,
                actor="ada",
                retry=daemon.world.retry,
            ),
            ended.name,
        )
        await daemon.until(lambda: len(daemon.alerts) > 1)
        assert daemon.alerts[1].resolved
        assert daemon.alerts[1].key == daemon.alerts[0].key


async def test_one_that_crashes_is_started_again_by_its_cluster_and_by_nobody_else(tmp_path, record_property) -> None:
    async with living(tmp_path / "fleet", {"agents/triage.yaml": patient()}) as daemon:
        await daemon.until_ready()
        (pod,) = (await daemon.pods()).values()
        began = time.monotonic()
        os.kill(pid_of(pod), signal.SIGKILL)
        await daemon.until_ready()
        record_property("recovered", f"from SIGKILL to ready and healthy: {seconds_since(began):.1f} s")
        (same,) = (await daemon.pods()).values()
        assert same["metadata"]["uid"] == pod["metadata"]["uid"]
        assert pid_of(same) != pid_of(pod)
        assert {outcome for _, outcome in daemon.remedies()} <= {"nothing-to-do"}


async def test_one_that_crashes_again_and_again_is_left_to_its_cluster_and_then_quarantined(tmp_path) -> None:
    die = tmp_path / "die"
    async with living(tmp_path / "fleet", {"agents/triage.yaml": patient(die_if=str(die))}) as daemon:
        await daemon.until_ready()
        (pod,) = (await daemon.pods()).values()
        die.touch()
        os.kill(pid_of(pod), signal.SIGKILL)
        await daemon.until(lambda: daemon.told("remedy-ended", remedy="quarantine"))
        pods = (await daemon.pods()).values()
        told = "\n".join(map(str, daemon.lines))
        assert [each["metadata"]["uid"] for each in pods] == [pod["metadata"]["uid"]], told
        texts = [line["text"] for line in daemon.told("remedy-ended")]
    assert daemon.remedies() == [("restart", "nothing-to-do"), ("rollback", "nothing-to-do"), ("quarantine", "done")]
    assert texts[0] == "its cluster starts it again by itself (1 pod), which does not help"
    assert texts[1] == "support/triage has no good revision before the present one, 1"


async def test_rescheduling_makes_all_pods_of_the_node_anew_one_after_the_other(tmp_path) -> None:
    files = {"agents/triage.yaml": patient(replicas=2, ladder="reprobe, reschedule", attempts=2)}
    async with living(tmp_path / "fleet", files) as daemon:
        await daemon.until_ready(count=2)
        before = await daemon.pods()
        await ask(before[min(before)], "/sicken")
        await daemon.until(lambda: daemon.told("well"))
        await daemon.until_ready(count=2)
        after = await daemon.pods()
    assert not set(before) & set(after)
    assert daemon.remedies() == [("reprobe", "done"), ("reschedule", "done")]


async def test_what_fails_with_what_it_depends_on_is_not_touched_before_that_is_well(tmp_path) -> None:
    files = {
        "agents/base.yaml": patient("base"),
        "agents/user.yaml": patient("user", more="  dependsOn: [support/base]\n"),
    }
    async with living(tmp_path / "fleet", files) as daemon:
        for name in ("base", "user"):
            await daemon.until_ready(name)
        for name in ("base", "user"):
            (pod,) = (await daemon.pods(name)).values()
            await ask(pod, "/sicken")
        await daemon.until(lambda: daemon.told("well", agent="support/user"))
        taken = daemon.told("remedy")
    assert [line["agent"] for line in taken] == ["support/base", "support/user"]
    base_well = daemon.told("health", agent="support/base", state="healthy")[-1]["at_ms"]
    assert taken[1]["at_ms"] >= base_well
    assert daemon.told(
        "no-remedy-now", agent="support/user", reason="explained by support/base: nothing is done to it for that"
    )


async def test_a_daemon_that_ends_in_the_middle_leaves_the_next_one_where_it_was(tmp_path) -> None:
    files = {"agents/triage.yaml": patient(sick_after="0.2", ladder="restart, quarantine", attempts=3)}
    async with living(tmp_path / "fleet", files) as daemon:
        await daemon.until(lambda: len(daemon.remedies()) == 1)
        daemon.stop.set()
        await daemon.until(
            lambda: daemon.told("stands-by") or not daemon.service.standing or not daemon.service.standing.leads
        )
        async with running(Living(daemon.repo, daemon.world)) as second:
            await second.until(lambda: second.told("remedy-ended", remedy="quarantine"))
            steps = [line["step"] for line in second.told("remedy")]
    assert steps == ["2 of 3", "3 of 3"]


async def test_a_remedy_that_is_stopped_says_where_it_was_and_the_agent_gets_well_with_the_next_daemon(
    tmp_path,
) -> None:
    wait = tmp_path / "wait"
    async with living(tmp_path / "fleet", {"agents/triage.yaml": patient(wait_if=str(wait))}) as daemon:
        await daemon.until_ready()
        ((name, pod),) = (await daemon.pods()).items()
        wait.touch()
        await ask(pod, "/sicken")
        await daemon.until(lambda: daemon.told("remedy"))
        async with asyncio.timeout(30):
            while name in await daemon.pods():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        standing = daemon.service.standing
        assert standing is not None
        daemon.stop.set()
        await daemon.until(lambda: not standing.leads)
        stopped = await daemon.record()
        assert stopped.recovery is not None
        assert [item.ended for item in stopped.recovery.taken] == [Ended.INTERRUPTED]
        assert stopped.state is AgentState.DEGRADED
        assert await (await stores_of(daemon.world)).registry.open_journal() == ()
        wait.unlink()
        async with running(Living(daemon.repo, daemon.world)) as second:
            await second.until(lambda: second.told("well"))
            assert {outcome for _, outcome in second.remedies()} <= {"nothing-to-do"}, "it was about to be ready"
            assert (await second.record()).state is AgentState.RUNNING


def swept(daemon: Living) -> float:
    """How many sweeps there were."""
    (line,) = (line for line in daemon.measures.text().decode().splitlines() if "sweep_seconds_count" in line)
    return float(line.split()[-1])
