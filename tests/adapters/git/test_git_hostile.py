"""Repositories and addresses made to harm: each is read for what it is, or refused with a message, in bounded time."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import zlib
from pathlib import Path

import pytest

from reconciler.adapters.git import CheckedOut, Limits, Mirror, WorkingTree, find_root
from reconciler.adapters.git.command import Git
from reconciler.adapters.git.mirror import check_url, mask
from reconciler.model.errors import SourceError
from reconciler.model.source import Revision
from tests.contracts.repositories import ENVIRONMENT, Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    made.write("a.yaml")
    made.commit()
    return made


def source(repository: Repository, limits: Limits | None = None) -> CheckedOut:
    return CheckedOut(repository.root, repository.fleet, limits)


async def read(repository: Repository, limits: Limits | None = None) -> dict[str, bytes]:
    one = source(repository, limits)
    return {path: blob.data for path, blob in (await one.blobs(Revision(commit=head(repository)))).items()}


def head(repository: Repository) -> str:
    return repository.git("rev-parse", "HEAD")


async def refused(repository: Repository, limits: Limits | None = None) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await read(repository, limits)
    assert caught.value.hint
    assert "Traceback" not in caught.value.message
    return caught.value


# addresses


@pytest.mark.parametrize(
    "url",
    [
        "",
        "-x",
        "--upload-pack=touch /tmp/owned",
        "ext::sh -c touch% /tmp/owned",
        "EXT::sh -c id",
        "fd::17",
        "any+thing::x",
        "git://git.example/fleet.git",
        "http://git.example/fleet.git",
        "ftp://git.example/fleet.git",
        "javascript://x",
        "ssh://-oProxyCommand=touch/fleet.git",
        "ssh://-l@git.example/fleet.git",
        "-oProxyCommand=id:fleet.git",
        "ada@-oProxyCommand=id:fleet.git",
        "https://git.example/fleet.git\n--upload-pack=x",
        "https://git.example/\x00",
        "file::path",
    ],
)
async def test_an_address_that_is_more_than_one_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        Mirror(url, tmp_path / "mirror")
    assert "https" in caught.value.hint
    assert not (tmp_path / "mirror").exists()


@pytest.mark.parametrize(
    "url",
    ["https://git.example/fleet.git", "ssh://git@git.example:2222/fleet.git", "git@git.example:acme/fleet.git",
     "git@[::1]:fleet.git", "/srv/fleet.git", "../fleet.git", "file:///srv/fleet.git", "HTTPS://git.example/x"],
)  # fmt: skip
def test_an_honest_address_is_taken(url: str) -> None:
    assert check_url(url) == url


def test_a_transport_that_is_not_configured_is_refused() -> None:
    with pytest.raises(SourceError, match="uses file; allowed are https"):
        check_url("/srv/fleet.git", ("https",))


def test_credentials_are_masked() -> None:
    assert mask("fatal: 'https://ada:s3cret@git.example/x' and ssh://t0ken@h/y") == (
        "fatal: 'https://***@git.example/x' and ssh://***@h/y"
    )
    assert mask("https://ada:s3@cr@et@git.example/x@y") == "https://***@git.example/x@y"


@pytest.mark.parametrize("left", ["packed-refs.lock", "packed-refs.new", "refs/heads/main.lock", "HEAD.lock"])
async def test_what_a_killed_fetch_locked_is_let_go(repository: Repository, tmp_path: Path, left: str) -> None:
    repository.git("branch", "gone")
    mirror = Mirror(str(repository.root), tmp_path / "mirror")
    await mirror.fetch()
    held = tmp_path / "mirror" / "repository.git" / left
    held.write_bytes(b"")
    old = held.stat().st_mtime - Limits().fetch_seconds - 60
    os.utime(held, (old, old))
    repository.write("b.yaml")
    repository.git("branch", "-D", "gone")
    commit = repository.commit()
    await mirror.fetch()
    assert (await mirror.revision("")).commit == commit
    assert not held.exists()


async def test_credentials_stay_out_of_messages(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        await Mirror("https://ada:s3cret@127.0.0.1:1/fleet.git", tmp_path / "mirror").fetch()
    assert "s3cret" not in caught.value.message + caught.value.hint
    assert "127.0.0.1" in caught.value.message


# refs


@pytest.mark.parametrize("ref", ["tree", "blob", "tag-of-tree"])
async def test_a_ref_that_is_no_commit_is_refused(repository: Repository, ref: str) -> None:
    repository.git("update-ref", "refs/tags/tree", repository.git("rev-parse", "HEAD^{tree}"))
    repository.git("update-ref", "refs/tags/blob", repository.git("rev-parse", "HEAD:fleet/a.yaml"))
    repository.git("tag", "-a", "-m", "x", "tag-of-tree", "tree")
    with pytest.raises(SourceError, match=f"{ref} is no commit"):
        await source(repository).revision(ref)


@pytest.mark.parametrize("target", ["ref: refs/heads/../../../../etc/passwd\n", "ref: HEAD\n", "garbage\n", ""])
async def test_a_head_that_leads_nowhere_is_said_to(repository: Repository, target: str) -> None:
    (repository.root / ".git/HEAD").write_text(target)
    with pytest.raises(SourceError) as caught:
        await source(repository).revision("")
    assert caught.value.hint


async def test_a_loop_of_refs_ends(repository: Repository) -> None:
    repository.git("symbolic-ref", "refs/heads/one", "refs/heads/two")
    repository.git("symbolic-ref", "refs/heads/two", "refs/heads/one")
    with pytest.raises(SourceError):
        await source(repository).revision("one")


async def test_a_ref_to_a_commit_that_is_not_there_is_said_to_be(repository: Repository) -> None:
    (repository.root / ".git/refs/heads/broken").write_text("1" * 40 + "\n")
    with pytest.raises(SourceError, match="broken"):
        await source(repository).revision("broken")


async def test_a_replacement_object_does_not_replace(repository: Repository) -> None:
    evil = repository.blob(b"kind: Evil\n")
    repository.git("replace", repository.git("rev-parse", "HEAD:fleet/a.yaml"), evil)
    assert await read(repository) == {"a.yaml": b"kind: Agent\n"}


async def test_a_graft_makes_no_ancestor(repository: Repository) -> None:
    first = head(repository)
    repository.git("checkout", "--quiet", "--orphan", "other")
    other = repository.commit("unrelated")
    repository.git("config", "advice.graftFileDeprecated", "false")
    (repository.root / ".git/info").mkdir(exist_ok=True)
    (repository.root / ".git/info/grafts").write_text(f"{other} {first}\n")
    assert not await source(repository).is_ancestor(Revision(commit=first), Revision(commit=other))


# trees


@pytest.mark.parametrize("name", [b"..", b".", b""])
async def test_a_tree_that_leads_elsewhere_is_refused(repository: Repository, name: bytes) -> None:
    leaf = repository.tree(("100644", b"x.yaml", repository.blob(b"x")))
    repository.commit_fleet(repository.tree(("40000", name, leaf), literally=True))
    error = await refused(repository)
    assert "elsewhere" in error.message or "cannot list" in error.message


@pytest.mark.parametrize("name", [b"../../etc/x.yaml", b"/etc/x.yaml"])
async def test_a_name_with_slashes_is_refused(repository: Repository, name: bytes) -> None:
    repository.commit_fleet(repository.tree(("100644", name, repository.blob(b"x")), literally=True))
    await refused(repository)


async def test_a_name_that_stands_twice_is_refused(repository: Repository) -> None:
    one, two = repository.blob(b"1"), repository.blob(b"2")
    entries = (("100644", b"a.yaml", one), ("100644", b"a.yaml", two))
    repository.commit_fleet(repository.tree(*entries, literally=True))
    assert "twice" in (await refused(repository)).message


async def test_names_that_print_alike_are_refused(repository: Repository) -> None:
    one, two = repository.blob(b"1"), repository.blob(b"2")
    repository.commit_fleet(repository.tree(("100644", b"\xe9.yaml", one), ("100644", b"\\xe9.yaml", two)))
    assert "twice" in (await refused(repository)).message


async def test_git_s_own_folder_in_a_tree_is_not_read(repository: Repository) -> None:
    inner = repository.tree(("100644", b"config.yaml", repository.blob(b"evil")))
    fine = ("100644", b"a.yaml", repository.blob(b"fine"))
    repository.commit_fleet(repository.tree(("40000", b".git", inner), fine, literally=True))
    assert await read(repository) == {"a.yaml": b"fine"}


async def test_a_gitlink_is_not_followed(repository: Repository) -> None:
    repository.commit_fleet(
        repository.tree(("160000", b"agents.yaml", "1" * 40), ("100644", b"b.yaml", repository.blob(b"b")))
    )
    assert await read(repository) == {"b.yaml": b"b"}


async def test_a_fleet_folder_that_is_a_gitlink_or_a_file_is_refused(repository: Repository) -> None:
    repository.commit_tree(repository.tree(("160000", b"fleet", "1" * 40)))
    await refused(repository)
    repository.commit_tree(repository.tree(("100644", b"fleet", repository.blob(b"x"))))
    await refused(repository)


async def test_an_unknown_mode_is_left_alone(repository: Repository) -> None:
    blob = repository.blob(b"x")
    entries = (("100000", b"a.yaml", blob), ("100644", b"b.yaml", blob))
    repository.commit_fleet(repository.tree(*entries, literally=True))
    assert "b.yaml" in await read(repository)


async def test_a_very_long_name_is_refused(repository: Repository) -> None:
    name = b"x" * 5000 + b".yaml"
    repository.commit_fleet(repository.tree(("100644", name, repository.blob(b"x")), literally=True))
    assert "too long" in (await refused(repository)).message


@pytest.mark.parametrize("depth", [200, 5000])
async def test_a_very_deep_tree_is_refused(repository: Repository, depth: int) -> None:
    tree = repository.tree(("100644", b"x.yaml", repository.blob(b"x")))
    for _ in range(depth):
        data = b"40000 d\0" + bytes.fromhex(tree)
        tree = repository.loose(b"tree", data)
    repository.commit_fleet(tree)
    await refused(repository)


async def test_a_tree_that_explodes_is_stopped(repository: Repository) -> None:
    tree = repository.tree(("100644", b"x.yaml", repository.blob(b"x")))
    for _ in range(9):
        tree = repository.tree(*(("40000", f"d{number}".encode(), tree) for number in range(10)))
    repository.commit_fleet(tree)
    error = await refused(repository, Limits(listing=1 << 20))
    assert "more than 1048576 bytes" in error.message


async def test_a_tree_that_takes_for_ever_is_stopped(repository: Repository) -> None:
    tree = repository.tree(*(("40000", f"d{number}".encode(), repository.tree()) for number in range(10)))
    for _ in range(11):
        tree = repository.tree(*(("40000", f"d{number}".encode(), tree) for number in range(10)))
    repository.commit_fleet(tree)
    error = await refused(repository, Limits(seconds=0.5))
    assert "did not end within 0.5 s" in error.message


async def test_more_files_than_allowed_are_refused(repository: Repository) -> None:
    blob = repository.blob(b"x")
    repository.commit_fleet(repository.tree(*(("100644", f"{number:06}.yaml".encode(), blob) for number in range(51))))
    assert "51 files" in (await refused(repository, Limits(files=50))).message
    assert len(await read(repository, Limits(files=51))) == 51


async def test_a_hundred_thousand_files_are_read(repository: Repository) -> None:
    blob = repository.blob(b"x")
    inner = repository.tree(*(("100644", f"{number:04}.yaml".encode(), blob) for number in range(1000)))
    repository.commit_fleet(repository.tree(*(("40000", f"{number:03}".encode(), inner) for number in range(100))))
    assert len(await read(repository)) == 100_000


# objects


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="missing"),
        pytest.param(b"", id="empty"),
        pytest.param(b"garbage", id="no zlib"),
        pytest.param(zlib.compress(b"blob 5\0other"), id="other content"),
        pytest.param(zlib.compress(b"blob 999999999\0x"), id="wrong size"),
        pytest.param(zlib.compress(b"tree 0\0"), id="a tree"),
        pytest.param(zlib.compress(b"blob 12\0kind: Agent\n")[:-6], id="cut short"),
    ],
)
async def test_a_damaged_file_is_named(repository: Repository, content: bytes | None) -> None:
    repository.overwrite(repository.git("rev-parse", "HEAD:fleet/a.yaml"), content)
    error = await refused(repository)
    assert "a.yaml" in error.message
    assert "git fsck" in error.hint


@pytest.mark.parametrize("what", ["HEAD^{tree}", "HEAD:fleet", "HEAD"])
async def test_a_damaged_tree_or_commit_is_refused(repository: Repository, what: str) -> None:
    commit = head(repository)
    repository.overwrite(repository.git("rev-parse", what), b"garbage")
    with pytest.raises(SourceError):
        await source(repository).blobs(Revision(commit=commit))
    if what == "HEAD":
        with pytest.raises(SourceError):
            await source(repository).revision("")


async def test_a_zip_bomb_of_a_document_is_stopped(repository: Repository) -> None:
    bomb = repository.loose(b"blob", b"\n" * (50 << 20))
    repository.commit_fleet(repository.tree(("100644", b"bomb.yaml", bomb)))
    assert "bomb.yaml has 52428800 bytes" in (await refused(repository)).message


async def test_documents_that_are_too_much_together_are_stopped(repository: Repository) -> None:
    files = [("100644", b"%d.yaml" % number, repository.blob(b"%d" % number * 1000)) for number in range(10)]
    repository.commit_fleet(repository.tree(*files))
    assert "more than 5000 bytes" in (await refused(repository, Limits(total=5000))).message
    assert len(await read(repository, Limits(total=10_000))) == 10


async def test_alternates_that_are_gone_are_said_to_be(repository: Repository, tmp_path: Path) -> None:
    info = repository.root / ".git/objects/info"
    info.mkdir(exist_ok=True)
    (info / "alternates").write_text(f"{tmp_path}/nowhere/objects\n../../../../../../etc\n")
    assert await read(repository) == {"a.yaml": b"kind: Agent\n"}
    repository.overwrite(repository.git("rev-parse", "HEAD:fleet/a.yaml"), None)
    await refused(repository)


async def test_a_missing_object_is_not_fetched(repository: Repository, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/caught\n")
    trap.chmod(0o755)
    for key, value in (
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "evil"),
        ("remote.evil.promisor", "true"),
        ("remote.evil.url", f"ext::{trap}"),
        ("remote.evil.uploadpack", str(trap)),
        ("protocol.allow", "always"),
        ("protocol.ext.allow", "always"),
    ):
        repository.git("config", key, value)
    repository.overwrite(repository.git("rev-parse", "HEAD:fleet/a.yaml"), None)
    await refused(repository)
    repository.git("config", "remote.evil.url", str(repository.root))
    await refused(repository)
    assert not (tmp_path / "caught").exists()


# repositories in unusual shapes that are fine


async def test_no_commit_yet(tmp_path: Path) -> None:
    empty = Repository(tmp_path / "empty")
    empty.write("a.yaml")
    with pytest.raises(SourceError, match="no commit yet") as caught:
        await source(empty).revision("")
    assert "--working-tree" in caught.value.hint
    tree = WorkingTree(empty.root, empty.fleet)
    revision = await tree.revision("")
    assert (revision.commit, revision.ref, revision.dirty) == ("", "main", ())
    assert set(await tree.blobs(revision)) == {"a.yaml"}
    assert await tree.changed(Revision(commit=""), revision) == {"a.yaml"}


async def test_a_detached_head_has_no_branch(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "--detach")
    revision = await source(repository).revision("")
    assert (revision.commit, revision.ref) == (head(repository), "")


async def test_packed_refs_and_objects(repository: Repository) -> None:
    repository.write("b.yaml")
    repository.commit()
    repository.git("gc", "--quiet")
    assert not (repository.root / ".git/refs/heads/main").exists()
    revision = await source(repository).revision("main")
    assert set(await source(repository).blobs(revision)) == {"a.yaml", "b.yaml"}


async def test_a_second_worktree_and_its_git_file(repository: Repository, tmp_path: Path) -> None:
    repository.git("worktree", "add", "--quiet", "-b", "side", str(tmp_path / "side"))
    side = tmp_path / "side"
    (side / "fleet/new.yaml").write_text("x")
    assert (side / ".git").is_file()
    assert find_root(side / "fleet") == side.resolve()
    revision = await CheckedOut(side, side / "fleet").revision("")
    assert (revision.ref, revision.dirty) == ("side", ("new.yaml",))
    assert set(await CheckedOut(side, side / "fleet").blobs(revision)) == {"a.yaml"}


async def test_a_git_file_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /nowhere/at/all\n")
    with pytest.raises(SourceError):
        await CheckedOut(tmp_path, tmp_path).revision("")
    with pytest.raises(SourceError):
        await WorkingTree(tmp_path, tmp_path).revision("")


async def test_a_shallow_clone_reads_and_says_no_to_what_it_cannot_know(repository: Repository, tmp_path: Path) -> None:
    first = head(repository)
    repository.write("b.yaml")
    repository.commit()
    clone = tmp_path / "clone"
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.root}", str(clone))
    shallow = CheckedOut(clone, clone / "fleet")
    revision = await shallow.revision("")
    assert set(await shallow.blobs(revision)) == {"a.yaml", "b.yaml"}
    assert not await shallow.is_ancestor(Revision(commit=first), revision)
    with pytest.raises(SourceError):
        await shallow.changed(Revision(commit=first), revision)


async def test_a_repository_of_another_user_is_refused_with_the_way_out(repository: Repository) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(repository.root, 65534, 65534)
    os.chown(repository.root / ".git", 65534, 65534)
    with pytest.raises(SourceError, match="another user") as caught:
        await source(repository).revision("")
    assert "safe.directory" in caught.value.hint


@pytest.mark.parametrize(
    "config", ["[core\n", "[core]\n\trepositoryformatversion = 99\n", "[extensions]\n\tobjectformat = md5\n"]
)
async def test_a_broken_configuration_is_said_to_be(repository: Repository, config: str) -> None:
    (repository.root / ".git/config").write_text(config)
    for one in (source(repository), WorkingTree(repository.root, repository.fleet)):
        with pytest.raises(SourceError) as caught:
            await one.revision("")
        assert str(repository.root) in caught.value.message


async def test_no_repository_at_all(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no Git repository"):
        await CheckedOut(tmp_path, tmp_path).revision("")
    with pytest.raises(SourceError, match="no folder"):
        await CheckedOut(tmp_path / "nowhere", tmp_path / "nowhere").revision("")
    with pytest.raises(SourceError, match="not inside"):
        CheckedOut(tmp_path / "a", tmp_path / "b")
    assert find_root(tmp_path) is None


async def test_without_git_it_says_so(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SourceError, match="git was not found"):
        await source(repository).revision("")


# files on disk


async def files(folder: Path, root: Path | None = None, limits: Limits | None = None) -> dict[str, bytes]:
    tree = WorkingTree(root or folder, folder, limits)
    return {path: blob.data for path, blob in (await tree.blobs(await tree.revision(""))).items()}


@pytest.mark.parametrize("in_git", [True, False])
async def test_pipes_sockets_and_folders_are_not_opened(tmp_path: Path, in_git: bool) -> None:
    folder = tmp_path / "fleet"
    folder.mkdir()
    if in_git:
        await asyncio.to_thread(subprocess.run, ["git", "init", "-q"], cwd=folder, env=ENVIRONMENT, check=True)
    os.mkfifo(folder / "pipe.yaml")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket.yaml"))
    (folder / "folder.yaml").mkdir()
    (folder / "folder.yaml" / "a.yaml").write_text("x")
    (folder / "device.yaml").symlink_to("/dev/zero")
    async with asyncio.timeout(10):
        assert await files(folder) == {"device.yaml": b"/dev/zero", "folder.yaml/a.yaml": b"x"}
    listener.close()


async def test_a_folder_replaced_by_a_link_is_not_followed(repository: Repository, tmp_path: Path) -> None:
    repository.write("agents/a.yaml", "mine")
    repository.commit()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.yaml").write_text("theirs")
    (repository.fleet / "agents/a.yaml").unlink()
    (repository.fleet / "agents").rmdir()
    (repository.fleet / "agents").symlink_to(elsewhere)
    found = await files(repository.fleet, repository.root)
    assert b"theirs" not in found.values()
    assert found["agents"] == str(elsewhere).encode()
    revision = await source(repository).revision("")
    assert set(revision.dirty) == {"agents", "agents/a.yaml"}


async def test_ignored_files_are_left_out(repository: Repository) -> None:
    (repository.root / ".gitignore").write_text("ignored.yaml\n/fleet/out/\n")
    for name in ("ignored.yaml", "out/x.yaml", "kept.yaml", ".reconciler/x.yaml", "deep/ignored.yaml"):
        repository.write(name)
    assert set(await files(repository.fleet, repository.root)) == {"a.yaml", "kept.yaml"}


async def test_a_removed_file_is_gone_and_an_unreadable_one_is_not(repository: Repository) -> None:
    repository.write("b.yaml")
    repository.commit()
    (repository.fleet / "a.yaml").unlink()
    assert set(await files(repository.fleet, repository.root)) == {"b.yaml"}
    if os.geteuid() != 0:
        (repository.fleet / "b.yaml").chmod(0)
        with pytest.raises(SourceError, match=r"b\.yaml cannot be read"):
            await files(repository.fleet, repository.root)


async def test_what_differs_is_named(repository: Repository) -> None:
    for name in ("changed.yaml", "removed.yaml", "touched.yaml", "ends.yaml", "run.yaml", "linked.yaml", "notes.md"):
        repository.write(name, "one\ntwo\n")
    repository.commit()
    repository.write("changed.yaml", "other")
    repository.write("notes.md", "other")
    repository.write("touched.yaml", "one\ntwo\n")
    repository.write("new.yaml")
    repository.write("staged.yaml")
    repository.git("add", "fleet/staged.yaml")
    (repository.root / "outside.yaml").write_text("x")
    (repository.fleet / "ends.yaml").write_bytes(b"one\r\ntwo\r\n")
    (repository.fleet / "removed.yaml").unlink()
    (repository.fleet / "linked.yaml").unlink()
    (repository.fleet / "linked.yaml").symlink_to("a.yaml")
    expected = ("changed.yaml", "linked.yaml", "new.yaml", "removed.yaml", "staged.yaml")
    assert (await source(repository).revision("")).dirty == expected
    assert (await WorkingTree(repository.root, repository.fleet).revision("")).dirty == expected


async def test_files_without_a_repository_are_read_within_limits(tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    for name in ("a.yaml", "x/b.yml", "x/.git/c.yaml", ".reconciler/d.yaml", "x/e.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder)
    assert set(await files(folder)) == {"a.yaml", "loop", "up", "x/b.yml"}
    with pytest.raises(SourceError, match="more than 2 files"):
        await files(folder, limits=Limits(files=1))
    with pytest.raises(SourceError, match="more than 3 bytes"):
        await files(folder, limits=Limits(total=3))
    deep = folder / "/".join("d" * 150)
    deep.mkdir(parents=True)
    (deep / "x.yaml").write_text("x")
    assert set(await files(folder)) == {"a.yaml", "loop", "up", "x/b.yml"}


# mirrors


async def test_a_mirror_keeps_what_it_had_when_the_remote_is_gone(repository: Repository, tmp_path: Path) -> None:
    mirror = Mirror(str(repository.root), tmp_path / "mirror", fleet_dir="fleet")
    with pytest.raises(SourceError, match="never fetched"):
        await mirror.revision("")
    await mirror.fetch()
    before = await mirror.revision("")
    repository.root.rename(tmp_path / "away")
    with pytest.raises(SourceError, match="cannot reach"):
        await mirror.fetch()
    assert await mirror.revision("") == before
    assert set(await mirror.blobs(before)) == {"a.yaml"}


async def test_a_remote_that_lost_all_branches_changes_nothing(repository: Repository, tmp_path: Path) -> None:
    mirror = Mirror(str(repository.root), tmp_path / "mirror", fleet_dir="fleet")
    await mirror.fetch()
    before = await mirror.revision("")
    repository.git("update-ref", "-d", "refs/heads/main")
    with pytest.raises(SourceError, match="no branch"):
        await mirror.fetch()
    assert await mirror.revision("") == before


async def test_a_mirror_follows_branches_that_move_and_go(repository: Repository, tmp_path: Path) -> None:
    first = head(repository)
    repository.git("branch", "old")
    repository.git("branch", "a")
    mirror = Mirror(str(repository.root), tmp_path / "mirror", fleet_dir="fleet")
    await mirror.fetch()
    old = await mirror.revision("main")
    repository.git("commit", "--quiet", "--amend", "--message", "rewritten")
    repository.git("branch", "-D", "old", "a")
    repository.git("branch", "a/b")
    repository.git("branch", "-m", "main", "trunk")
    await mirror.fetch()
    new = await mirror.revision("")
    assert (new.ref, new.commit) == ("trunk", head(repository))
    assert old.commit == first != new.commit
    assert not await mirror.is_ancestor(old, new), "a force-push"
    assert (await mirror.revision("a/b")).commit == new.commit
    for gone in ("old", "main"):
        with pytest.raises(SourceError, match="no revision"):
            await mirror.revision(gone)


async def test_an_interrupted_fetch_is_done_again(repository: Repository, tmp_path: Path) -> None:
    mirror = Mirror(str(repository.root), tmp_path / "mirror", limits=Limits(fetch_seconds=0.000001))
    with pytest.raises(SourceError, match="did not end within"):
        await mirror.fetch()
    mirror = Mirror(str(repository.root), tmp_path / "mirror")
    await mirror.fetch()
    assert (await mirror.revision("")).commit == head(repository)


async def test_two_fetches_at_once_do_not_meet(repository: Repository, tmp_path: Path) -> None:
    mirrors = [Mirror(str(repository.root), tmp_path / "mirror") for _ in range(2)]
    answers = await asyncio.gather(*(mirror.fetch() for mirror in mirrors), return_exceptions=True)
    assert [str(answer) for answer in answers if answer] == [f"another process fetches into {tmp_path}/mirror"]
    assert (await mirrors[0].revision("")).commit == head(repository)


async def test_a_server_that_never_answers_is_left(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/fleet.git"
        with pytest.raises(SourceError, match=r"did not end within 0\.5 s"):
            await Mirror(url, tmp_path / "mirror", limits=Limits(fetch_seconds=0.5)).fetch()


async def test_nothing_is_left_of_a_command_that_is_stopped(tmp_path: Path) -> None:
    helper = tmp_path / "git"
    helper.write_text(f"#!/bin/sh\nsleep 300 & echo $! > {tmp_path}/pid\nwait\n")
    helper.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with pytest.raises(SourceError, match="did not end"):
            await Git(tmp_path, Limits(seconds=0.5)).run("status")
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            break
        await asyncio.sleep(0.02)
    else:
        pytest.fail("a helper of a stopped command still runs")
