"""`reconciler import` of what a cluster runs: what it offers, and what it leaves alone."""

from __future__ import annotations

import json

import pytest

from tests.importing.objects import deployment

from .conftest import Program


@pytest.fixture
def running(fleet: Program) -> Program:
    """The fleet, applied."""
    fleet("apply", "--auto-approve", code=0)
    return fleet


def test_agents_of_the_fleet_are_left_alone(running: Program) -> None:
    done = running("import", "--cluster", "local", "-n", "demo", code=0)
    assert done.out == "Wrote 0 files.\n"
    assert "demo/hello stands in this fleet already and is left alone" in done.err


def test_an_agent_of_the_fleet_is_imported_when_it_is_named(running: Program) -> None:
    done = running("import", "deployment/hello", "--cluster", "local", "-n", "demo", "--dry-run", code=0)
    assert "# agents/demo/hello.yaml" in done.out
    assert "left alone" not in done.err


def test_files_of_the_fleet_are_replaced_by_force_alone(running: Program) -> None:
    there = ("import", "--cluster", "local", "-n", "demo")
    assert "--force replaces it" in running(*there, "deployment/hello", code=1).err
    assert "agents/demo/hello.yaml: from Deployment hello" in running(*there, "--force", code=0).out


def test_what_the_fleet_has_no_file_of_any_more_is_offered(running: Program) -> None:
    file = running.folder / "agents" / "demo" / "hello.yaml"
    file.unlink()
    done = running("import", "--cluster", "local", "-n", "demo", code=0)
    assert "agents/demo/hello.yaml: from Deployment hello" in done.out
    assert "adopt: true" in file.read_text()


def test_what_is_lost_with_a_deployment_is_told_to_people_and_to_programs(fleet: Program) -> None:
    body = deployment(pod={"hostNetwork": True}, selector={"matchExpressions": [{"key": "app", "operator": "Exists"}]})
    (fleet.folder.parent / "dump.json").write_text(json.dumps(body))
    given = ("import", "-f", str(fleet.folder.parent / "dump.json"))
    notes = json.loads(fleet(*given, "-o", "json", code=0).out)["agents"][0]["notes"]
    path = "Deployment spec.template.spec.hostNetwork"
    assert [note["path"] for note in notes if note["fate"] == "lost"] == [path]
    assert f"  lost: {path}: " in fleet(*given, code=0).out
