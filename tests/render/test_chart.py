"""What holds of charts without Helm: their files, values that survive being read, a schema that knows mistakes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from reconciler.model.agent import Agent
from reconciler.placement.shares import Share
from reconciler.render.chart import chart
from tests.placement.builders import agent
from tests.render.charts import any_agents, files, texts
from tests.render.test_render import CASES

GOLDEN = Path(__file__).parent / "golden"
FULL = CASES["full"][0]
SHAPE: dict[str, Any] = json.loads(files(FULL)["values.schema.json"])
SCHEMA = Draft7Validator(SHAPE)


def values(declared: Agent, replicas: int = 1) -> Any:
    return yaml.load(files(declared, replicas)["values.yaml"], Loader=yaml.CSafeLoader)


@pytest.mark.parametrize("case", sorted(CASES))
def test_charts_are_the_golden_ones(case: str) -> None:
    """Set UPDATE_GOLDEN=1 to write them anew, and read the difference."""
    declared, where = CASES[case]
    share = Share(replicas=next(iter(where.values())), counts=tuple(where.values()))
    made = chart(declared, share=share, fleet="acme", clusters=tuple(where))
    for name in ("Chart.yaml", "values.yaml"):
        golden = GOLDEN / "chart" / case / name
        if os.environ.get("UPDATE_GOLDEN"):
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(made[name])
        assert made[name] == golden.read_text()


def test_a_chart_has_what_helm_looks_for() -> None:
    assert list(files(FULL)) == [
        ".helmignore",
        "Chart.yaml",
        "templates/NOTES.txt",
        "templates/_helpers.tpl",
        "templates/configmap.yaml",
        "templates/deployment.yaml",
        "templates/horizontalpodautoscaler.yaml",
        "templates/poddisruptionbudget.yaml",
        "templates/service.yaml",
        "templates/serviceaccount.yaml",
        "templates/serviceexport.yaml",
        "values.schema.json",
        "values.yaml",
    ]
    about = yaml.safe_load(files(FULL)["Chart.yaml"])
    assert about["name"] == "triage"
    assert about["appVersion"] == "1.4.2"
    assert about["annotations"]["agents.codevald.io/agent"] == "support/triage"


@given(any_agents())
def test_no_text_of_an_agent_stands_where_helm_evaluates(declared: Agent) -> None:
    plain = files(agent(str(declared.name)))
    for path, text in files(declared).items():
        if path not in ("Chart.yaml", "values.yaml"):
            assert text == plain[path]


@given(any_agents(), st.integers(0, 3))
def test_values_read_back_are_what_the_agent_says_and_their_schema_takes_them(declared: Agent, replicas: int) -> None:
    read = values(declared, replicas)
    spec = declared.spec
    assert read["description"] == spec.description
    assert read["systemMessage"] == spec.system_message
    assert json.loads(read["config"]) == spec.config
    assert read["args"] == list(spec.args)
    assert read["annotations"] == declared.annotations
    assert read["replicaCount"] == replicas
    assert list(SCHEMA.iter_errors(read)) == []


@given(texts)
def test_a_description_survives_the_chart_file(text: str) -> None:
    declared = agent("support/triage", description=text)
    assert yaml.safe_load(files(declared)["Chart.yaml"])["description"] == (text or "The agent support/triage")


@pytest.mark.parametrize(
    ("image", "repository", "tag", "digest"),
    [
        ("ghcr.io/acme/triage:1.4.2", "ghcr.io/acme/triage", "1.4.2", ""),
        ("localhost:5000/triage", "localhost:5000/triage", "", ""),
        ("r:5000/a/b:1@sha256:00ff", "r:5000/a/b", "1", "sha256:00ff"),
        ("triage", "triage", "", ""),
    ],
)
def test_an_image_is_told_in_parts(image: str, repository: str, tag: str, digest: str) -> None:
    told = values(agent("support/triage", image=image))["image"]
    assert (told["repository"], told["tag"], told["digest"]) == (repository, tag, digest)


def test_a_suspended_agent_keeps_how_it_would_scale() -> None:
    read = values(CASES["suspended"][0], replicas=0)
    assert read["replicaCount"] == 0
    assert read["autoscaling"]["enabled"] is True
    assert (read["autoscaling"]["minReplicas"], read["autoscaling"]["maxReplicas"]) == (1, 3)
    assert read["autoscaling"]["metrics"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicas": 3},
        {"replicaCount": "three"},
        {"replicaCount": -1},
        {"image": "ghcr.io/acme/triage:2"},
        {"image": {"repository": "a", "tag": 1.5}},
        {"autoscaling": {"enabled": "yes"}},
        {"labels": {"a": 1}},
        {"env": [{"value": "nameless"}]},
        {"env": [{"name": "A", "value": 1}]},
        {"ports": [{"name": "http", "port": 99999}]},
        {"config": {"a": 1}},
        {"modelConfig": {"provider": "anthropic"}},
        {"nameOverride": "Not A Name"},
        {"rollingUpdate": {"maxSurge": "a lot"}},
    ],
    ids=json.dumps,
)
def test_the_schema_refuses_mistakes(wrong: dict[str, Any]) -> None:
    assert list(SCHEMA.iter_errors(values(FULL) | wrong))


def test_the_schema_is_one() -> None:
    Draft7Validator.check_schema(SHAPE)
    assert set(SHAPE["properties"]) == {*values(FULL), "global", "enabled"}, "every value is known, and nothing else"
