"""What every source does: commits of a local repository, the files as they are, a mirror of a remote one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.adapters.git import WorkingTree
from reconciler.model.errors import SourceError
from reconciler.model.source import Blob, Revision
from reconciler.ports import Source
from tests.contracts.conftest import OpenSource, source_of
from tests.contracts.repositories import Repository


async def look(source: Source, ref: str = "") -> tuple[Revision, Mapping[str, Blob]]:
    revision = await source.revision(ref)
    return revision, await source.blobs(revision)


def of_git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


async def test_files_come_by_path_from_the_fleets_folder(repository: Repository, open_source: OpenSource) -> None:
    repository.write("fleet.yaml", "kind: Fleet\n")
    repository.write("agents/support/triage.yml", "kind: Agent\n")
    (repository.root / "outside.yaml").write_text("x")
    commit = repository.commit()
    revision, blobs = await look(await open_source())
    assert (revision.commit, revision.ref, revision.dirty) == (commit, "main", ())
    assert {path: blob.data for path, blob in blobs.items()} == {
        "agents/support/triage.yml": b"kind: Agent\n",
        "fleet.yaml": b"kind: Fleet\n",
    }
    assert list(blobs) == sorted(blobs)


async def test_a_blobs_id_is_gits(repository: Repository, open_source: OpenSource) -> None:
    for name, data in (("a.yaml", b""), ("b.yaml", b"\xff\x00\r\n"), ("c.yaml", b"x" * 100_000)):
        (repository.fleet / name).write_bytes(data)
    repository.commit()
    _, blobs = await look(await open_source())
    assert {blob.id: blob.data for blob in blobs.values()} == {of_git(b.data): b.data for b in blobs.values()}
    assert blobs["b.yaml"].data == b"\xff\x00\r\n"


async def test_only_yaml_and_links_are_delivered(repository: Repository, open_source: OpenSource) -> None:
    repository.write("a.yaml")
    repository.write("README.md")
    repository.write("big.bin", "x" * (5 << 20))
    repository.write("program.py").chmod(0o755)
    repository.write("run.yaml").chmod(0o755)
    repository.write(".reconciler/state.yaml")
    (repository.fleet / "link").symlink_to("/etc/passwd")
    (repository.fleet / "loop.yaml").symlink_to("loop.yaml")
    repository.commit()
    _, blobs = await look(await open_source())
    assert {path: blob.mode for path, blob in blobs.items()} == {
        "a.yaml": "100644",
        "link": "120000",
        "loop.yaml": "120000",
        "run.yaml": "100755",
    }
    assert blobs["link"].data == b"/etc/passwd"
    assert blobs["loop.yaml"].id == of_git(b"loop.yaml")


async def test_an_empty_folder_is_empty(repository: Repository, open_source: OpenSource) -> None:
    repository.write("README.md")
    repository.commit()
    _, blobs = await look(await open_source())
    assert blobs == {}


async def test_a_change_is_named_by_its_path(repository: Repository, open_source: OpenSource) -> None:
    for name in ("same.yaml", "changed.yaml", "removed.yaml", "moved.yaml", "mode.yaml", "notes.txt"):
        repository.write(name, name)
    repository.commit()
    source = await open_source()
    old, before = await look(source)
    repository.write("changed.yaml", "other")
    repository.write("notes.txt", "other")
    repository.write("new/one.yaml")
    (repository.fleet / "removed.yaml").unlink()
    (repository.fleet / "moved.yaml").rename(repository.fleet / "elsewhere.yaml")
    (repository.root / "outside.yaml").write_text("x")
    repository.commit()
    source = await open_source()
    new, after = await look(source)
    differ = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    changed = await source.changed(old, new)
    assert differ == {"changed.yaml", "removed.yaml", "moved.yaml", "elsewhere.yaml", "new/one.yaml"}
    assert changed == differ or old.working_tree, "a working tree knows only what it saw itself"


async def test_nothing_changed_is_nothing(repository: Repository, open_source: OpenSource) -> None:
    repository.write("a.yaml")
    repository.commit()
    source = await open_source()
    revision, _ = await look(source)
    assert await source.changed(revision, revision) == frozenset()
    assert await source.changed(Revision(commit=""), revision) == {"a.yaml"}


async def test_ancestry_is_that_of_the_commits(repository: Repository, open_source: OpenSource) -> None:
    repository.write("a.yaml")
    first = repository.commit()
    source = await open_source()
    old = await source.revision("")
    repository.git("checkout", "--quiet", "-b", "other")
    repository.write("b.yaml")
    repository.commit()
    repository.git("checkout", "--quiet", "main")
    repository.write("c.yaml")
    repository.commit()
    source = await open_source()
    new = await source.revision("")
    other = Revision(commit=repository.git("rev-parse", "other"))
    assert await source.is_ancestor(old, new)
    assert await source.is_ancestor(new, new)
    assert not await source.is_ancestor(new, old)
    assert not await source.is_ancestor(other, new)
    assert not await source.is_ancestor(Revision(commit="0" * 39 + "1"), new), "one that is no longer there"
    assert old.commit == first


@pytest.mark.parametrize("ref", ["nowhere", "-x", "--all", "HEAD:fleet", ":/change", "a..b", "x\ny", "^main", "@{u}"])
async def test_what_is_no_revision_is_refused(repository: Repository, open_source: OpenSource, ref: str) -> None:
    repository.write("a.yaml")
    repository.commit()
    source = await open_source()
    with pytest.raises(SourceError) as caught:
        await source.revision(ref)
    assert caught.value.hint


async def test_a_branch_is_not_hidden_by_a_tag_of_its_name(repository: Repository, open_source: OpenSource) -> None:
    """Who may push tags could put one before a branch that is protected."""
    repository.write("a.yaml")
    repository.commit()
    repository.git("tag", "main")
    repository.git("tag", "only")
    repository.write("b.yaml")
    second = repository.commit()
    repository.git("update-ref", f"refs/heads/{second[::-1]}", second)
    source = await open_source()
    if not isinstance(source, WorkingTree):
        assert (await source.revision("main")).commit == second
        assert (await source.revision("main~1")).commit == (await source.revision("only")).commit != second
        assert (await source.revision("refs/tags/main")).commit != second
        assert (await source.revision(second)).commit == second
        with pytest.raises(SourceError):
            await source.revision(second[::-1])


async def test_a_commit_is_found_by_its_names(repository: Repository, open_source: OpenSource) -> None:
    repository.write("a.yaml", "1")
    first = repository.commit()
    repository.git("tag", "-a", "v1", "-m", "one")
    repository.write("a.yaml", "2")
    second = repository.commit()
    source = await open_source()
    if (await source.revision("")).working_tree:
        with pytest.raises(SourceError, match="working tree"):
            await source.revision("v1")
        return
    assert [(await source.revision(ref)).commit for ref in ("v1", first, first[:10], "HEAD~1")] == [first] * 4
    assert [(await source.revision(ref)).commit for ref in ("main", "HEAD")] == [second] * 2
    revision, blobs = await look(source, "v1")
    assert (revision.ref, blobs["a.yaml"].data) == ("v1", b"1")


async def test_no_folder_is_not_an_empty_one(repository: Repository, open_source: OpenSource) -> None:
    (repository.root / "other.yaml").write_text("x")
    repository.git("add", "other.yaml")
    repository.fleet.rmdir()
    repository.commit()
    source = await open_source()
    with pytest.raises(SourceError, match="fleet"):
        await look(source)


async def test_an_unusually_large_document_is_named(repository: Repository, open_source: OpenSource) -> None:
    repository.write("fine.yaml", "x" * (2 << 20))
    repository.write("huge.yaml", "x" * (5 << 20))
    repository.commit()
    source = await open_source()
    with pytest.raises(SourceError, match=r"huge\.yaml has 5242880 bytes"):
        await look(source)


async def test_odd_names_are_written_so_that_they_can_be_printed(
    repository: Repository, open_source: OpenSource
) -> None:
    names = [
        b"new\nline.yaml",
        b"caf\xe9.yaml",
        b"\xe2\x80\xae.yaml",
        "ü ☃.yaml".encode(),
        b"quote\"'.yaml",
        b"-x.yaml",
    ]
    names += [b":(glob)*.yaml", b"tab\t.yaml", b"back\\slash.yaml"]
    for name in names:
        Path(str(repository.fleet), name.decode("utf-8", "surrogateescape")).write_text("x")
    repository.commit()
    _, blobs = await look(await open_source())
    assert list(blobs) == sorted(
        [
            "new\\x0aline.yaml",
            "caf\\xe9.yaml",
            "\\u202e.yaml",
            "ü ☃.yaml",
            "quote\"'.yaml",
            "-x.yaml",
            ":(glob)*.yaml",
            "tab\\x09.yaml",
            "back\\slash.yaml",
        ]
    )
    assert all(path.isprintable() and path.encode() for path in blobs)


async def test_nothing_of_the_repository_is_executed(
    repository: Repository, open_source: OpenSource, tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/caught\ncat\n")
    trap.chmod(0o755)
    repository.write("a.yaml")
    repository.write("b.yaml")
    repository.commit()
    for hook in ("post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc", "fsmonitor-watchman"):
        (repository.root / ".git/hooks").mkdir(exist_ok=True)
        (repository.root / ".git/hooks" / hook).write_bytes(trap.read_bytes())
        (repository.root / ".git/hooks" / hook).chmod(0o755)
    (repository.root / ".gitattributes").write_text("*.yaml filter=evil diff=evil\n")
    for key in ("core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "diff.external"):
        repository.git("config", key, str(trap))
    for key in ("diff.evil.command", "diff.evil.textconv", "core.pager", "core.sshCommand", "core.askPass"):
        repository.git("config", key, str(trap))
    repository.write("a.yaml", "other")
    source = await open_source()
    revision, blobs = await look(source)
    assert set(blobs) == {"a.yaml", "b.yaml"}
    await source.changed(revision, revision)
    assert not (tmp_path / "caught").exists()


async def test_a_hook_environment_does_not_lead_elsewhere(
    repository: Repository, open_source: OpenSource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repository.write("a.yaml", "right")
    commit = repository.commit()
    other = Repository(tmp_path / "other")
    other.write("a.yaml", "wrong")
    other.commit()
    for name in ("GIT_DIR", "GIT_COMMON_DIR"):
        monkeypatch.setenv(name, str(other.root / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.root))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.root / ".git/index"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other.root / ".git/objects"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.bare")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    revision, blobs = await look(await open_source())
    assert (revision.commit, blobs["a.yaml"].data) == (commit, b"right")


async def test_a_submodule_is_not_entered(repository: Repository, open_source: OpenSource, tmp_path: Path) -> None:
    other = Repository(tmp_path / "other")
    other.write("inner.yaml")
    other.commit()
    repository.write("a.yaml")
    repository.git("submodule", "--quiet", "add", str(other.root), "fleet/sub")
    repository.commit()
    _, blobs = await look(await open_source())
    assert set(blobs) == {"a.yaml"}


async def test_ids_of_sixty_four_digits_work(tmp_path: Path, source_kind: str) -> None:
    repository = Repository(tmp_path / "long", object_format="sha256")
    repository.write("a.yaml", "x")
    commit = repository.commit()
    revision, blobs = await look(await source_of(source_kind, repository, tmp_path))
    assert len(commit) == 64
    assert revision.commit == commit
    assert blobs["a.yaml"].id == repository.git("rev-parse", "HEAD:fleet/a.yaml")
