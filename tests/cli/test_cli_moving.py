"""`reconciler registry export`, `import` and `migrate`, and a fleet that lives in ArangoDB's double."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.cli.conftest import Done, Edit, Program
from tests.doubles.arango.double import ArangoDouble, Settings, arango_double

PASSWORD = "hush-hush"


@pytest.fixture(scope="module")
def double() -> Iterator[ArangoDouble]:
    with arango_double(settings=Settings(root_password=PASSWORD)) as running:
        yield running
        assert running.refused == []


@pytest.fixture
def applied(fleet: Program, edit: Edit) -> Program:
    """A fleet with something on record, whose cluster starts no processes."""
    edit("fleet.yaml", "spec:\n", "spec:\n  clusters: [{name: local, embedded: {run: nothing}}]\n")
    fleet.commit()
    fleet("apply", "--auto-approve", code=0)
    return fleet


Run = Callable[..., Done]


def records(run: Run) -> tuple[str, str, str]:
    """What people see of the registry."""
    return (
        run("audit", "verify", code=0).out,
        run("audit", "list", "-o", "json", code=0).out,
        run("get", "agents", "-o", "json", code=0).out,
    )


def test_a_fleet_moves_to_arangodb_and_back(applied: Program, double: ArangoDouble) -> None:
    there: Run = partial(applied, ARANGO_USER="root", ARANGO_PASSWORD=PASSWORD)
    before = records(applied)
    told = there("registry", "migrate", "--to", f"{double.url}/fleet", code=0)
    assert PASSWORD not in told.out + told.err
    (entry,) = [line.strip() for line in told.out.splitlines() if "registry:" in line]
    manifest = applied.folder / "fleet.yaml"
    old = manifest.read_text()
    manifest.write_text(old.replace("spec:\n", f"spec:\n  {entry}\n", 1))
    applied.commit("Keep the registry in ArangoDB")
    assert records(there) == before
    assert there("plan", "--detailed-exitcode", code=0).out.endswith("No changes.\n")
    assert "0 agents" not in there("get", "agents", "--where", "state = running or exists name", code=0).out
    looks = json.loads(there("doctor", "-o", "json", code=0).out)
    assert {look["name"]: look["state"] for look in looks}["arangodb schema"] == "ok"
    assert "The registry is whole: 1 agent" in there("registry", "check", code=0).out
    copied = there("registry", "backup", str(applied.folder.parent / "kept.jsonl"), "-o", "json", code=0)
    assert json.loads(copied.out)["agents"] == 1
    assert "Took away what is older" in there("registry", "prune", "--older-than", "90d", code=0).out
    there("suspend", "demo/hello", "--reason", "a holiday", code=0)
    after = records(there)
    assert after != before
    back = there("registry", "migrate", "--to", "sqlite:back.db", code=0)
    assert "registry: {sqlite: {path: back.db}}" in back.out
    manifest.write_text(old.replace("spec:\n", "spec:\n  registry: {sqlite: {path: back.db}}\n", 1))
    applied.commit("Keep the registry in a file")
    assert records(applied) == after
    applied("resume", "demo/hello", code=0)


def test_an_export_is_imported_into_an_empty_registry_only(applied: Program, tmp_path: Path) -> None:
    before = records(applied)
    file = tmp_path / "fleet.jsonl"
    assert "Wrote" in applied("registry", "export", str(file), code=0).out
    assert file.stat().st_mode & 0o777 == 0o600
    assert "is there already" in applied("registry", "export", str(file), code=1).err
    applied("-C", applied.folder.name, "registry", "export", "moved.jsonl", code=0, folder=applied.folder.parent)
    assert (applied.folder / "moved.jsonl").read_bytes() == file.read_bytes()
    applied("registry", "export", str(file), "--force", code=0)
    assert "in use" in applied("registry", "import", str(file), code=1).err
    registry = applied.folder / ".reconciler" / "registry.db"
    for path in registry.parent.glob("registry.db*"):
        path.unlink()
    assert "1 agents" in applied("registry", "import", str(file), code=0).out
    assert records(applied) == before


def test_a_spoiled_export_is_refused_whole(applied: Program, tmp_path: Path) -> None:
    file = tmp_path / "fleet.jsonl"
    applied("registry", "export", str(file), code=0)
    lines = file.read_bytes().splitlines(keepends=True)
    for registry in (applied.folder / ".reconciler").glob("registry.db*"):
        registry.unlink()
    for spoiled in (lines[:-1], lines[1:], [*lines[:3], b"nonsense\n", *lines[3:]]):
        file.write_bytes(b"".join(spoiled))
        applied("registry", "import", str(file), code=1)
    assert "0 entries" in applied("audit", "verify", code=0).out
    file.write_bytes(b"".join(lines))
    applied("registry", "import", str(file), code=0)


TARGETS = ("", "nowhere", "sqlite:", "ftp://host/x", "http://host:1", "http://u:p@host:1/db", "sqlite:../x")


def test_a_target_that_names_no_registry_is_refused(fleet: Program) -> None:
    for to in TARGETS:
        told = fleet("registry", "migrate", "--to", to, code=1, ARANGO_USER="u", ARANGO_PASSWORD="p")
        assert "names no registry" in told.err or "leads out" in told.err


def test_an_export_of_nothing_readable_is_told(fleet: Program, tmp_path: Path) -> None:
    assert "cannot read" in fleet("registry", "import", str(tmp_path / "none"), code=1).err
    assert "cannot write" in fleet("registry", "export", str(tmp_path / "no" / "folder"), code=1).err
