"""Which alerts another one stands for."""

from __future__ import annotations

from reconciler.alerting.causes import held_back
from reconciler.model.alert import Covers
from tests.alerting.builders import alert


def over(*alerts: object) -> dict[str, str]:
    return {key: root.key for key, root in held_back(alerts).items()}  # type: ignore[arg-type]


def test_a_chain_is_held_back_by_its_first() -> None:
    a, b, c = alert("x/a"), alert("x/b", cause="x/a"), alert("x/c", cause="x/b")
    assert over(c, b, a) == {b.key: a.key, c.key: a.key}


def test_a_cause_without_an_alert_holds_nothing_back() -> None:
    assert over(alert("x/b", cause="x/a")) == {}


def test_of_a_circle_one_is_told() -> None:
    a, b, c = alert("x/a", cause="x/c"), alert("x/b", cause="x/a"), alert("x/c", cause="x/b")
    assert over(a, b, c) == {b.key: a.key, c.key: a.key}


def test_who_blames_itself_is_told() -> None:
    assert over(alert("x/a", cause="x/a")) == {}


def test_other_troubles_of_an_agent_are_told_though_one_comes_from_elsewhere() -> None:
    a, b = alert("x/a"), alert("x/b", cause="x/a")
    failed = alert("x/b", name="ChangeFailed")
    assert over(a, b, failed) == {}


def test_a_cluster_stands_for_who_runs_there_alone() -> None:
    unwell = alert("", name="ClusterUnwell", key="ClusterUnwell eu", cluster="eu", covers=Covers.CLUSTER)
    there, elsewhere, both = alert("x/a", cluster="eu"), alert("x/b", cluster="us"), alert("x/c")
    assert over(unwell, there, elsewhere, both) == {there.key: unwell.key}


def test_what_comes_from_who_is_covered_is_covered_too() -> None:
    unwell = alert("", name="ClusterUnwell", key="ClusterUnwell eu", cluster="eu", covers=Covers.CLUSTER)
    there, dependent = alert("x/a", cluster="eu"), alert("x/b", cause="x/a")
    assert over(unwell, there, dependent) == {there.key: unwell.key, dependent.key: unwell.key}


def test_what_covers_all_agents_stands_for_all_but_the_fleet() -> None:
    suspect = alert("", name="ObserverSuspected", covers=Covers.AGENTS)
    fleet = alert("", name="PassesFailing")
    assert over(suspect, fleet, alert("x/a")) == {alert("x/a").key: suspect.key}
