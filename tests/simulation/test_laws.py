"""The laws of the simulation themselves: that they hold what happens rightly for right, and find what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.agent import Remedy
from reconciler.model.identity import ObjectRef
from reconciler.model.recovery import Ended, RecoveryState, Taken
from reconciler.model.registry import Record
from tests.contracts.values import record
from tests.doubles.simulated_links import Told
from tests.simulation.deletions import unjustified
from tests.simulation.fleet import PLACEMENTS, Wanted
from tests.simulation.ladders import MOST_A_DAY, Ladders
from tests.simulation.test_pauses import NAME, PATH, play
from tests.simulation.world import World

NOW = 1_800_000_000_000


def taken(at_ms: int, ended: Ended = Ended.DONE) -> Taken:
    over = 0 if ended is Ended.UNDER_WAY else at_ms + 1_000
    return Taken(remedy=Remedy.RESTART, at_ms=at_ms, because="x", ended=ended, ended_ms=over)


def state(*remedies: Taken, **more: Any) -> RecoveryState:
    facts: dict[str, Any] = {"spec_hash": "one", "since_ms": NOW - 90_000, "step": len(remedies), "taken": remedies}
    return RecoveryState(**facts | more)


def heard(*states: RecoveryState, now_ms: int = NOW) -> str:
    """What the law says of the last of several writes of one record, all others being right."""
    ladders, found = Ladders(), ""
    for version, each in enumerate(states, 1):
        assert found == ""
        found = ladders.heard(written(each, version), now_ms)
    return found


def written(each: RecoveryState, version: int) -> Record:
    return replace(record(), version=version, spec_hash="one", recovery=each)


BEGUN = state(taken(NOW, Ended.UNDER_WAY))
ENDED = state(taken(NOW), due_ms=NOW + 1_000 + 10_000)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        (ENDED, replace(ENDED, due_ms=NOW + 1_000 + 10_001), "a pause of 10001 ms after remedy 1, whose cap is 10000"),
        (ENDED, replace(ENDED, due_ms=NOW), "a pause of -1000 ms"),
    ],
)
def test_a_pause_is_held_against_its_cap(right: RecoveryState, wrong: RecoveryState, said: str) -> None:
    assert heard(state(), BEGUN, right) == ""
    assert said in heard(state(), BEGUN, wrong)


def test_the_cap_grows_to_two_minutes_and_no_further() -> None:
    begun, last = replace(BEGUN, step=5), replace(ENDED, step=5, due_ms=NOW + 1_000 + 120_000)
    assert heard(begun, last) == ""
    assert "whose cap is 120000" in heard(begun, replace(last, due_ms=NOW + 1_000 + 120_001))


def test_a_remedy_before_its_time_or_beyond_the_ladder_is_found() -> None:
    early, right = taken(NOW + 5_000, Ended.UNDER_WAY), taken(NOW + 11_000, Ended.UNDER_WAY)
    assert heard(BEGUN, ENDED, state(taken(NOW), right)) == ""
    assert "6000 ms before its pause was over" in heard(BEGUN, ENDED, state(taken(NOW), early))
    assert "remedy 6 of 5" in heard(BEGUN, ENDED, state(taken(NOW), right, step=6))
    assert "left to people" in heard(BEGUN, replace(ENDED, left=True), state(taken(NOW), right))


def test_more_remedies_than_a_day_has_are_found() -> None:
    before = [taken(NOW - 3_600_000 * each) for each in range(MOST_A_DAY, 0, -1)]
    fresh = taken(NOW, Ended.UNDER_WAY)
    assert "11 remedies within a day" in heard(state(*before, step=0), state(*before, fresh, step=1))
    assert heard(state(*before[1:], step=0), state(*before[1:], fresh, step=1)) == ""


def test_what_was_counted_is_forgotten_after_two_caps_and_not_before() -> None:
    well = replace(ENDED, well_ms=NOW - 240_000)
    forgotten = RecoveryState(spec_hash="one", taken=ENDED.taken)
    assert heard(well, forgotten) == ""
    assert "well for 239999 ms of 240000" in heard(replace(well, well_ms=NOW - 239_999), forgotten)
    assert "well for 0 ms" in heard(ENDED, forgotten)


def test_a_delete_is_held_against_what_git_said_of_late(tmp_path: Path) -> None:
    def told(world: World, kind: str = "Deployment", group: str = "apps") -> str:
        ref = ObjectRef(group=group, kind=kind, namespace=NAME.namespace, name=NAME.name)
        return unjustified(world, Told(at=world.now, by="daemon 1", verb="delete", cluster="eu-1", ref=ref))

    async def story(world: World) -> None:
        assert "every recent commit declares there" in told(world)
        assert "every recent commit declares there" in told(world, "ServiceAccount", "")
        world.fleet.change(PATH, broken=True)
        world.commit()
        assert told(world) != ""
        world.fleet.agents = {}
        world.commit()
        assert told(world) != "", "an empty fleet is a mistake"
        world.fleet.agents = {PATH: Wanted(name=NAME, placement=PLACEMENTS[1])}
        world.commit()
        assert told(world) == ""

    play(tmp_path, story)


def test_a_pod_is_deleted_by_a_remedy_in_the_journal_alone(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        (pod,) = world.clusters["eu-1"].nodes.pods()
        said = unjustified(world, Told(at=world.now, by="daemon 1", verb="delete", cluster="eu-1", ref=pod))
        assert "no restart of its agent in the journal" in said

    play(tmp_path, story)
