"""Alert rules and the dashboard that deploy/ ships ask for what daemons measure, by labels and values of theirs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.adapters.cache import Outcome as Kept
from reconciler.daemon.http.server import routes
from reconciler.daemon.measures import Measures
from reconciler.model.events import Outcome
from reconciler.model.health import HealthState
from reconciler.model.plan import Action, HoldCode
from tests.deploy.promql import asked, tokens
from tests.deploy.shipped import BASE, CHART, DEPLOY, kustomized, only
from tests.deploy.test_daemon import GIVEN
from tests.helm.helm import Helm

COMPONENT = DEPLOY / "kustomize" / "components" / "monitoring"
RULES = CHART / "files" / "alerts.yaml"
DASHBOARD = CHART / "files" / "dashboard.json"
OF_TARGETS = {"namespace", "pod", "job", "instance", "service", "container", "endpoint"}
"""Labels that scraping adds."""
VALUES: Mapping[tuple[str, str], type[StrEnum]] = {
    ("reconciler_held", "code"): HoldCode,
    ("reconciler_planned_changes", "action"): Action,
    ("reconciler_change_seconds", "outcome"): Outcome,
    ("reconciler_agents_by_health", "state"): HealthState,
    ("reconciler_registry_cache", "outcome"): Kept,
}
TRIED = DEPLOY / "monitoring" / "alerts_test.yaml"


def measured() -> dict[str, set[str]]:
    """All series that a daemon may have, by name, with the labels of each."""
    found: dict[str, set[str]] = {}
    for collector in Measures().registry._collector_to_names:
        (metric,) = collector.describe() if hasattr(collector, "describe") else collector.collect()
        labels = set(collector._labelnames)  # type: ignore[attr-defined]
        match metric.type:
            case "counter":
                found[f"{metric.name}_total"] = labels
            case "histogram":
                found |= {f"{metric.name}_{part}": labels for part in ("sum", "count")}
                found[f"{metric.name}_bucket"] = labels | {"le"}
            case _:
                found[metric.name] = labels
    return found


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return list(json.loads(DASHBOARD.read_text())["panels"])


def queries() -> Iterator[Any]:
    for rule in rules():
        yield pytest.param(rule["expr"], id=rule["alert"])
    for panel in panels():
        for target in panel["targets"]:
            yield pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")


@pytest.mark.parametrize("query", list(queries()))
def test_a_query_asks_for_what_daemons_measure(query: str) -> None:
    known, found = measured(), asked(query)
    assert found.metrics
    for metric in found.metrics:
        assert metric in known
    for metric, label, operator, value in found.matchers:
        assert label in known[metric] | OF_TARGETS
        kind = VALUES.get((re.sub(r"_(total|count|sum|bucket)$", "", metric), label))
        if kind is not None and operator in {"=", "=~"}:
            assert set(value.split("|")) <= {one.value for one in kind}
    labels = set().union(*(known[metric] for metric in found.metrics)) | OF_TARGETS
    assert set(found.grouped) <= labels


def test_the_dashboard_shows_all_that_daemons_measure() -> None:
    shown = {metric for panel in panels() for target in panel["targets"] for metric in asked(target["expr"]).metrics}
    names = {re.sub(r"_(sum|count|bucket)$", "", metric) for metric in measured()}
    assert names == {re.sub(r"_(sum|count|bucket)$", "", metric) for metric in shown}


def test_what_is_no_query_is_found_out() -> None:
    for query in ("sum(reconciler_leader", "reconciler_leader{a}", "reconciler_leader # x", 'x{a="b}'):
        with pytest.raises(ValueError, match=r"\w"):
            asked(query)
    found = asked('sum by (le, code) (rate(a_total{b="c,d",e!~"f"}[5m])) / on (g) h > 0.1')
    assert (found.metrics, found.grouped) == (["a_total", "h"], ["le", "code", "g"])
    assert found.matchers == [("a_total", "b", "=", "c,d"), ("a_total", "e", "!~", "f")]


def test_rules_say_how_bad_it_is_what_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert {"summary", "description"} <= set(rule["annotations"])
        grouped = set(asked(rule["expr"]).grouped)
        told = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert told <= grouped, "only what the query keeps can be told"


def test_rules_look_at_each_namespace_by_itself() -> None:
    """A fleet that is well must not hide another one that is not."""
    for rule in rules():
        parts = list(tokens(rule["expr"]))
        for at, part in enumerate(parts):
            if part in {"sum", "max", "min", "count", "avg"}:
                assert parts[at + 1 : at + 4] == ["by", "(", "namespace"], rule["alert"]


def test_the_chart_lets_rules_look_at_the_namespace_of_its_release_alone() -> None:
    """As Helm does it: its regular expressions are read by Go, which has these in common with Python."""
    template = (CHART / "templates" / "monitoring.yaml").read_text()
    steps = re.findall(r"regexReplaceAll `([^`]+)` \$rules \(printf `([^`]+)` \.Release\.Namespace\)", template)
    assert len(steps) == 2
    text = RULES.read_text()
    for pattern, made in steps:
        text = re.sub(pattern, re.sub(r"\$\{(\d)\}", r"\\\1", made.replace("%q", '"ops"')), text)
    of_one_namespace(yaml.safe_load(text))


def of_one_namespace(spec: Mapping[str, Any]) -> None:
    """The rules that are shipped, but each of their series is of the namespace `ops`."""
    given = [rule["expr"] for rule in rules()]
    for rule in (rule for group in spec["groups"] for rule in group["rules"]):
        found = asked(rule["expr"])
        mine = [matcher for matcher in found.matchers if matcher[1:] == ("namespace", "=", "ops")]
        assert [metric for metric, *_ in mine] == found.metrics, rule["alert"]
        plain = rule["expr"].replace('{namespace="ops",', "{").replace('{namespace="ops"}', "")
        assert plain == given[0], rule["alert"]
        rule["expr"] = given.pop(0)
    assert spec == yaml.safe_load(RULES.read_text())


def test_a_legend_names_labels_that_the_query_keeps() -> None:
    for panel in panels():
        for target in panel["targets"]:
            told = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert told <= set(asked(target["expr"]).grouped), panel["title"]


def test_panels_lie_beside_each_other_and_have_names_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len({panel["title"] for panel in panels()}) == len(panels())


def test_both_ways_to_install_have_the_same_rules_and_dashboard() -> None:
    rule = yaml.safe_load((COMPONENT / "prometheusrule.yaml").read_text())
    assert rule["spec"] == yaml.safe_load(RULES.read_text())
    assert (COMPONENT / "dashboard.json").read_bytes() == DASHBOARD.read_bytes()


def test_routes_that_are_counted_are_few() -> None:
    """A label's values are bounded by what is served, whatever is asked."""
    from reconciler.daemon.http.changing import Changing
    from reconciler.daemon.http.limits import Limits
    from reconciler.daemon.http.signatures import NO_SECRETS
    from reconciler.daemon.http.webhook import Seen, Webhook

    webhook = Webhook(secrets=lambda: NO_SECRETS, limits=Limits(), seen=Seen(monotonic=lambda: 0.0, most=0))
    names = [route.name for route in routes(webhook, Changing())]
    assert len(names) == len(set(names)) < 40


@pytest.fixture(scope="session")
def promtool() -> Callable[..., subprocess.CompletedProcess[str]]:
    """promtool: what RECONCILER_PROMTOOL names, `make promtool` built, or is on the PATH."""
    named, built = os.environ.get("RECONCILER_PROMTOOL"), DEPLOY.parent / "tests" / "promtool" / "bin" / "promtool"
    program = named or (str(built) if built.exists() else shutil.which("promtool"))
    if program is None:
        missing = "NOT RUN: promtool, which tries alert rules, is not there: type `make promtool`"
        if os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)

    return run


@pytest.mark.promtool
def test_rules_fire_when_they_should_and_not_else(promtool: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    for command in (("check", "rules", str(RULES)), ("test", "rules", str(TRIED))):
        done = promtool(*command)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.promtool
@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["alert"]) for rule in rules()])
def test_a_rule_that_never_fires_is_found_out(
    promtool: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, rule: dict[str, Any]
) -> None:
    """So that each rule is known to be tried."""
    text = RULES.read_text()
    assert text.count(f"expr: {rule['expr']}\n") == 1
    (tmp_path / "alerts.yaml").write_text(text.replace(f"expr: {rule['expr']}\n", "expr: vector(1) > 2\n"))
    tests = re.sub(r"^rule_files:.*$", "rule_files: [alerts.yaml]", TRIED.read_text(), flags=re.MULTILINE)
    (tmp_path / "tests.yaml").write_text(tests)
    done = promtool("test", "rules", str(tmp_path / "tests.yaml"))
    assert done.returncode != 0
    assert rule["alert"] in done.stdout + done.stderr


def test_unit_tests_of_rules_name_rules_and_series_that_there_are() -> None:
    tests = yaml.safe_load(TRIED.read_text())
    known, names = measured(), {rule["alert"]: rule for rule in rules()}
    for test in tests["tests"]:
        for one in test["input_series"]:
            found = asked(one["series"])
            assert set(found.metrics) <= known.keys()
            assert {label for _, label, _, _ in found.matchers} <= known[found.metrics[0]] | OF_TARGETS
        for one in test["alert_rule_test"]:
            rule = names[one["alertname"]]
            for alert in one.get("exp_alerts", ()):
                assert alert["exp_labels"]["severity"] == rule["labels"]["severity"]
                assert alert["exp_annotations"]["description"] == rule["annotations"]["description"]


@pytest.mark.helm
def test_the_chart_adds_what_measures_it_where_that_is_wished(helm: Helm) -> None:
    plain = helm.template(CHART, *GIVEN, namespace="ops")
    assert not {one["kind"] for one in plain} & {"ServiceMonitor", "PrometheusRule", "ConfigMap"}
    wished = [
        part
        for one in ("serviceMonitor", "prometheusRule", "dashboard")
        for part in ("--set", f"monitoring.{one}.enabled=true")
    ]
    objects = helm.template(
        CHART, *GIVEN, *wished, "--set", "monitoring.serviceMonitor.labels.release=prometheus",
        "--set", "daemon.access=/etc/reconciler/access/access",
        "--set", "daemon.trustedProxies=10.244.0.0/16", namespace="ops",
    )  # fmt: skip
    service, monitor = only(objects, "Service"), only(objects, "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    pod = only(objects, "Deployment")["spec"]["template"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    assert service["spec"]["ports"][0]["targetPort"] in [port["name"] for port in container["ports"]]
    assert {"--access=/etc/reconciler/access/access", "--trusted-proxies=10.244.0.0/16"} <= {*container["args"]}
    of_one_namespace(only(objects, "PrometheusRule")["spec"])
    board = only(objects, "ConfigMap")
    assert json.loads(board["data"]["reconciler.json"]) == json.loads(DASHBOARD.read_text())
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"


@pytest.mark.controlplane
def test_the_component_adds_the_same_to_an_overlay(tmp_path_factory: pytest.TempPathFactory) -> None:
    overlay = BASE.parent / "overlays" / "measured-by-a-test"
    overlay.mkdir()
    try:
        (overlay / "kustomization.yaml").write_text(
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: reconciler\n"
            "resources: [../../base]\ncomponents: [../../components/monitoring]\n"
        )
        objects = kustomized(overlay)
    finally:
        shutil.rmtree(overlay)
    assert {one["metadata"]["namespace"] for one in objects if one["kind"] in {"ServiceMonitor", "PrometheusRule"}} == {
        "reconciler"
    }
    assert json.loads(only(objects, "ConfigMap")["data"]["reconciler.json"])["uid"] == "reconciler-fleet"
    service, monitor = only(objects, "Service"), only(objects, "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"].get("labels", {}).items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
