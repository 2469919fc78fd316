"""A whole revision: what it results in, and that a warm reading is the same as a cold one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.fleet import ArangoRegistry, Declaration, EmbeddedCluster, KubernetesCluster, SqliteRegistry
from reconciler.model.identity import AgentName
from reconciler.model.source import Blob, Revision
from reconciler.spec import SpecCache, errors, origin, read_fleet
from tests.searching import at_most
from tests.spec.writing import API, BASE, FLEET, GOOD, agent, blob, codes, files, read, template

ONE = AgentName(namespace="demo", name="one")
PATH = "agents/demo/one.yaml"

NAMES = ("a", "b", "c")
FOLDERS = ("x", "y")


def _specs() -> st.SearchStrategy[str]:
    extends = st.lists(st.sampled_from([*NAMES, "base", "nobody"]), max_size=2).map(
        lambda names: f"extends: [{', '.join(names)}]"
    )
    depends = st.lists(st.sampled_from(["x/a", "x/b", "y/a", "c", "z/none"]), max_size=2).map(
        lambda names: f"dependsOn: [{', '.join(names)}]"
    )
    where = st.sampled_from(["eu", "us", "mars"]).map(lambda name: f"placement: {{clusters: {{names: [{name}]}}}}")
    other = st.sampled_from(
        [
            "image: x",
            "image: y",
            "image: null",
            "replicas: 2",
            "replicas: x",
            "autoscaling: {max: 2}",
            "env: [{name: TOKEN, value: a}]",
        ]
    )
    return st.lists(extends | depends | where | other, max_size=4, unique_by=lambda line: line.partition(":")[0]).map(
        lambda lines: "{" + ", ".join(lines) + "}"
    )


AGENTS = st.builds(
    agent,
    _specs(),
    name=st.sampled_from(NAMES),
    metadata=st.sampled_from(["", "", ", namespace: x", ", labels: {a: b}"]),
)
TEMPLATES = st.builds(template, st.sampled_from([*NAMES, "base"]), _specs())
FLEETS = st.sampled_from(
    [
        FLEET,
        FLEET + "spec: {clusters: [{name: eu, embedded: {}}, {name: us, embedded: {}}]}\n",
        FLEET + "spec: {clusters: [{name: eu, embedded: {}}]}\n",
        FLEET + "spec: {unknown: 1}\n",
        "a: [",
        "",
    ]
)
BROKEN = st.sampled_from(["", "a: [", "a: 1", "kind: Agent", "\0"])
PATHS = [
    *(f"agents/{folder}/{name}.yaml" for folder in FOLDERS for name in NAMES),
    *(f"templates/{name}.yaml" for name in NAMES),
]
FILES = st.dictionaries(
    st.sampled_from([*PATHS, "notes.md"]),
    st.one_of(AGENTS, TEMPLATES, BROKEN, st.builds(lambda one, two: one + "---\n" + two, AGENTS, TEMPLATES)),
    max_size=6,
)
STEPS = st.lists(st.tuples(FLEETS, FILES), min_size=2, max_size=4)


def _without_history(declaration: Declaration) -> object:
    """All but in which commit a blob was read first."""

    def agents() -> list[object]:
        for name, one in declaration.agents.items():
            yield_ = dataclasses.replace(one, layers=())
            layers = [(layer.name, layer.document.path, layer.document.value) for layer in one.layers]
            kept.append((name, yield_, layers))
        return kept

    kept: list[object] = []
    return (
        declaration.revision,
        declaration.fleet,
        agents(),
        list(declaration.frozen_agents.items()),
        list(declaration.frozen_paths.items()),
        list(declaration.templates.items()),
        declaration.diagnostics,
        declaration.files,
    )


@settings(max_examples=at_most(150), deadline=None)
@given(STEPS)
def test_a_warm_reading_is_the_same_as_a_cold_one(steps: list[tuple[str, Mapping[str, str]]]) -> None:
    cache = SpecCache()
    for number, (fleet, texts) in enumerate(steps):
        blobs = {path: blob(text) for path, text in {"fleet.yaml": fleet, "templates/base.yaml": BASE, **texts}.items()}
        if not fleet:
            del blobs["fleet.yaml"]
        revision = Revision(commit=f"{number:040d}")
        warm = read_fleet(revision, blobs, cache=cache)
        cold = read_fleet(revision, dict(sorted(blobs.items(), reverse=True)))
        assert _without_history(warm) == _without_history(cold)


def test_what_did_not_change_is_the_very_same_value() -> None:
    cache = SpecCache()
    first = read({PATH: agent("{image: x, dependsOn: [good]}")}, cache=cache)
    second = read({PATH: agent("{image: y, dependsOn: [good]}")}, cache=cache)
    good = AgentName(namespace="demo", name="good")
    assert second.agents[good] is first.agents[good]
    assert second.agents[ONE].spec.image == "y"
    assert first.agents[ONE].spec.image == "x", "an earlier reading stays as it was"
    assert second.agents[ONE].spec.ports is not None


def test_an_equal_revision_costs_nothing_and_says_which_one_it_is() -> None:
    cache = SpecCache()
    first = read(cache=cache)
    second = read_fleet(Revision(commit="d" * 40), files(), cache=cache)
    assert second.revision.commit == "d" * 40
    assert second.agents is first.agents


def test_positions_keep_the_commit_in_which_a_file_was_first_read() -> None:
    cache = SpecCache()
    read_fleet(Revision(commit="1" * 40), files({PATH: agent("{extends: [base]}")}), cache=cache)
    again = read_fleet(Revision(commit="2" * 40), files({PATH: agent("{extends: [base], wave: 1}")}), cache=cache)
    one = again.agents[ONE]
    image, wave = origin(one, ("image",)), origin(one, ("wave",))
    assert image is not None
    assert wave is not None
    assert (image.revision[0], wave.revision[0]) == ("1", "2")


def test_a_step_that_fails_leaves_a_cold_cache() -> None:
    class Sick(dict[str, Blob]):
        def __getitem__(self, path: str) -> Blob:
            raise OSError(path)

    cache = SpecCache()
    read(cache=cache)
    changed = Sick(files({PATH: agent("{image: x}")}))
    try:
        read_fleet(Revision(commit="e" * 40), changed, cache=cache)
    except OSError:
        pass
    else:
        raise AssertionError("the failure must be seen")
    assert ONE in read({PATH: agent("{image: x}")}, cache=cache).agents


def test_provenance_names_file_line_layer_and_commit() -> None:
    declaration = read(
        {PATH: agent("extends: [base]\nresources:\n  limits: {memory: 512Mi}\nenv: [{name: A, value: b}]")}
    )
    one = declaration.agents[ONE]
    cases = {
        ("resources", "limits", "memory"): ("agent", f"{PATH}:7:14"),
        ("resources", "requests", "cpu"): ("template base", "templates/base.yaml:7:26"),
        ("ports", "[http]", "port"): ("template base", "templates/base.yaml:6:24"),
        ("ports", "[http]", "protocol"): ("template base", "templates/base.yaml:6:11"),
        ("env", "[A]", "value"): ("agent", f"{PATH}:8:19"),
        ("rollout", "timeout"): ("default", "None"),
    }
    for path, (layer, place) in cases.items():
        found = origin(one, path)
        assert found is not None
        assert (found.layer, str(found.position)) == (layer, place), path
    assert origin(one, ()) is None


def test_defaults_are_filled_in() -> None:
    one = read({PATH: agent("{image: x}")}).agents[ONE]
    spec = one.spec
    assert (spec.replicas, spec.wave, spec.suspend, spec.protect, spec.adopt, spec.autoscaling) == (
        1,
        0,
        False,
        False,
        False,
        None,
    )
    rollout = spec.rollout
    assert (rollout.max_surge, rollout.max_unavailable, rollout.on_failure) == (1, 0, "rollback")
    assert [str(d) for d in (rollout.timeout, rollout.settle, rollout.termination_grace)] == ["2m", "2s", "30s"]
    assert (spec.placement.policy, spec.placement.clusters.everything) == ("spread", True)
    assert one.document["replicas"] == 1
    assert one.document["rollout"]["onFailure"] == "rollback"
    assert "autoscaling" not in one.document
    assert "extends" not in one.document
    assert list(one.document) == [
        key for key in read().agents[AgentName(namespace="demo", name="good")].document if key in one.document
    ]


def test_the_hash_follows_the_resolved_spec_and_labels_and_nothing_else() -> None:
    def hashed(text: str, base: str = BASE) -> str:
        return read({PATH: text, "templates/base.yaml": base}).agents[ONE].spec_hash

    plain = hashed(agent("{extends: [base]}"))
    assert plain == hashed(agent("# said otherwise\nextends:\n- base\nreplicas: 1"))
    assert plain == hashed(
        agent(
            "{image: 'ghcr.io/acme/agent:1', ports: [{port: 8080, name: http}],"
            " resources: {limits: {memory: 256Mi}, requests: {memory: 128Mi, cpu: 100m}}}"
        )
    )
    assert plain != hashed(agent("{extends: [base], replicas: 2}"))
    assert plain != hashed(agent("{extends: [base]}", metadata=", labels: {a: b}"))
    assert plain != hashed(agent("{extends: [base]}"), BASE.replace("256Mi", "512Mi"))


def test_a_fleet_without_clusters_is_one_embedded_cluster_and_sqlite() -> None:
    fleet = read().fleet
    assert fleet is not None
    assert [(cluster.name, cluster.backend) for cluster in fleet.clusters] == [
        ("local", EmbeddedCluster(run="processes"))
    ]
    assert fleet.registry == SqliteRegistry()
    assert (fleet.deletions.max, fleet.deletions.percent) == (3, 10)


def test_all_that_a_fleet_may_say() -> None:
    text = (
        API
        + """kind: Fleet
metadata: {name: acme}
spec:
  clusters:
    - {name: eu-1, kubernetes: {context: eu-1}, labels: {region: eu}, weight: 2}
    - {name: us-1, kubernetes: {inCluster: true}}
    - {name: here, embedded: {run: nothing}}
  registry: {arango: {url: https://registry.example:8529, database: agents, usernameEnv: U, passwordEnv: P}}
  quotas: [{namespace: research, agents: 50, replicas: 200, cpu: "20", memory: 80Gi}]
  deletions: {max: 5, percent: 20}
  alerts: [{name: on-call, match: {severity: critical, labels: {team: a}}, webhook: {urlEnv: ONCALL_URL}}]
"""
    )
    fleet = read({"fleet.yaml": text}).fleet
    assert fleet is not None
    assert fleet.clusters[0].backend == KubernetesCluster(context="eu-1")
    assert fleet.clusters[1].backend == KubernetesCluster(in_cluster=True)
    assert (fleet.clusters[0].weight, fleet.clusters[0].labels) == (2, {"region": "eu"})
    assert isinstance(fleet.registry, ArangoRegistry)
    assert (fleet.registry.username_env, fleet.registry.password_env) == ("U", "P")
    assert str(fleet.quotas[0].memory) == "80Gi"
    assert fleet.alerts[0].match == {"severity": "critical", "labels.team": "a"}
    assert (fleet.alerts[0].receiver, fleet.alerts[0].settings) == ("webhook", {"urlEnv": "ONCALL_URL"})


def test_sqlite_may_be_said() -> None:
    fleet = read({"fleet.yaml": FLEET + "spec: {registry: {sqlite: {path: mine.db}}}\n"}).fleet
    assert fleet is not None
    assert fleet.registry == SqliteRegistry(path="mine.db")


def test_errors_are_told_apart_from_warnings() -> None:
    declaration = read(
        {PATH: agent("{image: x, env: [{name: TOKEN, value: a}]}"), "agents/demo/bad.yaml": GOOD + "---\n- x"}
    )
    assert codes(declaration) == ["not-a-mapping", "literal-secret"]
    assert [found.code for found in errors(declaration)] == ["not-a-mapping"]
