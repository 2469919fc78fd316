"""A reader that stays, taken from commit to commit, sees what a fresh one sees; and what it may remember of files."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from reconciler.adapters.git import CheckedOut
from reconciler.adapters.git.disk import Seen
from reconciler.model.errors import SourceError
from reconciler.model.source import Blob, Revision
from tests.contracts.repositories import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    for number in range(5):
        made.write(f"agents/{number}.yaml", f"{number}")
    made.commit()
    return made


async def blobs(source: CheckedOut, repository: Repository) -> list[tuple[str, Blob]]:
    head = repository.git("rev-parse", "HEAD")
    return list((await source.blobs(Revision(commit=head))).items())


def edit(repository: Repository, chance: random.Random) -> None:
    """One file comes, changes, goes, moves, or becomes a link or what does not count."""
    files = sorted(path for path in repository.fleet.rglob("*") if path.is_symlink() or path.is_file())
    path = chance.choice(files)
    fresh = repository.fleet / chance.choice(["a", "agents", "z"]) / f"{chance.randrange(10)}.{chance.choice(NAMES)}"
    fresh.parent.mkdir(exist_ok=True)
    match chance.randrange(5):
        case 0 if not fresh.exists() and not fresh.is_symlink():
            fresh.write_text(str(chance.random()))
        case 1 if not path.is_symlink():
            path.write_text(str(chance.random()))
        case 2 if len(files) > 1:
            path.unlink()
        case 3 if not fresh.exists() and not fresh.is_symlink():
            path.rename(fresh)
        case _:
            path.unlink()
            path.symlink_to("elsewhere")


NAMES = ["yaml", "yml", "md"]


@pytest.mark.parametrize("seed", range(6))
async def test_a_reader_that_stays_sees_what_a_fresh_one_sees(repository: Repository, seed: int) -> None:
    chance = random.Random(seed)
    stays = CheckedOut(repository.root, repository.fleet)
    commits = []
    for _ in range(12):
        for _ in range(chance.randrange(1, 4)):
            edit(repository, chance)
        commits.append(repository.commit())
        fresh = CheckedOut(repository.root, repository.fleet)
        assert await blobs(stays, repository) == await blobs(fresh, repository)
        assert (await stays.revision("")).dirty == ()
    for commit in chance.choices(commits, k=6):
        fresh = CheckedOut(repository.root, repository.fleet)
        revision = Revision(commit=commit)
        assert list((await stays.blobs(revision)).items()) == list((await fresh.blobs(revision)).items())


async def test_an_unchanged_commit_is_answered_with_what_was_read(repository: Repository) -> None:
    stays = CheckedOut(repository.root, repository.fleet)
    first = await stays.blobs(await stays.revision(""))
    repository.git("commit", "--quiet", "--allow-empty", "--message", "nothing")
    second = await stays.blobs(await stays.revision(""))
    assert second is first
    repository.write("agents/1.yaml", "other")
    repository.commit()
    third = await stays.blobs(await stays.revision(""))
    assert [path for path in third if third[path] is not first[path]] == ["agents/1.yaml"]


@pytest.mark.parametrize("names", [[b"0.yaml", b"0.yaml"], [b"0.yaml", b"1.yaml", b"1.yaml"], [b"1.yaml", b"0.yaml"]])
async def test_a_tree_that_nobody_honest_writes_is_judged_as_a_whole(
    repository: Repository, names: list[bytes]
) -> None:
    stays = CheckedOut(repository.root, repository.fleet)
    await blobs(stays, repository)
    entries = [("100644", name, repository.blob(b"%d" % number)) for number, name in enumerate(names)]
    agents = repository.tree(*entries, literally=True)
    repository.commit_fleet(repository.tree(("40000", b"agents", agents)))
    answers: list[object] = []
    for source in (stays, CheckedOut(repository.root, repository.fleet)):
        try:
            answers.append(dict(await blobs(source, repository)))
        except SourceError as error:
            answers.append(error.message)
    assert answers[0] == answers[1]


async def test_a_file_that_was_touched_is_looked_at_again(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Seen, "SETTLED_NS", -(10**18))
    source = CheckedOut(repository.root, repository.fleet)
    assert (await source.revision("")).dirty == ()
    file = repository.fleet / "agents/1.yaml"
    os.utime(file, (1, 1))
    assert (await source.revision("")).dirty == ()
    file.write_text("x")
    assert (await source.revision("")).dirty == ("agents/1.yaml",)
    file.unlink()
    assert (await source.revision("")).dirty == ("agents/1.yaml",)
    file.write_text("1")
    assert (await source.revision("")).dirty == ()


async def test_a_file_that_was_just_written_is_not_remembered(repository: Repository) -> None:
    """Two writes within one tick of the file system's clock look alike."""
    source = CheckedOut(repository.root, repository.fleet)
    file = repository.fleet / "agents/1.yaml"
    before = file.stat()
    assert (await source.revision("")).dirty == ()
    file.write_text("x")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (await source.revision("")).dirty == ("agents/1.yaml",)
