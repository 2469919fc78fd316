"""`reconciler approve`: what is held is listed, allowed by what was seen, and goes with the next apply."""

from __future__ import annotations

import json

from tests.cli.conftest import Program


def lose_all_but_one(fleet: Program, agents: int) -> None:
    """Applied with so many agents more, of which all are gone from Git again."""
    file = fleet.folder / "agents" / "demo" / "hello.yaml"
    (fleet.folder / "fleet.yaml").write_text(
        (fleet.folder / "fleet.yaml").read_text().replace("run: processes", "run: nothing")
    )
    more = [file.with_name(f"more{number}.yaml") for number in range(agents)]
    for number, path in enumerate(more):
        path.write_text(file.read_text().replace("name: hello", f"name: more{number}"))
    fleet.commit()
    fleet("apply", "--auto-approve", "--timeout", "1s")
    for path in more:
        path.unlink()
    fleet.commit()


def test_deletions_that_are_held_are_listed_approved_and_done(fleet: Program) -> None:
    assert "Nothing is held" in fleet("approve", code=0).err
    lose_all_but_one(fleet, 5)
    listed = fleet("approve", code=0).out
    assert "5 deletes, over the budget of 3" in listed
    assert "- demo/more4" in listed
    (hold,) = json.loads(fleet("approve", "-o", "json", code=0).out)["held"]
    assert hold["approval"] in listed
    assert "nothing that is held can be approved as '000000000000'" in fleet("approve", "000000000000", code=1).err
    done = fleet("approve", hold["approval"], "--reason", "they were a trial", code=0)
    assert "the deletion of 5 agents" in done.out
    assert "approved by" in fleet("plan", "-o", "json").out
    fleet("apply", "--auto-approve", "--timeout", "1s")
    assert "more" not in fleet("get", "agents", "-o", "name", code=0).out
    assert any("they were a trial" in line for line in fleet("audit", code=0).out.splitlines() if "approve" in line)


def test_what_cannot_be_meant_is_told(fleet: Program) -> None:
    assert "is not a duration" in fleet("approve", "0" * 12, "--for", "soon", code=1).err
    assert "more than nothing" in fleet("approve", "0" * 12, "--for", "0s", code=1).err
