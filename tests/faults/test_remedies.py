"""Every call of every remedy, with every fault: the agent ends as it would have, and nothing well is touched."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from reconciler.model.agent import Remedy
from tests.doubles.faulty import Fault
from tests.faults.remedies import AILMENTS, Ailment, Case

MEMORY = Path("/dev/shm")


@pytest.fixture
def folder():
    base = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="reconciler-remedies-", dir=base) as name:
        yield Path(name)


@pytest.mark.parametrize("ailment", AILMENTS, ids=lambda one: one.remedy.value)
def test_every_boundary_of_a_remedy_converges(ailment: Ailment, folder: Path, record_property) -> None:
    """A remedy that failed counts as one that was taken, and the next one follows: so a rollback that could not even
    begin ends in the quarantine that stands after it on its ladder, with all that runs left as it is.
    """
    case = Case(ailment, folder / "prepared")
    case.prepare()
    reference = case.replay(folder / "reference")
    assert (reference.settled, reference.taken, reference.open_journal) == (True, 1, 0)
    assert (reference.audit, reference.sick > 0) == ("", ailment.remedy is Remedy.QUARANTINE)
    assert reference.kept == ailment.keeps
    ends = [reference]
    if ailment.remedy is Remedy.ROLLBACK:
        not_begun = reference.calls.index("source.revision") + 1
        given_up = case.replay(folder / "given-up", at=not_begun, fault=Fault.ERROR)
        assert (given_up.taken, given_up.settled, given_up.turns) == (2, True, reference.turns - 1)
        ends.append(given_up)
    for at in range(1, len(reference.calls) + 1):
        for fault in Fault:
            end = case.replay(folder / "run", at=at, fault=fault)
            where = f"{ailment.remedy}: {fault} at call {at} of {len(reference.calls)}, {end.calls[at - 1]}"
            assert end.settled, f"{where}: something is left to do, or the plan is not empty"
            assert (end.open_journal, end.audit) == (0, ""), where
            assert end.taken <= 2, where
            assert len(set(end.deleted)) == len(end.deleted), where
            assert (end.agent, end.objects, end.kept, end.sick) in [
                (one.agent, one.objects, one.kept, one.sick) for one in ends
            ], where
    record_property("remedies", len(reference.calls) * len(Fault))
