"""audit and registry as people type them: lists, exports, checkpoints, checks, backups, and what forgers meet."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.adapters.stored.codec import decode_audit, encode
from reconciler.cli.main import main
from reconciler.model.audit import GENESIS, next_entry

from .conftest import Done, Program

IDLE = (
    "apiVersion: agents.codevald.io/v1\nkind: Fleet\nmetadata: {name: fleet}\n"
    "spec: {clusters: [{name: local, embedded: {run: nothing}}]}\n"
)
needs_openssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A fleet of one agent, created, then scaled, on a cluster that runs nothing."""
    base = tmp_path_factory.mktemp("audit")
    home = base / "home"
    home.mkdir()
    Program(base, home)("init", "fleet", code=0)
    program = Program(base / "fleet", home)
    (program.folder / "fleet.yaml").write_text(IDLE)
    program.commit()
    program("apply", "--auto-approve", code=0)
    agent = program.folder / "agents" / "demo" / "hello.yaml"
    agent.write_text(agent.read_text().replace("replicas: 1", "replicas: 2"))
    program.commit()
    program("apply", "--auto-approve", code=0)
    return program


@dataclass(frozen=True, slots=True)
class Inside:
    """`reconciler` in a folder, in this process: these are many runs."""

    folder: Path

    def __call__(self, *arguments: str, code: int) -> Done:
        """Run a command, which must end with `code`."""
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with redirect_stdout(out), redirect_stderr(err):
            ended = main([*arguments, "-C", str(self.folder)])
        done = Done(ended, *(stream.buffer.getvalue().decode() for stream in (out, err)))
        assert ended == code, f"{arguments}: {done}"
        assert "unexpected" not in done.err, done.err
        return done


@pytest.fixture(scope="module")
def still(applied: Program) -> Inside:
    """That fleet, for who only looks at it."""
    return Inside(applied.folder)


@pytest.fixture
def fleet_of_one(applied: Program, tmp_path: Path) -> Inside:
    """A copy of it, to do things to."""
    folder = tmp_path / "fleet"
    shutil.copytree(applied.folder, folder, symlinks=True)
    return Inside(folder)


def listed(program: Inside, *arguments: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in program("audit", *arguments, "-o", "json", code=0).out.splitlines()]


def tamper(program: Inside, *statements: str) -> None:
    with closing(sqlite3.connect(program.folder / ".reconciler" / "registry.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_entries_are_chosen_by_agent_actor_action_age_and_number(still: Inside) -> None:
    everything = listed(still)
    assert [entry["seq"] for entry in everything] == list(range(1, len(everything) + 1))
    assert listed(still, "list") == everything, "list is what audit does by itself"
    assert [entry["action"] for entry in listed(still, "demo/hello", "--limit", "2")] == ["scale", "applied"]
    assert {entry["action"] for entry in listed(still, "--action", "app*")} == {"applied"}
    assert listed(still, "--actor", "*@*") == everything
    assert listed(still, "--actor", "nobody") == []
    assert listed(still, "--since", "2") == everything[2:]
    assert listed(still, "--since", "24h") == everything
    assert listed(still, "--since", "2999-01-01") == []
    assert listed(still, "--since", "2026-01-01T00:00:00Z", "--limit", "1") == everything[-1:]
    lines = still("audit", "list", "demo/hello", "--limit", "1", code=0).out.splitlines()
    assert lines[0].split() == ["SEQ", "AT", "BY", "ACTION", "AGENT", "COMMIT", "WHAT"]
    assert len(lines) == 2
    assert "No such entries" in still("audit", "--actor", "nobody", code=0).err


def test_mistakes_of_listing_are_told(still: Inside) -> None:
    assert "no entry, age or time" in still("audit", "--since", "yesterday", code=1).err
    assert "Did you mean 'verify'" in still("audit", "verfy", code=1).err
    assert "does not name an agent" in still("audit", "a/b/c", code=1).err
    assert "--limit" in still("audit", "--limit", "-1", code=1).err


def test_an_export_is_checked_anywhere(still: Inside, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    told = still("audit", "export", str(file), code=0).out
    head = json.loads(still("audit", "verify", "-o", "json", code=0).out)["head"]
    assert head in told
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    outside = Inside(tmp_path)
    assert f"head {head}" in outside("audit", "verify", "audit.jsonl", code=0).out
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], lines[1].replace(b"create", b"delete"), *lines[2:]]))
    done = outside("audit", "verify", "audit.jsonl", code=1)
    assert "entry 2 was changed after it was written" in done.out
    file.write_bytes(b"".join(lines[:1] + lines[2:]))
    assert "entry 2 is missing" in outside("audit", "verify", "audit.jsonl", code=1).out
    assert "cannot read" in outside("audit", "verify", "none.jsonl", code=1).err
    assert "cannot write" in still("audit", "export", str(tmp_path / "no" / "file"), code=1).err
    assert "fleet.yaml is there, and is no export" in still("audit", "export", "fleet.yaml", code=1).err


FORGERIES: dict[str, tuple[list[str], str]] = {
    "changed": (["UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 3"], "entry 3 was changed"),
    "removed": (["DELETE FROM audit WHERE seq = 3"], "entry 3 is missing"),
    "cut": (["DELETE FROM audit WHERE seq > 3"], "entries 4 to 5 are missing at the end"),
    "moved": (
        [
            "UPDATE audit SET seq = -1 WHERE seq = 3",
            "UPDATE audit SET seq = 3 WHERE seq = 4",
            "UPDATE audit SET seq = 4 WHERE seq = -1",
        ],
        "entry 3 does not continue",
    ),
    "put in": (
        [
            "UPDATE audit SET seq = -seq WHERE seq > 2",
            "INSERT INTO audit SELECT 3, at_ms, agent, fact, previous, hash FROM audit WHERE seq = 2",
            "UPDATE audit SET seq = -seq + 1 WHERE seq < 0",
        ],
        "entry 3 does not continue",
    ),
    "no text": (["UPDATE audit SET fact = x'ff' WHERE seq = 3"], "entry 3 was changed"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_log_is_found_by_every_command_that_reads_it_whole(
    fleet_of_one: Inside, tmp_path: Path, name: str
) -> None:
    statements, reason = FORGERIES[name]
    tamper(fleet_of_one, *statements)
    assert reason in fleet_of_one("audit", "verify", code=1).out
    value = json.loads(fleet_of_one("audit", "verify", "-o", "json", code=1).out)
    assert value["sound"] is False
    assert reason in value["reason"]
    done = fleet_of_one("registry", "check", code=1)
    assert reason in done.out
    assert "Keep a copy" in done.err


def write_anew(program: Inside) -> None:
    """All that a forger with the file can do: another story, hashed anew from its beginning to the head."""
    path = program.folder / ".reconciler" / "registry.db"
    with closing(sqlite3.connect(path)) as connection:
        previous = GENESIS
        for row in connection.execute("SELECT seq, at_ms, fact, previous, hash FROM audit ORDER BY seq").fetchall():
            entry = decode_audit(row)
            fact = (
                entry.fact if entry.seq != 2 else type(entry.fact)(actor="eve", action="create", agent=entry.fact.agent)
            )
            forged = next_entry(fact, at_ms=entry.at_ms, seq=entry.seq, previous=previous)
            connection.execute(
                "UPDATE audit SET fact = ?, previous = ?, hash = ? WHERE seq = ?",
                (encode(fact), previous, forged.hash, entry.seq),
            )
            previous = forged.hash
        connection.execute("UPDATE head SET audit_hash = ?", (previous,))
        connection.commit()


@pytest.fixture
def signed(fleet_of_one: Inside, tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    """Writes a checkpoint, and answers the options that hold the chain against it."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)], check=True)
    file = tmp_path / "checkpoint.json"

    def sign() -> tuple[str, ...]:
        fleet_of_one("audit", "checkpoint", str(file), "--key", str(key), code=0)
        return "--checkpoint", str(file), "--key", f"{key}.pub"

    return sign


@needs_openssh
def test_a_checkpoint_holds_while_the_chain_only_grows(
    fleet_of_one: Inside, signed: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    options = signed()
    fleet_of_one("scale", "demo/hello", "3", "--for", "1h", "--reason", "launch", code=0)
    done = fleet_of_one("audit", "verify", *options, code=0)
    assert "It still holds what the checkpoint of " in done.out
    assert "up to entry 5, signed by SHA256:" in done.out
    fleet_of_one("audit", "export", str(tmp_path / "audit.jsonl"), code=0)
    value = json.loads(
        fleet_of_one("audit", "verify", str(tmp_path / "audit.jsonl"), *options, "-o", "json", code=0).out
    )
    assert value["checkpoint"]["seq"] == 5
    assert value["entries"] > 5


@needs_openssh
def test_a_chain_written_anew_is_found_by_its_checkpoint_alone(
    fleet_of_one: Inside, signed: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    options = signed()
    write_anew(fleet_of_one)
    assert "The audit chain is whole" in fleet_of_one("audit", "verify", code=0).out, "nobody can tell from it alone"
    assert "entry 5 is not the one that the checkpoint saw" in fleet_of_one("audit", "verify", *options, code=1).out
    fleet_of_one("audit", "export", str(tmp_path / "audit.jsonl"), code=0)
    assert "written anew" in fleet_of_one("audit", "verify", str(tmp_path / "audit.jsonl"), *options, code=1).out


@needs_openssh
def test_a_tail_cut_off_with_its_head_is_found_by_its_checkpoint(
    fleet_of_one: Inside, signed: Callable[..., tuple[str, ...]]
) -> None:
    options = signed()
    tamper(
        fleet_of_one,
        "DELETE FROM audit WHERE seq > 3",
        "UPDATE head SET audit_seq = 3, audit_hash = (SELECT hash FROM audit WHERE seq = 3)",
    )
    fleet_of_one("audit", "verify", code=0)
    assert "the checkpoint saw entry 5: it was cut" in fleet_of_one("audit", "verify", *options, code=1).out


@needs_openssh
def test_a_checkpoint_is_worth_its_signature(
    fleet_of_one: Inside, signed: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    options = signed()
    file = Path(options[1])
    file.write_text(file.read_text().replace('"seq": 5', '"seq": 4'))
    assert "the signature was not made of this" in fleet_of_one("audit", "verify", *options, code=1).err
    assert "go together" in fleet_of_one("audit", "verify", *options[:2], code=1).err
    file.write_text("{}")
    assert "it is no checkpoint" in fleet_of_one("audit", "verify", *options, code=1).err
    tamper(fleet_of_one, "UPDATE audit SET at_ms = 0 WHERE seq = 3")
    key = str(tmp_path / "key")
    done = fleet_of_one("audit", "checkpoint", str(file), "--key", key, code=1)
    assert "is broken, and is not signed" in done.err
    assert file.read_text() == "{}"


def test_history_says_who_changed_what_when_and_of_which_commit(applied: Program, still: Inside) -> None:
    out = still("history", "demo/hello", code=0).out
    commit = applied.git("rev-parse", "HEAD").strip()
    actor = str(listed(still)[0]["actor"])
    row = out.splitlines()[1].split()
    assert (row[0], row[2:]) == ("2", [actor, commit[:7], "ready"])
    assert "# revision 2, after 1\n      ~ replicas: 1 -> 2\n" in out
    value = json.loads(still("history", "demo/hello", "-o", "json", code=0).out)
    assert [one["path"] for one in value["revisions"][0]["changes"]] == ["replicas"]
    assert (value["revisions"][0]["commit"], value["revisions"][0]["actor"]) == (commit, actor)
    assert "was never applied" in still("history", "demo/nobody", code=1).err


def test_a_registry_in_order_is_said_to_be(still: Inside) -> None:
    assert "The registry is whole: 1 agent, " in still("registry", "check", code=0).out
    value = json.loads(still("registry", "check", "-o", "json", code=0).out)
    assert (value["sound"], value["faults"], value["agents"]) == (True, [], 1)


def test_what_does_not_fit_together_is_named(fleet_of_one: Inside) -> None:
    tamper(
        fleet_of_one,
        "DELETE FROM revisions WHERE number = 2",
        "UPDATE records SET version = version + 1",
        "DELETE FROM feed WHERE seq = 1",
    )
    done = fleet_of_one("registry", "check", code=1)
    assert "its present revision 2 is not in its history" in done.out
    assert "the columns of its row say other things" in done.out
    faults = json.loads(fleet_of_one("registry", "check", "-o", "json", code=1).out)["faults"]
    assert {fault["where"] for fault in faults} == {"demo/hello"}


def test_a_record_that_cannot_be_read_is_named_and_no_crash(fleet_of_one: Inside) -> None:
    tamper(fleet_of_one, "UPDATE records SET body = x'7b7d'")
    done = fleet_of_one("registry", "check", code=1)
    assert "its record cannot be read" in done.out
    assert "unexpected" not in done.err


def test_a_file_that_is_no_registry_is_said_to_be(fleet_of_one: Inside) -> None:
    path = fleet_of_one.folder / ".reconciler" / "registry.db"
    path.write_bytes(b"no database at all" * 100)
    done = fleet_of_one("registry", "check", code=1)
    assert "file is not a database" in done.err
    assert "restore it from a backup" in done.err


def test_one_goes_back_to_a_backup_by_putting_it_in_place(fleet_of_one: Inside, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    told = fleet_of_one("registry", "backup", str(backup), code=0).out
    before = fleet_of_one("audit", "verify", code=0).out
    assert before.split("head ")[1].strip(".\n") in told
    fleet_of_one("destroy", "--auto-approve", code=0)
    state = fleet_of_one.folder / ".reconciler"
    for name in ("registry.db", "registry.db-wal", "registry.db-shm"):
        (state / name).unlink(missing_ok=True)
    shutil.copy(backup, state / "registry.db")
    assert fleet_of_one("audit", "verify", code=0).out == before
    fleet_of_one("registry", "check", code=0)
    assert "would be lost with it" in fleet_of_one("registry", "backup", ".reconciler/copy.db", code=1).err
    assert "fleet.yaml is there, and is no backup" in fleet_of_one("registry", "backup", "fleet.yaml", code=1).err


def test_old_history_is_pruned_and_the_audit_says_so(fleet_of_one: Inside) -> None:
    assert "Would take away" in fleet_of_one("registry", "prune", "--older-than", "90d", "--dry-run", code=0).out
    before = len(listed(fleet_of_one))
    value = json.loads(fleet_of_one("registry", "prune", "--older-than", "90d", "-o", "json", code=0).out)
    assert (value["dryRun"], value["revisions"]) == (False, 0)
    entries = listed(fleet_of_one)
    assert (len(entries), entries[-1]["action"]) == (before + 1, "prune")
    assert "younger than 1h is kept" in fleet_of_one("registry", "prune", "--older-than", "1s", code=1).err
    assert "is not a duration" in fleet_of_one("registry", "prune", "--older-than", "soon", code=1).err
    assert "--older-than" in fleet_of_one("registry", "prune", code=1).err
