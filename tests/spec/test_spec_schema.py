"""The published schemas: they judge a file as the models do, and they are not stale."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from reconciler.spec.authoring_fleet import DOCUMENTS
from reconciler.spec.documents import read_documents
from reconciler.spec.meanings import MEANINGS
from reconciler.spec.schema import BASE, files, main, schemas, shape, stale
from tests.searching import at_most
from tests.spec.test_spec_mistakes import MISTAKES
from tests.spec.writing import API, agent, blob

ROOT = Path(__file__).parents[2]
KINDS = {"Fleet": "fleet.json", "AgentTemplate": "agenttemplate.json", "Agent": "agent.json"}
VALIDATORS = {kind: Draft202012Validator(schemas()[name]) for kind, name in KINDS.items()}

FULL_AGENT = """
extends: [base]
description: Sorts incoming tickets
image: ghcr.io/acme/triage:1.4.2
command: [python, -m, acme.triage]
args: ["", --verbose]
env: [{name: A, value: b}, {name: B, secret: {name: s.example.com, key: k.e_y-1}}]
autoscaling:
  min: 2
  max: 10
  metrics:
    - {cpu: 70%}
    - {cpu: {utilization: 70%}}
    - {memory: {average: 500Mi}}
    - {pods: {name: queue_depth, average: "30"}}
    - {object: {name: hits, object: {apiVersion: v1, kind: Service, name: s}, value: "3"}}
    - {external: {name: lag, selector: {queue: q}, average: 2k}}
  behavior:
    scaleUp: {stabilization: 30s, selectPolicy: Max, policies: [{pods: 4, period: 60s}, {percent: 100, period: 15s}]}
    scaleDown: {stabilization: 5m, selectPolicy: Disabled}
resources: {requests: {cpu: 100m, memory: 128Mi, nvidia.com/gpu: "1"}, limits: {memory: .5Gi, nvidia.com/gpu: "1"}}
modelConfig: {provider: anthropic, model: m, baseUrl: https://x.example, parameters: {t: 0.5, n: [1, null]}}
systemMessage: You sort tickets.
tools: [{mcpServer: {name: t, toolNames: [a], url: http://t}, requireApproval: [a]}, {agent: {name: ns/other}}]
skills: [{id: triage, name: Triage, description: Sorts a ticket, tags: [support], examples: [x]}]
config: {any: {thing: [1, 2.5, true, null, {x: y}]}}
ports: [{name: http, port: 8080}, {name: dns, port: 53, protocol: UDP, servicePort: 5353}]
probes:
  startup: {exec: {command: [true-ish]}, failureThreshold: 30}
  readiness: {http: {path: /healthz, port: http, scheme: HTTPS}, period: 5s, timeout: 1s, initialDelay: 0s}
  liveness: {grpc: {port: 8080, service: s}, successThreshold: 1}
health:
  interval: 30s
  failureThreshold: 2
  successThreshold: 2
  checks:
    - {name: a, connectivity: {http: {path: /, port: http}, timeout: 2s}}
    - {name: b, connectivity: {tcp: {port: 8080}}}
    - {name: c, connectivity: {grpc: {port: http}}}
    - {name: d, performance: {http: {path: /, port: http}, p50: 10ms, p95: 1s, p99: 2s, errorRate: 5%}}
    - {name: e, resources: {cpu: 90%, memory: 90%}, critical: false}
    - {name: f, a2aCard: {}}
    - {name: g, lifecycle: {}}
    - {name: h, dependencies: {}}
    - {name: i, plugin: {name: p, config: {x: 1}}}
recovery:
  ladder: [reprobe, restart, reschedule, rollback, quarantine]
  backoff: {initial: 1s, factor: 1.5, max: 1h}
  attempts: 0
rollout: {maxSurge: 25%, maxUnavailable: 0, timeout: 2m, settle: 2s, terminationGrace: 30s, onFailure: stop}
disruption: {minAvailable: 50%}
placement:
  clusters: {names: [a], matchLabels: {region: eu}, matchExpressions: [{key: tier, operator: In, values: [a, b]}]}
  policy: weighted
  weights: {eu-1: 3}
  failoverAfter: 90s
dependsOn: [support/knowledge, other]
wave: 3
alerts:
  - {name: a, match: {severity: info, namespace: x, labels: {a: b}}, slack: {urlEnv: U}}
  - {name: b, pagerduty: {routingKeyEnv: K}}
  - {name: c, alertmanager: {urlEnv: U}}
  - {name: d, email: {to: [a@b.example]}}
  - name: e
    match: {name: AgentUnhealthy}
    apprise: {urlEnv: U}
    group: {by: [name, labels.app.kubernetes.io/part-of], wait: 0s, interval: 5m}
    repeat: 12h
    resolved: false
    message: {title: "$$ ${severity}: $name", text: "over: $alerts"}
suspend: false
protect: true
adopt: true
deployment: {selector: {app: triage}, container: main, serviceAccount: robots.v1, runAsUser: 1000, asFound: true}
"""
FULL_FLEET = (
    API
    + """kind: Fleet
metadata: {name: acme, labels: {a: b}}
spec:
  clusters: [{name: e, kubernetes: {context: c, kubeconfig: k}, weight: 2}, {name: l, embedded: {run: nothing}}]
  registry: {arango: {url: https://r.example, database: d, usernameEnv: U, passwordEnv: P}}
  quotas: [{namespace: research, agents: 50, replicas: 200, cpu: "20", memory: 80Gi}]
  deletions: {max: 3, percent: 10}
  alerts: [{name: on-call, match: {severity: critical}, webhook: {urlEnv: U}}]
"""
)


def value_of(text: str) -> dict[str, Any]:
    documents, found = read_documents("f.yaml", blob(text))
    assert found == ()
    return dict(documents[0].value)


GOOD = {
    "all of an agent": value_of(agent(FULL_AGENT)),
    "all of a template": {**value_of(agent(FULL_AGENT)), "kind": "AgentTemplate"},
    "all of a fleet": value_of(FULL_FLEET),
    "a bare fleet": value_of(API + "kind: Fleet\nmetadata: {name: acme}\n"),
    "an agent of templates": value_of(agent("{extends: [base]}")),
    "half an agent": value_of(
        agent("{autoscaling: {min: 1}, skills: [{id: a}], env: [{name: A}], modelConfig: {model: m}}")
    ),
    "nulls": value_of(
        agent("{image: null, probes: {readiness: null}, env: null, resources: {limits: {memory: null}}}")
    ),
    "an empty template": value_of(API + "kind: AgentTemplate\nmetadata: {name: a}\n"),
}
BAD = {
    "no name": value_of(API + "kind: Agent\nmetadata: {}\nspec: {}\n"),
    "no spec": value_of(API + "kind: Agent\nmetadata: {name: a}\n"),
    "another kind": value_of(API + "kind: Agents\nmetadata: {name: a}\nspec: {}\n"),
    "another version": {**GOOD["an agent of templates"], "apiVersion": "v1"},
    "a stray key": {**GOOD["an agent of templates"], "status": {}},
    "a fleet's cluster without a kind": value_of(FULL_FLEET.replace("embedded: {run: nothing}", "weight: 1")),
    "a fleet's cluster of two kinds": value_of(
        FULL_FLEET.replace("embedded: {run: nothing}", "embedded: {}, kubernetes: {}")
    ),
    "a name in capitals": value_of(agent("{}", name="One")),
    "two targets": value_of(agent("{probes: {readiness: {http: {path: /, port: 1}, tcp: {port: 1}}}}")),
    "an upper-case severity": value_of(agent("{alerts: [{name: a, match: {severity: Info}, slack: {urlEnv: U}}]}")),
}
# What no single file can be judged by is left to the whole fleet.
SHAPE_CODES = {"unknown-field", "wrong-type", "bad-text", "not-one-of", "bad-quantity", "bad-percentage", "one-of-many"}


def accepts(document: dict[str, Any]) -> bool:
    validator = VALIDATORS.get(str(document.get("kind")), VALIDATORS["Agent"])
    return bool(validator.is_valid(document))


@pytest.mark.parametrize("document", GOOD.values(), ids=GOOD.keys())
def test_good_files_are_accepted_by_schema_and_models(document: dict[str, Any]) -> None:
    assert shape(document) == []
    assert accepts(document), list(VALIDATORS[document["kind"]].iter_errors(document))[:2]


@pytest.mark.parametrize("document", BAD.values(), ids=BAD.keys())
def test_bad_files_are_refused_by_schema_and_models(document: dict[str, Any]) -> None:
    assert shape(document) != []
    assert not accepts(document)


@pytest.mark.parametrize("spec", [spec for spec, code, *_ in MISTAKES if code in SHAPE_CODES and "1.0" not in spec])
def test_every_mistake_of_shape_is_seen_by_the_schema_too(spec: str) -> None:
    document = value_of(agent(spec))
    assert bool(shape(document)) == (not accepts(document))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


ODD = st.sampled_from(
    [
        *(None, True, 0, 1, -1, 2, 0.5, 70000, 10**6, [], [None], ["x"], ["x", 1]),
        *({}, {"x": 1}, {"x": None}, {"name": "x"}, {"": "x"}, {"": None}, {"a b": "x"}, {"a" * 300: "x"}),
        *("", "x", "X y", "1", "10Qi", "500m", "30s", "70%", "101%", "0%", "a/b", "http://x", "/p", "-", "é"),
        *("a" * 64, "a" * 300),
    ]
)
CASES = [(name, place) for name, document in GOOD.items() for place in places(document) if place]


@settings(max_examples=at_most(400), deadline=None)
@given(st.sampled_from(CASES), ODD, st.sampled_from(["replace", "remove", "add"]))
def test_schema_and_models_never_disagree(case: tuple[str, tuple[Any, ...]], odd: Any, how: str) -> None:
    name, place = case
    document = copy.deepcopy(GOOD[name])
    into: Any = document
    for part in place[:-1]:
        into = into[part]
    if how == "remove":
        del into[place[-1]]
    elif how == "add" and isinstance(into[place[-1]], dict):
        into[place[-1]]["extra"] = odd
    elif how == "add" and isinstance(into[place[-1]], list):
        into[place[-1]].append(odd)
    else:
        into[place[-1]] = odd
    found = shape(document)
    assert accepts(document) == (not found), (place, odd, how, [problem.message for problem in found])


def test_each_schema_is_one_and_says_which() -> None:
    for name, schema in schemas().items():
        Draft202012Validator.check_schema(schema)
        assert schema["$id"] == f"{BASE}/{name}"
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schemas_in_the_repository_are_not_stale() -> None:
    assert stale(ROOT / "schemas") == []


def test_the_program_writes_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path)
    assert main(["--check", folder]) == 1
    assert "agent.json is stale" in capsys.readouterr().err
    assert main(["--write", folder]) == 0
    assert main(["--check", folder]) == 0
    assert {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()} == files()
    (tmp_path / "old.json").write_text("{}")
    assert stale(tmp_path) == ["old.json"]
    assert main(["--help"]) == 1
    assert "usage" in capsys.readouterr().err


def test_the_schemas_are_json() -> None:
    for text in files().values():
        assert json.loads(text)["$id"].startswith(BASE)


def _mappings() -> dict[str, set[str]]:
    """The fields of each mapping of the schemas, by the authoring model's name."""
    found: dict[str, set[str]] = {}
    for kind, name in KINDS.items():
        schema = schemas()[name]
        for model, mapping in {**schema["$defs"], DOCUMENTS[kind].__name__: schema}.items():
            found[model] = set(mapping.get("properties", {}))
    return found


def test_every_field_says_what_it_means() -> None:
    silent = [
        f"{name} {model}.{field}"
        for name, schema in schemas().items()
        for model, mapping in {**schema["$defs"], name: schema}.items()
        for field, value in mapping.get("properties", {}).items()
        if not value.get("description", "").endswith(".")
    ]
    assert silent == []


def test_no_meaning_is_of_a_field_that_is_gone() -> None:
    fields = {model: names for model, names in _mappings().items() if names}
    assert {model: set(told) for model, told in MEANINGS.items()} == fields
