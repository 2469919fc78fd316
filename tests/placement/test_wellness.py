"""What a look says of a cluster, and what follows for what is on record."""

from __future__ import annotations

import pytest

from reconciler.model.objects import Absent, Capacity, ClusterIdentity, Found, LiveSet, Unreadable
from reconciler.model.registry import ClusterHealth, ClusterState
from reconciler.placement.wellness import NO_NODE, Sight, changed, is_red, judge, since
from tests.placement.builders import capacity, node

WHO = Found(ClusterIdentity(uid="u", version="v1"))
SEEN = Found(LiveSet(objects={}))
DOWN = Unreadable(reason="no answer")
SHUT = Unreadable(reason="wrong password", refused=True)
WELL = Sight(identity=WHO, live=SEEN, capacity=capacity())
AWAY = Sight(identity=DOWN, live=DOWN, capacity=DOWN)
RED = Sight(identity=WHO, live=SEEN, capacity=Found(Capacity(nodes=(), resting=0)))


def unwell(version: int = 1, since_ms: int = 5, reason: str = "no answer") -> ClusterHealth:
    return ClusterHealth(cluster="eu", version=version, state=ClusterState.UNWELL, since_ms=since_ms, reason=reason)


def well(version: int = 2, since_ms: int = 5) -> ClusterHealth:
    return ClusterHealth(cluster="eu", version=version, state=ClusterState.WELL, since_ms=since_ms)


@pytest.mark.parametrize(
    ("before", "sight", "after"),
    [
        pytest.param(None, WELL, None, id="well and never else: nothing to write"),
        pytest.param(None, AWAY, unwell(1, 9), id="away"),
        pytest.param(unwell(), AWAY, unwell(), id="away still: since when it was"),
        pytest.param(unwell(), WELL, well(2, 9), id="back"),
        pytest.param(well(), WELL, well(), id="well still: since when it was"),
        pytest.param(well(), AWAY, unwell(3, 9), id="away again"),
        pytest.param(None, RED, unwell(1, 9, NO_NODE), id="no node is ready"),
        pytest.param(unwell(1, 5, NO_NODE), AWAY, unwell(1, 5, NO_NODE), id="unwell in another way is unwell"),
        pytest.param(well(), Sight(identity=WHO, live=DOWN, capacity=DOWN), well(), id="it says who it is and no more"),
        pytest.param(None, Sight(identity=SHUT, live=SHUT, capacity=SHUT), None, id="it does not let us in"),
        pytest.param(unwell(), Sight(identity=SHUT, live=SHUT, capacity=SHUT), unwell(), id="nor after it was away"),
        pytest.param(
            unwell(), Sight(identity=WHO, live=SEEN, capacity=DOWN), well(2, 9), id="only its room is unknown"
        ),
        pytest.param(None, Sight(identity=WHO, live=SEEN, capacity=Absent()), None, id="it counts no room"),
    ],
)
def test_a_state_is_written_when_it_changes(
    before: ClusterHealth | None, sight: Sight, after: ClusterHealth | None
) -> None:
    known = {"eu": before} if before else {}
    found = judge(known, {"eu": sight}, now_ms=9)
    assert found == ({"eu": after} if after else {})
    assert changed(known, found) == ((after,) if after and after != before else ())


def test_another_cluster_says_nothing_of_the_one_that_was_there() -> None:
    assert judge({}, {"eu": AWAY}, strangers={"eu"}, now_ms=9) == {}
    assert judge({"eu": unwell()}, {"eu": WELL}, strangers={"eu"}, now_ms=9) == {"eu": unwell()}


def test_what_was_not_looked_at_stays_as_it_was() -> None:
    assert judge({"eu": unwell()}, {"us": WELL}, now_ms=9) == {"eu": unwell()}


def test_a_cluster_is_red_only_when_it_says_that_nothing_is_ready() -> None:
    assert is_red(Capacity(nodes=(), resting=0))
    assert not is_red(Capacity(nodes=(), resting=2)), "cordoned nodes run what they have"
    assert not is_red(Capacity(nodes=())), "nobody counted those that rest"
    assert not is_red(Capacity(nodes=(node(),), resting=0))


def test_clusters_by_state_and_since_when() -> None:
    both = {"eu": unwell(), "us": well(since_ms=7)}
    assert since(both, ClusterState.UNWELL) == {"eu": 5}
    assert since(both, ClusterState.WELL) == {"us": 7}
