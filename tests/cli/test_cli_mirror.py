"""A fleet whose registry is far: while it is away the agents are still listed, with the age of the answer, and nothing
is planned or done.
"""

from __future__ import annotations

import json
from functools import partial

from tests.cli.conftest import Edit, Program
from tests.doubles.arango.double import Settings, arango_double

PASSWORD = "hush-hush"


def test_agents_are_listed_while_the_registry_is_away(fleet: Program, edit: Edit) -> None:
    run = partial(fleet, ARANGO_USER="root", ARANGO_PASSWORD=PASSWORD)
    with arango_double(settings=Settings(root_password=PASSWORD)) as double:
        entry = f"{{url: '{double.url}', database: fleet, usernameEnv: ARANGO_USER, passwordEnv: ARANGO_PASSWORD}}"
        local = "clusters: [{name: local, embedded: {run: nothing}}]"
        edit("fleet.yaml", "spec:\n", f"spec:\n  registry: {{arango: {entry}}}\n  {local}\n")
        fleet.commit()
        run("apply", "--auto-approve", code=0)
        here = run("get", "agents", "-o", "json", code=0)
        assert json.loads(here.out)["items"][0]["state"] == "running"
        assert "away" not in here.err
    away = run("get", "agents", "-o", "json", code=0)
    assert away.out == here.out
    assert "warning: the registry is away, and this is as of " in away.err
    where = run("get", "agents", "--where", "state = running", "-o", "name", code=0)
    assert where.out == "demo/hello\n"
    assert "the registry is away" in where.err
    assert "the registry is away" in run("get", "agents", "--count-by", "state", code=0).err
    planned = run("plan", code=1)
    assert "registry: unreadable" in planned.out
    assert "1 to delete" not in planned.out
    for arguments in (["audit", "verify"], ["history", "demo/hello"], ["suspend", "demo/hello"]):
        done = run(*arguments, code=1)
        assert "error: " in done.err
        assert "unexpected" not in done.err
    (fleet.folder / ".reconciler" / "mirror.db").unlink()
    assert "error: " in run("get", "agents", code=1).err
    edit("fleet.yaml", f"  registry: {{arango: {entry}}}\n", "")
    fleet.commit()
