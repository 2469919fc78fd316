"""What real Helm makes of charts, without a cluster: it lints them, and gives the objects that `render` gives."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.model.agent import Agent
from tests.helm.helm import Helm, write
from tests.render.charts import any_agents, by_kind, files, objects
from tests.render.test_render import CASES

pytestmark = pytest.mark.helm


@pytest.mark.parametrize("case", sorted(CASES))
def test_helm_lints_a_chart_without_a_warning(helm: Helm, tmp_path: Path, case: str) -> None:
    agent, where = CASES[case]
    for replicas in where.values():
        helm("lint", "--strict", str(write(files(agent, replicas), tmp_path)))


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_default_objects_are_those_that_render_gives(helm: Helm, tmp_path: Path, case: str) -> None:
    agent, where = CASES[case]
    for cluster, replicas in where.items():
        total = sum(where.values())
        folder = write(files(agent, replicas, total), tmp_path / cluster)
        got = by_kind(helm.template(folder, namespace=agent.name.namespace))
        assert got == by_kind(objects(agent, replicas, total))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(any_agents(), st.integers(0, 3), st.integers(0, 2))
def test_any_agent_survives_its_chart(helm: Helm, agent: Agent, replicas: int, elsewhere: int) -> None:
    folder = Path(tempfile.mkdtemp(dir=helm.home))
    write(files(agent, replicas, replicas + elsewhere), folder)
    got = by_kind(helm.template(folder, namespace=agent.name.namespace))
    assert got == by_kind(objects(agent, replicas, replicas + elsewhere))
    shutil.rmtree(folder)
