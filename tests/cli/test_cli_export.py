"""`reconciler export chart`: where charts are written, what is refused, and what is told."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import yaml

from .conftest import Edit, Program

HELLO = "agents/demo/hello.yaml"
TOKEN = "  env: [{name: API_TOKEN, value: hunter2}]\n"


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def add_agent(fleet: Program, path: str, name: str, body: str = "") -> None:
    file = fleet.folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f"apiVersion: agents.codevald.io/v1\nkind: Agent\nmetadata: {{name: {name}}}\n"
        f"spec:\n  description: {name}\n  image: acme/{name}:1\n{body}"
    )


def test_one_agent_goes_into_a_folder_of_its_name(fleet: Program) -> None:
    done = fleet("export", "chart", "demo/hello", code=0)
    assert done.out == (
        "demo/hello: chart hello 0.1.0 in hello, 13 files\nNext:\n  helm install hello ./hello --namespace demo\n"
    )
    made = files(fleet.folder / "hello")
    assert yaml.safe_load(made["Chart.yaml"])["name"] == "hello"
    assert yaml.safe_load(made["values.yaml"])["systemMessage"] == "You greet people.\n"


def test_what_is_told_for_programs(fleet: Program) -> None:
    done = fleet("export", "chart", "demo/hello", "--out", "charts/hi", "--version", "1.2.3", "-o", "json", code=0)
    (chart,) = json.loads(done.out)["charts"]
    assert chart["agent"] == "demo/hello"
    assert chart["clusters"] == ["local"]
    assert (chart["chart"], chart["version"], chart["folder"]) == ("hello", "1.2.3", "charts/hi")
    assert chart["files"] == sorted(files(fleet.folder / "charts" / "hi"))


def test_a_chart_that_is_there_is_replaced_by_force_alone_and_what_was_added_stays(fleet: Program, edit: Edit) -> None:
    fleet("export", "chart", "demo/hello", code=0)
    added = fleet.folder / "hello" / "templates" / "mine.yaml"
    added.write_text("# mine\n")
    edit(HELLO, "You greet people.", "You greet everybody.")
    refused = fleet("export", "chart", "demo/hello", "--working-tree", code=1)
    assert "holds a chart already" in refused.err
    assert "--force" in refused.err
    assert "people" in (fleet.folder / "hello" / "values.yaml").read_text()
    fleet("export", "chart", "demo/hello", "--working-tree", "--force", code=0)
    assert "everybody" in (fleet.folder / "hello" / "values.yaml").read_text()
    assert added.read_text() == "# mine\n"


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_what_is_no_chart_is_never_written_over(fleet: Program, force: tuple[str, ...]) -> None:
    before = files(fleet.folder / "templates")
    done = fleet("export", "chart", "demo/hello", "--out", "templates", *force, code=1)
    assert "is not empty and holds no chart" in done.err
    assert files(fleet.folder / "templates") == before
    assert "exists and is no folder" in fleet("export", "chart", "demo/hello", "--out", "fleet.yaml", code=1).err


def test_a_chart_that_cannot_be_written_leaves_nothing(fleet: Program) -> None:
    done = fleet("export", "chart", "demo/hello", "--out", "fleet.yaml/hello", code=1)
    assert "error: cannot " in done.err
    (fleet.folder / "x").symlink_to("nowhere/at/all")
    assert "error: " in fleet("export", "chart", "demo/hello", "--out", "x", code=1).err
    assert not (fleet.folder / "nowhere").exists()


def test_several_agents_go_below_one_folder_and_the_healthy_ones_are_written(fleet: Program) -> None:
    add_agent(fleet, "agents/support/triage.yaml", "triage")
    add_agent(fleet, "agents/support/broken.yaml", "broken", "  replicas: many\n")
    add_agent(fleet, "agents/support/secretive.yaml", "secretive", TOKEN)
    done = fleet("export", "chart", "-A", "--out", "charts", "--working-tree", code=1)
    assert [line.partition(":")[0] for line in done.out.splitlines()] == ["demo/hello", "support/triage"]
    assert "left out: support/broken is not valid" in done.err
    assert "left out: support/secretive has values that look secret" in done.err
    assert sorted(path.parent.name for path in (fleet.folder / "charts").rglob("Chart.yaml")) == ["hello", "triage"]
    only = fleet("export", "chart", "-n", "demo", "--out", "more", "--working-tree", code=0)
    assert "chart hello 0.1.0 in more/demo/hello" in only.out
    both = fleet("export", "chart", "demo/hello", "support/triage", "--out", "two", "--working-tree", code=0)
    assert "two/support/triage" in both.out


def test_values_that_look_secret_are_written_only_when_asked_and_for_their_owner_alone(fleet: Program) -> None:
    add_agent(fleet, "agents/support/secretive.yaml", "secretive", TOKEN)
    refused = fleet("export", "chart", "support/secretive", "--working-tree", code=1)
    assert "env[API_TOKEN].value" in refused.err
    assert "hunter2" not in refused.err + refused.out
    assert not (fleet.folder / "secretive").exists()
    done = fleet("export", "chart", "support/secretive", "--working-tree", "--include-sensitive", code=0)
    assert "hunter2" not in done.out + done.err
    values = fleet.folder / "secretive" / "values.yaml"
    assert "hunter2" in values.read_text()
    assert stat.S_IMODE(values.stat().st_mode) == 0o600
    assert [path.name for path in values.parent.rglob("*") if path.is_file() and "hunter2" in path.read_text()] == [
        "values.yaml"
    ]


def test_an_agent_that_is_not_the_same_everywhere_needs_a_cluster(fleet: Program, edit: Edit) -> None:
    head = "apiVersion: agents.codevald.io/v1\nkind: Fleet\nmetadata: {name: fleet}\nspec:\n  clusters:\n"
    clusters = "".join(f"    - {{name: {name}, embedded: {{run: nothing}}}}\n" for name in ("eu", "us"))
    (fleet.folder / "fleet.yaml").write_text(head + clusters)
    add_agent(fleet, "agents/support/odd.yaml", "odd", "  replicas: 3\n")
    add_agent(fleet, "agents/support/even.yaml", "even", "  replicas: 4\n")
    asked = fleet("export", "chart", "support/odd", "--working-tree", code=1)
    assert "2 on eu, 1 on us" in asked.err
    assert "--cluster" in asked.err
    fleet("export", "chart", "support/odd", "--working-tree", "--cluster", "us", code=0)
    assert yaml.safe_load((fleet.folder / "odd" / "values.yaml").read_text())["replicaCount"] == 1
    fleet("export", "chart", "support/even", "--working-tree", code=0)
    assert "prints for eu, us, where" in (fleet.folder / "even" / "values.yaml").read_text()
    nowhere = fleet("export", "chart", "support/even", "--working-tree", "--cluster", "mars", code=1)
    assert "it runs on: eu, us" in nowhere.err


MISTAKES: list[tuple[tuple[str, ...], str]] = [
    ((), "name agents, or -n NS, or -A"),
    (("demo/hello", "-A"), "name agents, or -n NS, or -A"),
    (("-n", "demo", "-A"), "name agents, or -n NS, or -A"),
    (("-n", "nobody"), "no agent is declared in nobody"),
    (("-n", "No!"), "is not a namespace"),
    (("hello",), "does not name an agent"),
    (("demo/helo",), "did you mean demo/hello?"),
    (("demo/hello", "--version", "1.2"), "is not a version that Helm takes"),
    (("demo/hello", "--version", "01.2.3"), "is not a version that Helm takes"),
    (("demo/hello", "--version", "1.2.3-01"), "is not a version that Helm takes"),
    (("demo/hello", "--version", "1.2.3\n"), "is not a version that Helm takes"),
    (("demo/hello", "--out", "x" * 300), "cannot "),
]


def test_mistakes_are_told(fleet: Program) -> None:
    for arguments, complaint in MISTAKES:
        done = fleet("export", "chart", *arguments, code=1)
        assert complaint in done.err, arguments
        assert not (fleet.folder / "hello").exists()
