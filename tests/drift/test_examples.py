"""The example fleet settles on a real control plane, whose controllers write beside us: revisions, scale and status."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.model.events import Outcome
from reconciler.model.plan import Plan
from tests.controlplane.plane import ControlPlane
from tests.drift.stage import assert_nothing_to_say
from tests.engine.fleets import FleetRepo, applied, finished, plan_of
from tests.kubernetes.fleets import fleet_on

EXAMPLES = Path(__file__).parents[2] / "examples" / "agents"
NAMESPACES = sorted(path.name for path in (EXAMPLES / "agents").iterdir() if path.is_dir())
AGENTS = sorted(f"{path.parent.name}/{path.stem}" for path in (EXAMPLES / "agents").glob("*/*.yaml"))


@pytest.fixture
def repo(control_plane: ControlPlane, tmp_path: Path):
    for namespace in NAMESPACES:
        control_plane.create_namespace(namespace)
    made = FleetRepo(tmp_path / "fleet", fleet_on(control_plane, name="examples"))
    files = [path for part in ("agents", "templates") for path in sorted((EXAMPLES / part).rglob("*.yaml"))]
    made.commit({str(path.relative_to(EXAMPLES)): path.read_text() for path in files})
    yield made
    control_plane.kubectl("delete", "namespace", "--wait=false", *NAMESPACES)


async def test_a_plan_after_an_apply_of_every_example_is_empty(repo: FleetRepo, record_property):
    async with await repo.session() as session:
        done = finished(await applied(session))
        assert {name: (one.outcome, one.reason) for name, one in done.items()} == dict.fromkeys(
            AGENTS, (Outcome.APPLIED, "")
        )
        assert_nothing_to_say(await plan_of(session))
    assert_nothing_to_say(await _anew(repo))
    for _ in AGENTS:
        record_property("settled", "examples on a real control plane")


async def _anew(repo: FleetRepo) -> Plan:
    """The plan of somebody who remembers nothing but what is on record."""
    async with await repo.session() as session:
        return await plan_of(session)
