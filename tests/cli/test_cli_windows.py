"""Change windows at the command line: what waits is told, `apply` is bound, and who is not is on record."""

from __future__ import annotations

import json

from .conftest import Edit, Program


def test_apply_is_bound_to_change_windows_unless_told_otherwise(fleet: Program, edit: Edit) -> None:
    text = (fleet.folder / "fleet.yaml").read_text()
    (fleet.folder / "fleet.yaml").write_text(text + "\n  windows: [{name: freeze, effect: deny}]\n")
    fleet.commit()
    waiting = "held: demo/hello waits with no end in sight: nothing goes out in the change window freeze; "
    assert waiting in fleet("plan", code=0).out
    assert json.loads(fleet("plan", "-o", "json", code=0).out)["held"][0]["code"] == "window"
    assert "freeze" in fleet("why", "demo/hello").out
    fleet("apply", "--auto-approve", code=1)
    assert "No agents on record" in fleet("get", "agents", code=0).err
    assert "1 to create" in fleet("plan", "--ignore-windows", "--out", "next.plan", code=0).out
    fleet("apply", "next.plan", code=0)
    assert "ignore-windows" in fleet("audit", code=0).out
    fleet("scale", "demo/hello", "2", code=0)
