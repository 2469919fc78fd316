"""`get agents` as a question: --where and its kin, and every example of docs/registry.md, run as typed."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import time
from typing import Any

import pytest

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.model.identity import AgentName
from reconciler.model.registry import AgentState, PlacedReplicas, Quarantine, Record, Write
from tests.doubles.clock import FakeClock
from tests.query.strategies import life

from .conftest import ROOT, Program

DAY = 86_400_000
S = AgentState


def agent(name: str, state: AgentState, replicas: int, days: int, **fields: Any) -> Record:
    namespace, _, short = name.partition("/")
    then = int(time.time() * 1000) - days * DAY - 1000
    plain: dict[str, Any] = {
        "labels": {"team": namespace}, "document": {"image": f"ghcr.io/acme/{short}:1"}, "revision": 2, "commit": "c1",
        "updated_ms": then - days,
    }  # fmt: skip
    return Record(
        id=f"id-{short}", name=AgentName(namespace=namespace, name=short), version=1, state=state, spec_hash="h",
        lineage=("base",), source_path=f"agents/{name}.yaml", reservations=(), inventory=(), created_ms=then,
        placement=(PlacedReplicas(cluster="local", replicas=replicas),), **plain | fields,
    )  # fmt: skip


def agents() -> list[Record]:
    return [
        agent("support/triage", S.DEGRADED, 3, 3, document={
            "image": "ghcr.io/acme/triage:1", "systemMessage": "Refunds: look up the customer first. Then refund.",
            "tools": [{"mcpServer": {"name": "crm"}}, {"mcpServer": {"name": "mail"}}],
            "resources": {"limits": {"memory": "256Mi"}},
        }),
        agent("support/knowledge", S.RUNNING, 2, 2, labels={"team": "support", "tier": "1"}),
        agent("support/reports", S.RUNNING, 2, 1),
        agent("billing/invoices", S.DEGRADED, 4, 5, revision=7, message="it did not start",
              updated_ms=int(time.time() * 1000),
              quarantine=Quarantine(spec_hash="g", since_ms=1, reason="did not start"),
              document={"image": "ghcr.io/acme/invoices:2", "resources": {"limits": {"memory": "512Mi"}}}),
        agent("research/miner", S.SUSPENDED, 0, 9, suspended=True, labels={}),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A fleet with agents on record, and nothing that runs. Tests only read it."""
    folder, home = tmp_path_factory.mktemp("query"), tmp_path_factory.mktemp("home")
    Program(folder, home)("init", "fleet", code=0)
    program = Program(folder / "fleet", home)

    async def write() -> None:
        registry = await SqliteRegistry.open(program.folder / ".reconciler" / "registry.db", FakeClock())
        for record in agents():
            for one in life(record):
                await registry.commit(Write(op_id=f"{one.id}-{one.version}", at_ms=1, records=(one,)))
        await registry.close()

    asyncio.run(write())
    return program


def names(asked: Program, *arguments: str) -> list[str]:
    return asked("get", "agents", "-o", "name", *arguments, code=0).out.split()


def examples() -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    for body in re.findall(
        r"^```console\n(.*?)^```$", (ROOT / "docs/registry.md").read_text(), re.MULTILINE | re.DOTALL
    ):
        for line in body.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def test_every_example_of_the_documentation_works_as_typed(asked: Program) -> None:
    token = ""
    for command, expected in examples():
        program, *arguments = shlex.split(command)
        assert program == "reconciler"
        done = asked(*(token if argument == "TOKEN" else argument for argument in arguments))
        token = "".join(re.findall(r"--continue (\S+)", done.err)) or token
        printed = [line.rstrip() for line in (done.out + done.err).splitlines()]
        assert [line.replace(token, "TOKEN") if token else line for line in printed] == expected, command
        assert done.code == (1 if expected[0].startswith("error: ") else 0), command


def test_names_namespaces_labels_and_queries_are_one_question(asked: Program) -> None:
    assert names(asked, "-n", "support", "--where", "replicas > 2") == ["support/triage"]
    assert names(asked, "-n", "support", "-l", "tier") == ["support/knowledge"]
    assert names(asked, "-l", "team!=support,tier notin (1)") == ["billing/invoices", "research/miner"]
    assert names(asked, "triage", "billing/invoices", "--where", "replicas = 4") == ["billing/invoices"]
    assert names(asked, "--where", "order by created") == [
        "research/miner", "billing/invoices", "support/triage", "support/knowledge", "support/reports",
    ]  # fmt: skip
    refused = asked("get", "agents", "triaje", "--where", "replicas = 4", code=1)
    assert "no agent 'triaje' on record" in refused.err


def test_an_empty_answer_is_no_mistake(asked: Program) -> None:
    done = asked("get", "agents", "--where", "replicas > 100", code=0)
    assert (done.out, done.err) == ("", "No agents are like that.\n")
    assert json.loads(asked("get", "agents", "--where", "replicas > 100", "-o", "json", code=0).out)["items"] == []


def test_pages_as_json_add_up(asked: Program) -> None:
    found, token = [], ""
    for _ in range(3):
        page = json.loads(asked("get", "agents", "--limit", "2", "--continue", token, "-o", "json", code=0).out)
        found += [item["name"] for item in page["items"]]
        token = page["continue"]
    assert (found, token) == (["invoices", "miner", "knowledge", "reports", "triage"], "")


def test_counts_and_plans_are_data_too(asked: Program) -> None:
    counted = json.loads(asked("get", "agents", "--count-by", "replicas", "-o", "json", code=0).out)
    assert counted == {"kind": "counts", "by": "replicas", "items": [
        {"value": 0, "count": 1}, {"value": 2, "count": 2}, {"value": 3, "count": 1}, {"value": 4, "count": 1},
    ]}  # fmt: skip
    plan = json.loads(asked("get", "agents", "--where", "spec.image contains x", "--explain", "-o", "json", code=0).out)
    assert plan.keys() == {"kind", "statement", "indexes", "scans", "notes"}
    assert asked("get", "agents", "--count-by", "message", "--no-headers", code=0).out.split() == [
        "<none>", "4", "it", "did", "not", "start", "1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(("--where", "nmae = x"), "did you mean 'name'?", id="path"),
        pytest.param(("-l", "a b"), "is not a label selector", id="selector"),
        pytest.param(("--order-by", "name sideways"), "cannot go on with 'sideways'", id="order"),
        pytest.param(("--count-by", "spec.probes"), "holds no value itself", id="count"),
        pytest.param(("--continue", "x"), "none of this query", id="token"),
        pytest.param(("--where", "order by name", "--order-by", "name"), "said twice", id="two orders"),
        pytest.param(("--sort-by", "name", "--limit", "2"), "use --order-by", id="two ways to sort"),
        pytest.param(("--count-by", "state", "--limit", "2"), "--count-by counts all", id="a page of counts"),
        pytest.param(("--watch", "--limit", "2"), "--watch follows all", id="a page to watch"),
        pytest.param(("--where", "name = " + "x" * 100_000), "too long", id="length"),
        pytest.param(("--where", "name = '\x1b[31m"), "cannot hold the character U+001B", id="escapes"),
    ],
)
def test_mistakes_are_told_without_a_trace(asked: Program, arguments: tuple[str, ...], told: str) -> None:
    done = asked("get", "agents", *arguments, code=1)
    assert told in done.err
    assert "\x1b" not in done.err
    assert len(done.err) < 1000


def test_what_is_not_of_agents_cannot_be_queried(asked: Program) -> None:
    assert "are for agents" in asked("get", "clusters", "--where", "name = x", code=1).err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("agents", "triage", "-n", "billing"), "no agent 'triage' on record in the namespace billing"),
        (("templates", "bsae"), "no template 'bsae' is declared\n  did you mean 'base'?"),
        (("templates", "-l", "team=support"), "templates have no labels"),
        (("clusters", "lcal"), "no cluster 'lcal' is declared\n  did you mean 'local'?"),
    ],
)
def test_what_names_nothing_is_a_mistake_and_not_an_empty_list(
    asked: Program, arguments: tuple[str, ...], told: str
) -> None:
    done = asked("get", *arguments, code=1)
    assert told in done.err
    assert done.out == ""


def test_clusters_are_selected_by_their_labels(asked: Program) -> None:
    assert asked("get", "clusters", "-l", "!region", "-o", "name", code=0).out == "local\n"
    done = asked("get", "clusters", "-l", "region=eu", code=0)
    assert (done.out, done.err) == ("", "No clusters are like that.\n")


HOSTILE = ["'; DROP TABLE records; --", "' OR '1'='1", "%", "x' UNION SELECT 1 --", '" OR ""="', "\\", "$(id)", "NEAR("]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_is_more_than_text(asked: Program, text: str) -> None:
    """Through the whole program: each literal in quotes, as a label's value, as a name and as words."""
    quoted = "'" + text.replace("'", "''") + "'"
    pattern = quoted.replace("\\", "\\\\").replace("%", "\\%")
    where = f"message = {quoted} or labels.team in ({quoted}) or name like {pattern} or spec.image contains {quoted}"
    assert names(asked, "--where", where) == []
    asked("get", "agents", text, code=1)
    asked("get", "agents", "-l", f"team={text}", code=1)
    assert len(names(asked)) == 5
