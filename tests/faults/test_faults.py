"""Every call of every scenario, with every fault: the same end, nothing twice, nothing stuck, the next plan empty."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.doubles.faulty import Fault
from tests.faults.harness import prepare, replay
from tests.faults.scenarios import SCENARIOS, Scenario

MEMORY = Path("/dev/shm")  # a folder in memory, where there is one: SQLite's syncs cost nothing there


@pytest.fixture
def folder():
    base = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="reconciler-faults-", dir=base) as name:
        yield Path(name)


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value.replace(" ", "-"))
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_boundary_converges(scenario: Scenario, fault: Fault, folder: Path, record_property):
    source = prepare(scenario, folder / "prepared")
    reference = replay(scenario, source, folder / "prepared", folder / "reference")
    assert (reference.passes, reference.open_journal, reference.plan_changes) == (scenario.passes, 0, 0)
    assert reference.audit == ""
    for at in range(1, len(reference.calls) + 1):
        end = replay(scenario, source, folder / "prepared", folder / "run", at=at, fault=fault)
        where = f"{scenario.name}: {fault} at call {at} of {len(reference.calls)}, {end.calls[at - 1]}"
        assert end.open_journal == 0, where
        assert end.plan_changes == 0, where
        assert end.audit == "", where
        assert end.created_twice == (), where
        assert end.deleted_twice == (), where
        assert end.records == reference.records, where
        assert end.objects == reference.objects, where
    record_property("boundaries", len(reference.calls))
