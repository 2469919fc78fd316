"""Hostile and mistaken files: a finding with its place, and the healthy agent beside them as it was."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.model.identity import AgentName
from reconciler.model.source import Severity
from reconciler.spec import SpecCache
from tests.hostile.files import HOSTILE
from tests.spec.writing import blob, codes, read

ROOT = Path(__file__).parents[2]
GOOD = AgentName(namespace="demo", name="good")
BAD = "agents/demo/bad.yaml"


def test_there_are_at_least_a_hundred_and_each_stands_once() -> None:
    assert len(HOSTILE) >= 100
    assert len({name for name, _, _ in HOSTILE}) == len(HOSTILE)


@pytest.mark.parametrize(("data", "code"), [pytest.param(data, code, id=name) for name, data, code in HOSTILE])
def test_a_hostile_file_is_a_placed_finding_and_harms_nobody(data: bytes, code: str) -> None:
    alone = read()
    declaration = read({BAD: data})

    assert code in codes(declaration)
    lines = data.decode("utf-8", "replace").count("\n") + 1
    for found in declaration.diagnostics:
        assert found.severity is Severity.ERROR
        assert found.position.path == BAD
        assert 1 <= found.position.line <= lines + 1
        assert found.position.column >= 1
        assert len(found.message) <= 400
        assert len(found.snippet) <= 200
        assert "\n" not in found.message
    assert declaration.agents == alone.agents
    assert GOOD in declaration.agents
    assert BAD in declaration.frozen_paths or declaration.frozen_agents, "left as it was, not deleted"


def test_all_of_them_are_read_within_little_memory_and_time() -> None:
    program = (
        "from tests.hostile.files import HOSTILE\n"
        "from tests.spec.writing import read\n"
        "print(sum(bool(read({'agents/demo/bad.yaml': data}).diagnostics) for _, data, _ in HOSTILE))\n"
    )

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        resource.setrlimit(resource.RLIMIT_AS, (400 * 2**20, 400 * 2**20))

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        preexec_fn=limited,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout.strip(), done.stderr) == (str(len(HOSTILE)), "")


def test_a_symbolic_link_is_not_followed() -> None:
    declaration = read({BAD: blob("/etc/passwd", mode="120000")})

    assert codes(declaration) == ["symlink"]
    assert BAD in declaration.frozen_paths
    assert GOOD in declaration.agents


def test_agents_behind_a_linked_folder_are_not_gone_unseen() -> None:
    links = {path: blob("../shared", mode="120000") for path in ("agents/team", "programs/shared", "agents/notes.md")}
    cache = SpecCache()
    linked = read(links, cache=cache)

    assert codes(linked) == ["symlink"]
    assert set(linked.frozen_paths) == {"agents/team"}
    assert GOOD in linked.agents
    assert codes(read({"agents/team": blob("kind: nothing of ours")}, cache=cache)) == []


def test_a_thousand_broken_files_beside_a_healthy_one() -> None:
    declaration = read({f"agents/demo/bad-{number}.yaml": b"a: [" + b"x" * number for number in range(1000)})

    assert len(declaration.diagnostics) == 1000
    assert list(declaration.agents) == [GOOD]
