"""Mistakes of authors: each with its place, its code, and a hint where one helps."""

from __future__ import annotations

import pytest

from reconciler.model.identity import AgentName, FieldPath
from reconciler.model.source import Blob, Severity
from tests.spec.writing import API, BASE, agent, blob, codes, only, read, spec_of, template

ONE = AgentName(namespace="demo", name="one")
PATH = "agents/demo/one.yaml"

HTTP = "{http: {path: /, port: http}}"
ONE_METRIC = "max: 2, metrics: [{pods: {name: q, average: '1'}}]"
PORTS = "ports: [{name: http, port: 80}]"

MISTAKES = [
    # shape
    ("image: x\nreplica: 2", "unknown-field", "6:3", "unknown field 'replica'", "did you mean 'replicas'?"),
    ("image: x\nhealth: {check: []}", "unknown-field", "6:12", "unknown field 'check'", "did you mean 'checks'?"),
    (
        "image: x\nprobes: {readyness: {}}",
        "unknown-field",
        "6:12",
        "unknown field 'readyness'",
        "did you mean 'readiness'?",
    ),
    ("image: x\nreplicas: '3'", "wrong-type", "6:13", "a whole number is expected here, not text", ""),
    ("image: x\nreplicas: 1.0", "wrong-type", "6:13", "a whole number is expected here, not a number", ""),
    ("image: x\nreplicas: true", "wrong-type", "6:13", "a whole number is expected here, not true or false", ""),
    ("image: 3", "wrong-type", "5:10", "text is expected here, not a number", "quote it"),
    ("image: x\nenv: {A: b}", "wrong-type", "6:8", "a list is expected here, not a mapping", ""),
    ("image: x\nresources: [a]", "wrong-type", "6:14", "a mapping is expected here, not a list", ""),
    ("image: x\nsuspend: yes", "wrong-type", "6:12", "true or false is expected here, not text", ""),
    ("image: x\ncommand: python", "wrong-type", "6:12", "a list is expected here, not text", ""),
    (
        "image: x\nextends: base",
        "wrong-type",
        "6:12",
        "a list of at most 16 template names is expected here",
        "extends: [name]",
    ),
    ("image: x\nextends: [3]", "wrong-type", "6:12", "a list of at most 16 template names", ""),
    ("image: x\nreplicas: 10001", "out-of-range", "6:13", "", ""),
    ("image: x\nreplicas: -1", "out-of-range", "6:13", "", ""),
    ("image: x\nports: [{name: http, port: 65536}]", "out-of-range", "6:30", "", ""),
    ("image: x\nports: [{name: http, port: 0}]", "out-of-range", "6:30", "", ""),
    ("image: x\nports: [{name: HTTP, port: 1}]", "bad-text", "6:18", "'HTTP'", "lower-case"),
    ("image: x\nenv: [{name: A, secret: {name: a..b, key: k}}]", "bad-text", "6:34", "'a..b'", "dots between"),
    ("image: x\nenv: [{name: 1A, value: b}]", "bad-text", "6:16", "'1A'", "match"),
    ("image: a b", "bad-text", "5:10", "'a b'", "match"),
    ("image: x\nwave: 1001", "out-of-range", "6:9", "", ""),
    ("image: x\nplacement: {policy: spred}", "not-one-of", "6:23", "'spred' is not one of", "did you mean 'spread'?"),
    ("image: x\nrecovery: {ladder: [reboot]}", "not-one-of", "6:23", "'reboot'", ""),
    ("image: x\nrecovery: {ladder: []}", "out-of-range", "6:22", "", ""),
    (
        "image: x\nresources: {limits: {memory: 10Qi}}",
        "bad-quantity",
        "6:32",
        "'10Qi' is not a quantity (like 500m, 1.5 or 256Mi)",
        "",
    ),
    ("image: x\nresources: {limits: {cpu: 1}}", "wrong-type", "6:29", "text is expected here", "quote it"),
    ("image: x\nrollout: {timeout: 2 minutes}", "bad-duration", "6:22", "is not a duration", ""),
    ("image: x\nrollout: {maxSurge: 101%}", "bad-percentage", "6:23", "is not a percentage (like 70%)", ""),
    ("image: x\nenv: [{name: A}]", "one-of", "6:9", "exactly one of value, secret", ""),
    (
        "image: x\nenv: [{name: A, value: b, secret: {name: s, key: k}}]",
        "one-of-many",
        "6:9",
        "exactly one of value, secret",
        "",
    ),
    ("image: x\ntools: [{requireApproval: [a]}]", "one-of", "6:11", "exactly one of mcpServer, agent", ""),
    ("image: x\nskills: [{id: a}]", "missing-field", "6:12", "'name' is missing", ""),
    ("image: x\nmodelConfig: {provider: a}", "missing-field", "6:3", "'model' is missing", ""),
    # completeness
    ("description: x", "missing-field", "5:3", "'image' is missing", "say it here or in a template"),
    (
        "image: x\nreplicas: 2\nautoscaling: {max: 3, metrics: [{pods: {name: q, average: '1'}}]}",
        "replicas-and-autoscaling",
        "6:3",
        "exclude each other",
        "",
    ),
    (
        "image: x\nautoscaling: {min: 3, max: 2, metrics: [{pods: {name: q, average: '1'}}]}",
        "out-of-range",
        "6:22",
        "min 3 is more than max 2",
        "",
    ),
    ("image: x\nautoscaling: {max: 2, metrics: [{cpu: 70%}]}", "missing-request", "6:35", "needs a request of cpu", ""),
    ("image: x\nrollout: {maxSurge: 0}", "out-of-range", "6:23", "no pod could ever be replaced", ""),
    (
        "image: x\nenv: [{name: A, value: b}, {name: A, value: c}]",
        "duplicate-name",
        "6:9",
        "'A' stands 2 times in env",
        "",
    ),
    ("image: x\nports: [{name: a, port: 1}, {name: a, port: 2}]", "duplicate-name", "6:11", "'a' stands 2 times", ""),
    (
        "image: x\nports: [{name: a, port: 1}, {name: b, port: 2, servicePort: 1}]",
        "duplicate-port",
        "6:63",
        "the Service would have the port 1 more than once",
        "",
    ),
    (
        "image: x\ndeployment: {selector: {agents.codevald.io/agent: b}}",
        "reserved-label",
        "6:27",
        "agents.codevald.io/agent is a label that agents get by themselves",
        "",
    ),
    (
        "image: x\nports: [{name: a, port: 1}, {name: b, port: 1}]",
        "duplicate-port",
        "6:27",
        "declared more than once",
        "",
    ),
    (
        "image: x\nhealth: {checks: [{name: a, a2aCard: {}}, {name: a, lifecycle: {}}]}",
        "duplicate-name",
        "6:21",
        "'a' stands 2 times in checks",
        "",
    ),
    (
        "image: x\ntools: [{mcpServer: {name: m, toolNames: [tag]}, requireApproval: [tga]}]",
        "unknown-tool",
        "6:69",
        "'tga'",
        "did you mean 'tag'?",
    ),
    (f"image: x\nprobes: {{readiness: {HTTP}}}", "unknown-port", "6:46", "unknown port 'http'", "declare it in ports"),
    (
        f"image: x\n{PORTS}\nprobes: {{liveness: {{tcp: {{port: htpp}}}}}}",
        "unknown-port",
        "7:35",
        "'htpp'",
        "did you mean 'http'?",
    ),
    (
        f"image: x\n{PORTS}\nprobes: {{startup: {{grpc: {{port: 81}}}}}}",
        "unknown-port",
        "7:35",
        "'81'",
        "declared are http",
    ),
    (
        f"image: x\n{PORTS}\nhealth: {{checks: [{{name: a, connectivity: {{tcp: {{port: web}}}}}}]}}",
        "unknown-port",
        "7:58",
        "'web'",
        "",
    ),
    (
        "image: x\nresources: {requests: {cpu: '2'}, limits: {cpu: 1500m}}",
        "request-over-limit",
        "6:31",
        "the request of 2 cpu is over the limit of 1500m",
        "",
    ),
    # what an API server would refuse
    ("image: x\nports: [{name: a--b, port: 80}]", "bad-text", "6:18", "'a--b'", "single dashes"),
    ("image: x\nports: [{name: '80', port: 80}]", "bad-text", "6:18", "'80'", "at least one letter"),
    (
        "image: x\nresources: {limits: {nvidia.com/gpu: 500m}}",
        "out-of-range",
        "6:40",
        "nvidia.com/gpu comes in multiples of 1, not 500m",
        "",
    ),
    (
        "image: x\nresources: {requests: {cpu: 1m}, limits: {hugepages-2Mi: 3Mi}}",
        "out-of-range",
        "6:60",
        "hugepages-2Mi comes in multiples of 2Mi, not 3Mi",
        "",
    ),
    (
        "image: x\nresources: {requests: {nvidia.com/gpu: '2'}, limits: {nvidia.com/gpu: '3'}}",
        "missing-limit",
        "6:42",
        "its limit must be its request, 2",
        "say resources.limits.nvidia.com/gpu: 2",
    ),
    (
        "image: x\nresources: {limits: {storage: 1Gi}}",
        "unknown-resource",
        "6:24",
        "'storage' is no resource of a container",
        "a device like nvidia.com/gpu",
    ),
    (
        "image: x\nresources: {limits: {hugepages-2Mi: 2Mi}}",
        "missing-request",
        "6:14",
        "goes with cpu or memory",
        "say resources.requests.memory",
    ),
    (
        "image: x\nautoscaling: {max: 2, metrics: [{pods: {name: q, average: '0'}}]}",
        "out-of-range",
        "6:35",
        "0 is nothing to scale by",
        "",
    ),
    (
        "image: x\nautoscaling: {max: 2, metrics: [{external: {name: a/b, value: '1'}}]}",
        "bad-text",
        "6:53",
        "'a/b'",
        "a name without / and %",
    ),
    (
        f"image: x\nautoscaling: {{{ONE_METRIC}, behavior: {{scaleUp: {{policies: [{{pods: 1, period: 31m}}]}}}}}}",
        "out-of-range",
        "6:119",
        "the period of a policy is 30m at most",
        "",
    ),
    (
        f"image: x\nautoscaling: {{{ONE_METRIC}, behavior: {{scaleDown: {{stabilization: 2h}}}}}}",
        "out-of-range",
        "6:107",
        "stabilization is 1h at most",
        "",
    ),
    # among each other
    (
        "image: x\ndependsOn: [good, demo/goood]",
        "unknown-dependency",
        "6:21",
        "unknown agent 'demo/goood'",
        "did you mean 'demo/good'?",
    ),
    ("image: x\ndependsOn: [one]", "dependency-cycle", "6:14", "demo/one -> demo/one", ""),
    (
        "image: x\nplacement: {clusters: {names: [nowhere]}}",
        "no-cluster",
        "6:15",
        "selects no cluster",
        "the fleet has local",
    ),
    ("image: x\nplacement: {clusters: {}}", "no-cluster", "6:15", "selects no cluster", "the fleet has local"),
]


@pytest.mark.parametrize(("spec", "code", "place", "message", "hint"), MISTAKES)
def test_a_mistake_is_told_where_it_was_made(spec: str, code: str, place: str, message: str, hint: str) -> None:
    declaration = spec_of(spec)
    found = only(declaration)
    line, column = map(int, place.split(":"))
    assert found.code == code, found.message
    assert (found.position.path, found.position.line, found.position.column) == (PATH, line, column), found
    assert message in found.message
    assert hint in found.hint
    assert found.snippet == agent(spec).split("\n")[line - 1]
    assert ONE in declaration.frozen_agents
    assert declaration.frozen_agents[ONE].diagnostics == (found,)
    assert AgentName(namespace="demo", name="good") in declaration.agents


def test_all_mistakes_of_a_file_are_told_at_once() -> None:
    declaration = spec_of("image: 1\nreplicas: x\nwave: -1\nunknown: 2")
    assert codes(declaration) == ["wrong-type", "wrong-type", "out-of-range", "unknown-field"]


def test_the_two_examples_of_the_manual() -> None:
    head = agent("", name="triage").split("spec:")[0] + "spec:\n" + "  # more\n" * 9
    declaration = read(
        {
            "agents/support/triage.yaml": head + "  extends: [bsae]\n",
            "agents/research/miner.yaml": agent("image: x\nresources:\n  limits:\n    memory: 10Qi", name="miner"),
        }
    )
    miner, triage = declaration.diagnostics
    assert f"{triage.position}: {triage.message} [{triage.code}]" == (
        "agents/support/triage.yaml:14:13: unknown template 'bsae' [unknown-template]"
    )
    assert (triage.snippet, triage.position.length, triage.hint) == ("  extends: [bsae]", 4, "did you mean 'base'?")
    assert f"{miner.position}: {miner.message} [{miner.code}]" == (
        "agents/research/miner.yaml:8:15: '10Qi' is not a quantity (like 500m, 1.5 or 256Mi) [bad-quantity]"
    )


def test_a_mistake_in_a_template_is_told_at_the_template_s_line() -> None:
    declaration = read(
        {
            "templates/p.yaml": template("p", "image: x\nprobes: {liveness: {tcp: {port: web}}}"),
            PATH: agent("{extends: [p]}"),
        }
    )
    assert str(only(declaration).position) == "templates/p.yaml:6:35"
    assert declaration.frozen_agents[ONE].reason == "unknown port 'web'"


def test_one_identity_in_two_files() -> None:
    declaration = read(
        {PATH: agent("{image: x}"), "agents/other/copy.yml": agent("{image: y}", metadata=", namespace: demo")}
    )
    assert codes(declaration) == ["declared-twice"] * 2
    assert [found.position.path for found in declaration.diagnostics] == [PATH, "agents/other/copy.yml"]
    assert "agents/other/copy.yml:3:18" in declaration.diagnostics[0].message
    assert ONE in declaration.frozen_agents


def test_what_no_config_map_holds_is_told_before_a_server_refuses_it() -> None:
    big = "x" * 600_000
    files = {"templates/big.yaml": template("big", f"{{config: {{one: {big}}}}}")}
    declaration = read(files | {PATH: agent(f"{{image: x, extends: [big], config: {{two: {big}}}}}")})
    assert codes(declaration) == ["out-of-range"]
    assert "a ConfigMap holds 1048576" in declaration.diagnostics[0].message
    assert codes(read(files | {PATH: agent("{image: x, extends: [big]}")})) == []
    deep = "[" * 55 + ",".join(["1"] * 20_000) + "]" * 55
    assert codes(read({PATH: agent(f"{{image: x, config: {{deep: {deep}}}}}")})) == ["out-of-range"]


def test_two_agents_whose_services_would_have_one_name() -> None:
    names = ("9lives", "a-9lives", "b-9lives")
    files = {f"agents/demo/{name}.yaml": agent("{image: x}", name=f"'{name}'") for name in names}
    declaration = read(files)
    assert codes(declaration) == ["same-service"]
    assert "that of the agent demo/a-9lives" in declaration.diagnostics[0].message
    assert {name.name for name in declaration.frozen_agents} == {"9lives"}
    elsewhere = {"agents/other/9lives.yaml": agent("{image: x}", name="9lives", metadata=", namespace: other")}
    assert codes(read({**elsewhere, "agents/demo/a-9lives.yaml": files["agents/demo/a-9lives.yaml"]})) == []


@pytest.mark.parametrize("key", ["x" * 64, "a.example/" + "x" * 64, "a..b/c", "a.-b/c", ".a/b", "a./b"])
@pytest.mark.parametrize("field", ["labels", "annotations"])
def test_keys_of_labels_that_no_server_takes(key: str, field: str) -> None:
    declaration = read({PATH: agent("{image: x}", metadata=f", {field}: {{{key}: v}}")})
    assert codes(declaration) == ["bad-text"]
    longest = "a.b-c.example/" + "x" * 63
    assert codes(read({PATH: agent("{image: x}", metadata=f", {field}: {{{longest}: v}}")})) == []


def test_circles_of_dependencies_name_every_agent_on_them() -> None:
    needs = {"a": "b", "b": "c", "c": "a", "d": "a", "e": "e"}
    declaration = read(
        {
            f"agents/demo/{name}.yaml": agent(f"{{image: x, dependsOn: [{other}]}}", name=name)
            for name, other in needs.items()
        }
    )
    assert codes(declaration) == ["dependency-cycle"] * 4
    assert declaration.diagnostics[1].message == "dependsOn goes in a circle: demo/a -> demo/b -> demo/c -> demo/a"
    assert {name.name for name in declaration.frozen_agents} == {"a", "b", "c", "e"}
    assert AgentName(namespace="demo", name="d") in declaration.agents, "it waits for agents that exist"


def test_a_circle_of_a_thousand_is_told_in_short() -> None:
    declaration = read(
        {
            f"agents/demo/n{number}.yaml": agent(
                f"{{image: x, dependsOn: [n{(number + 1) % 1000}]}}", name=f"n{number}"
            )
            for number in range(1000)
        }
    )
    assert codes(declaration) == ["dependency-cycle"] * 1000
    assert "..." in declaration.diagnostics[0].message
    assert len(declaration.diagnostics[0].message) < 400


def test_a_thousand_unknown_dependencies_are_found_without_comparing_all_names() -> None:
    declaration = read(
        {
            f"agents/demo/n{number}.yaml": agent(f"{{image: x, dependsOn: [m{number}]}}", name=f"n{number}")
            for number in range(1000)
        }
    )
    assert codes(declaration) == ["unknown-dependency"] * 1000
    assert sum(bool(found.hint) for found in declaration.diagnostics) <= 20


def test_who_depends_on_an_invalid_agent_stays_valid() -> None:
    declaration = read(
        {PATH: agent("{image: x, dependsOn: [broken]}"), "agents/demo/broken.yaml": agent("{}", name="broken")}
    )
    assert ONE in declaration.agents
    assert list(declaration.frozen_agents) == [AgentName(namespace="demo", name="broken")]


def test_secret_looking_literals_are_a_warning_and_listed() -> None:
    declaration = spec_of(
        "image: x\n"
        "env: [{name: API_TOKEN, value: abc}, {name: KEYBOARD, value: us}, {name: SECRET, secret: {name: s, key: k}},"
        " {name: PASSWORD, value: ''}]\n"
        "config: {db: {dbPassword: hunter2, port: 5}, keys: [{name: a, accessKey: z}]}\n"
        "modelConfig: {provider: a, model: b, parameters: {api_key: q}}"
    )
    assert {found.severity for found in declaration.diagnostics} == {Severity.WARNING}
    assert codes(declaration) == ["literal-secret"] * 4
    assert declaration.diagnostics[0].message == "the literal value of API_TOKEN looks secret"
    assert str(declaration.diagnostics[0].position) == f"{PATH}:6:34"
    assert declaration.agents[ONE].sensitive == (
        ("env", "[API_TOKEN]", "value"),
        ("config", "db", "dbPassword"),
        ("config", "keys", "[a]", "accessKey"),
        ("modelConfig", "parameters", "api_key"),
    )


@pytest.mark.parametrize(
    ("config", "sensitive"),
    [
        ("{password: 20260731}", [("password",)]),
        ("{password: 0.25}", [("password",)]),
        ("{api_key: [k1, k2]}", [("api_key",)]),
        ("{credentials: {user: a, value: hunter2}}", [("credentials",)]),
        ("{secret: {tokens: [{token: a}]}}", [("secret",)]),
        ("{headers: [{name: api-key, value: hunter2}, {name: lang, value: en}]}", [("headers", "[api-key]", "value")]),
        ("{password: '', token: [], secret: {key: {}}, credentials: {required: true}}", []),
    ],
)
def test_all_that_stands_below_a_secret_looking_key_is_a_secret(config: str, sensitive: list[FieldPath]) -> None:
    declaration = spec_of(f"image: x\nconfig: {config}")
    assert declaration.agents[ONE].sensitive == tuple(("config", *path) for path in sensitive)
    assert codes(declaration) == ["literal-secret"] * len(sensitive)


def test_unknown_fields_of_the_envelope() -> None:
    text = agent("{image: x}").replace("kind:", "sepc: {}\nkind:").replace("{name: one}", "{name: one, labls: {a: b}}")
    declaration = read({PATH: text})
    assert [(found.code, found.hint) for found in declaration.diagnostics] == [
        ("unknown-field", "did you mean 'spec'?"),
        ("unknown-field", "did you mean 'labels'?"),
    ]
    assert ONE in declaration.frozen_agents


@pytest.mark.parametrize(
    ("path", "metadata", "namespace"),
    [
        ("agents/support/one.yaml", "", "support"),
        ("agents/support/deep/er/one.yml", "", "support"),
        ("agents/support/one.yaml", ", namespace: other", "other"),
        ("agents/one.yaml", ", namespace: other", "other"),
        ("elsewhere/one.yaml", ", namespace: other", "other"),
    ],
)
def test_the_namespace_is_the_folder_s_or_said(path: str, metadata: str, namespace: str) -> None:
    declaration = read({path: agent("{image: x}", metadata=metadata)})
    assert AgentName(namespace=namespace, name="one") in declaration.agents
    assert codes(declaration) == []


@pytest.mark.parametrize("path", ["agents/one.yaml", "elsewhere/x/one.yaml", "one.yaml"])
def test_an_agent_without_a_folder_must_say_its_namespace(path: str) -> None:
    declaration = read({path: agent("{image: x}")})
    found = only(declaration)
    assert (found.code, found.message) == ("missing-namespace", "'metadata.namespace' is missing")
    assert path in declaration.frozen_paths


def test_a_folder_that_is_no_namespace_is_a_finding() -> None:
    declaration = read({"agents/Support Team/one.yaml": agent("{image: x}")})
    found = only(declaration)
    assert (found.code, found.position.path) == ("bad-namespace", "agents/Support Team/one.yaml")


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/ci.yaml",
        ".schemas/x.yaml",
        "agents/.hidden/x.yaml",
        "README.md",
        "agents/demo/x.json",
        "x.yaml.bak",
    ],
)
def test_other_files_are_left_alone(path: str) -> None:
    declaration = read({path: b"a: [\0"})
    assert codes(declaration) == []
    assert declaration.files == 3


def test_yaml_of_other_programs_is_left_alone_outside_of_our_folders() -> None:
    declaration = read({"deploy/service.yaml": "apiVersion: v1\nkind: Service\n", "mkdocs.yml": "site_name: x\n"})
    assert codes(declaration) == []


TEMPLATED = """{{- if .Values.ports -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "a.metadata" . | nindent 2 }}
  labels: {agents.codevald.io/agent: a}
{{- end }}
"""


@pytest.mark.parametrize("text", [TEMPLATED, "Bucket: !Ref Name\n", "a: 1\na: 2\n"])
def test_what_other_programs_call_yaml_is_left_alone_outside_of_our_folders(text: str) -> None:
    declaration = read({"triage/templates/service.yaml": text})
    assert codes(declaration) == []
    assert not declaration.frozen_paths


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("agents/demo/a.yaml", TEMPLATED),
        ("templates/a.yaml", TEMPLATED),
        ("elsewhere/a.yaml", agent("{image: x", metadata=", namespace: other")),
        ("elsewhere/a.yaml", "apiVersion: agents.codevald.io/v2\nkind: [\n"),
        ("elsewhere/a.yaml", ""),
    ],
)
def test_a_file_that_may_have_held_agents_is_told_when_it_cannot_be_read(path: str, text: str) -> None:
    declaration = read({path: text})
    assert [found.position.path for found in declaration.diagnostics] == [path]
    assert path in declaration.frozen_paths


def words_in(held: str | Blob) -> frozenset[str] | None:
    path = "agents/demo/a.yaml"
    return read({path: held}).frozen_paths[path].words


def test_the_words_of_a_file_that_cannot_be_read_are_told_and_none_where_it_is_no_text() -> None:
    said = "kind: Agent\nmetadata: {name:one-2, namespace: 'Demo'}\nx: &one-3- *b.c\n# -four-\n["
    expected = {"kind", "agent", "metadata", "name", "one-2", "namespace", "demo", "x", "one-3", "b", "c", "four"}
    assert words_in(said) == frozenset(expected)
    assert {"agnet", "one"} <= (words_in("kind: Agnet\nmetadata: {name: one}") or set())
    assert words_in("\n# one\n") == frozenset({"one"})
    for untold in (blob("one", mode="120000"), blob(b"one \xff"), blob(b"one #" + b"x" * 1024 * 1024)):
        assert words_in(untold) is None


def test_a_fleet_with_an_unknown_field_cannot_be_used() -> None:
    declaration = read({"fleet.yaml": API + "kind: Fleet\nmetadata: {name: acme}\nspec:\n  deletion: {max: 1}\n"})
    found = only(declaration)
    assert (str(found.position), found.code, found.hint) == (
        "fleet.yaml:5:3",
        "unknown-field",
        "did you mean 'deletions'?",
    )
    assert declaration.fleet is None
    assert declaration.agents


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ("{clusters: [{name: a, embedded: {}}, {name: a, embedded: {}}]}", "duplicate-name"),
        ("{clusters: [{name: a}]}", "one-of"),
        ("{clusters: [{name: a, embedded: {}, kubernetes: {}}]}", "one-of-many"),
        ("{registry: {arango: {url: 'ftp://x', database: d, usernameEnv: U, passwordEnv: P}}}", "bad-text"),
        ("{registry: {sqlite: {path: ../../x}}}", "bad-text"),
        ("{quotas: [{namespace: a, cpu: 1}]}", "wrong-type"),
        ("{quotas: [{namespace: a, agents: 1}, {namespace: b}, {namespace: a, replicas: 2}]}", "duplicate-name"),
        ("{deletions: {percent: 101}}", "out-of-range"),
        ("{alerts: [{name: a, match: {severity: critcal}, webhook: {urlEnv: U}}]}", "not-one-of"),
        ("{alerts: [{name: a, slack: {urlEnv: U}}, {name: a, slack: {urlEnv: V}}]}", "duplicate-name"),
        ("{alerts: [{name: a, slack: {urlEnv: U}, message: {title: $nam}}]}", "bad-template"),
        ("{alerts: [{name: a, slack: {urlEnv: U}, group: {by: [kind]}}]}", "bad-text"),
    ],
)
def test_mistakes_in_the_fleet(spec: str, code: str) -> None:
    declaration = read({"fleet.yaml": API + f"kind: Fleet\nmetadata: {{name: acme}}\nspec: {spec}\n"})
    assert codes(declaration) == [code]
    assert declaration.fleet is None


def test_a_repository_without_a_fleet() -> None:
    declaration = read({"fleet.yaml": blob(BASE.replace("base", "other"))})
    assert (only(declaration).code, declaration.fleet) == ("no-fleet", None)


def test_a_fleet_in_another_file_is_pointed_out() -> None:
    text = API + "kind: Fleet\nmetadata: {name: acme}\n"
    declaration = read({"fleet.yaml": BASE.replace("base", "other"), "deploy/fleet.yaml": text})
    assert only(declaration).hint == "the one in deploy/fleet.yaml belongs there"
    assert codes(read({"more.yaml": text})) == ["declared-twice"] * 2
