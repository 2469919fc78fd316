"""Repositories that no author means well with: each takes a good one, whose fleet lies in `fleet/`, and harms it."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from tests.contracts.repositories import Repository

Harm = Callable[[Repository], object]
Entry = tuple[str, bytes, str]
UNKNOWN = b"apiVersion: agents.codevald.io/v1\nkind: Agnet\n"
AGENT = "HEAD:fleet/agents/demo/bad.yaml"


@dataclass(frozen=True, slots=True)
class Harmed:
    """What is done to a repository, and what must be said of it: something that leads to the place."""

    name: str
    harm: Harm
    told: str


def _entries(repository: Repository) -> list[Entry]:
    """What the good fleet's folder holds."""
    found = []
    for line in repository.git("ls-tree", "HEAD:fleet").splitlines():
        head, _, name = line.partition("\t")
        mode, _, id_ = head.split(" ")
        found.append((mode.lstrip("0"), name.encode(), id_))
    return found


def _beside(*more: Callable[[Repository], Entry]) -> Harm:
    """A commit of the good fleet with more entries beside it, in Git's order of names."""

    def harm(repository: Repository) -> None:
        entries = _entries(repository) + [make(repository) for make in more]
        entries.sort(key=lambda entry: entry[1] + (b"/" if entry[0] == "40000" else b""))
        repository.commit_fleet(repository.tree(*entries, literally=True))

    return harm


def _file(name: bytes, data: bytes = b"x: 1\n", mode: str = "100644") -> Callable[[Repository], Entry]:
    return lambda repository: (mode, name, repository.loose(b"blob", data))


def _folder(name: bytes) -> Callable[[Repository], Entry]:
    return lambda repository: ("40000", name, repository.tree(("100644", b"x.yaml", repository.blob(b"x: 1\n"))))


def _wide(levels: int, width: int, leaves: int) -> Callable[[Repository], Entry]:
    """`leaves` files in each of width ** levels folders that are all the same few objects."""

    def entry(repository: Repository) -> Entry:
        blob = repository.loose(b"blob", b"x: 1\n")
        inner = [b"100644 %06d.yaml\0" % number + bytes.fromhex(blob) for number in range(leaves)]
        tree = repository.loose(b"tree", b"".join(inner))
        for _ in range(levels):
            inner = [b"40000 %04d\0" % number + bytes.fromhex(tree) for number in range(width)]
            tree = repository.loose(b"tree", b"".join(inner))
        return "40000", b"wide", tree

    return entry


def _deep(depth: int) -> Callable[[Repository], Entry]:
    def entry(repository: Repository) -> Entry:
        tree = repository.tree(("100644", b"x.yaml", repository.blob(b"x: 1\n")))
        for _ in range(depth):
            tree = repository.loose(b"tree", b"40000 d\0" + bytes.fromhex(tree))
        return "40000", b"deep", tree

    return entry


def _damage(what: str, content: bytes | None) -> Harm:
    return lambda repository: repository.overwrite(repository.git("rev-parse", what), content)


def _instead(mode: str) -> Harm:
    """Something else where the fleet's folder was."""

    def harm(repository: Repository) -> None:
        id_ = "1" * 40 if mode == "160000" else repository.blob(b"x: 1\n")
        repository.commit_tree(repository.tree((mode, b"fleet", id_)))

    return harm


def _write(path: str, text: str) -> Harm:
    return lambda repository: (repository.root / path).write_text(text)


def _loop(repository: Repository) -> None:
    (repository.root / ".git/HEAD").write_text("ref: refs/heads/one\n")
    (repository.root / ".git/refs/heads/one").write_text("ref: refs/heads/two\n")
    (repository.root / ".git/refs/heads/two").write_text("ref: refs/heads/one\n")


def _trap(repository: Repository) -> None:
    """An object that is gone, and a remote that runs a program when asked for it."""
    for key, value in (
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "evil"),
        ("remote.evil.promisor", "true"),
        ("remote.evil.url", f"ext::sh -c touch% {repository.root}/caught"),
        ("protocol.allow", "always"),
        ("protocol.ext.allow", "always"),
    ):
        repository.git("config", key, value)
    repository.overwrite(repository.git("rev-parse", AGENT), None)


def _link(repository: Repository) -> None:
    (repository.fleet / "agents/demo/bad.yaml").unlink()
    (repository.fleet / "agents/demo/bad.yaml").symlink_to("/etc/passwd")
    repository.commit()


def _linked_fleet(repository: Repository) -> None:
    (repository.fleet / "fleet.yaml").rename(repository.fleet / "other.yaml")
    (repository.fleet / "fleet.yaml").symlink_to("other.yaml")
    repository.commit()


def _state(repository: Repository) -> None:
    repository.git("add", "--force", "fleet/.reconciler/registry.db")
    repository.git("commit", "--quiet", "--message", "State")


def _lost_file(repository: Repository) -> None:
    shutil.rmtree(repository.root / ".git")
    (repository.root / ".git").write_text("gitdir: /nowhere/at/all\n")


def _given_away(repository: Repository) -> None:
    os.chown(repository.root, 65534, 65534)
    os.chown(repository.root / ".git", 65534, 65534)


HARMED = [
    # trees that lead elsewhere
    Harmed("a folder named ..", _beside(_folder(b"..")), "elsewhere"),
    Harmed("a folder named .", _beside(_folder(b".")), "elsewhere"),
    Harmed("a folder without a name", _beside(_folder(b"")), "cannot list the files of fleet"),
    Harmed("a name that climbs", _beside(_file(b"../../etc/x.yaml")), "../../etc/x.yaml"),
    Harmed("a name that is absolute", _beside(_file(b"/etc/x.yaml")), "/etc/x.yaml"),
    Harmed("a name that stands twice", _beside(_file(b"a.yaml"), _file(b"a.yaml", b"y: 1\n")), "holds a.yaml twice"),
    Harmed("names that print alike", _beside(_file(b"\xe9.yaml"), _file(b"\\xe9.yaml")), "\\xe9.yaml twice"),
    Harmed("a name of 5,000 characters", _beside(_file(b"x" * 5000 + b".yaml")), "too long"),
    Harmed("escape sequences in a name", _beside(_file(b"\x1b[2J.yaml", UNKNOWN)), "\\x1b[2J.yaml:2:7: error:"),
    Harmed("folders 200 deep", _beside(_deep(200)), "too deep"),
    Harmed("folders 3,000 deep", _beside(_deep(3000)), "too deep"),
    Harmed("a tree that explodes", _beside(_wide(8, 10, 1)), "says more than"),
    Harmed("a tree of 500,000 files", _beside(_wide(1, 500, 1000)), "files of a fleet"),
    Harmed("a submodule for a fleet", _instead("160000"), "has no folder fleet"),
    Harmed("a file for a fleet", _instead("100644"), "has no folder fleet"),
    # objects that are not what they say
    Harmed("an object that is gone", _damage(AGENT, None), "agents/demo/bad.yaml"),
    Harmed("an empty object", _damage(AGENT, b""), "agents/demo/bad.yaml"),
    Harmed("an object that is garbage", _damage(AGENT, b"garbage"), "agents/demo/bad.yaml"),
    Harmed("an object of other content", _damage(AGENT, zlib.compress(b"blob 5\0other")), "agents/demo/bad.yaml"),
    Harmed("an object that lies about its size", _damage(AGENT, zlib.compress(b"blob 99999999999\0x")), "bad.yaml"),
    Harmed("an object cut short", _damage(AGENT, zlib.compress(b"blob 9\0kind: Age")[:-6]), "agents/demo/bad.yaml"),
    Harmed("a tree for a file", _damage(AGENT, zlib.compress(b"tree 0\0")), "agents/demo/bad.yaml"),
    Harmed("a folder's tree that is garbage", _damage("HEAD:fleet/agents", b"garbage"), "list the files"),
    Harmed("a fleet's tree that is garbage", _damage("HEAD:fleet", b"garbage"), "list the files of fleet"),
    Harmed("a commit's tree that is gone", _damage("HEAD^{tree}", None), "folder fleet"),
    Harmed("a commit that is garbage", _damage("HEAD", b"garbage"), "read HEAD"),
    Harmed("a document of 100 MB", _beside(_file(b"bomb.yaml", b"\n" * (100 << 20))), "bomb.yaml has 104857600 bytes"),
    Harmed(
        "25 documents of 4 MB",
        _beside(*(_file(b"%d.yaml" % n, b"%3d" % n + b"\n" * ((4 << 20) - 9)) for n in range(25))),
        "bytes",
    ),
    Harmed("a remote that runs a program", _trap, "agents/demo/bad.yaml"),
    # refs and settings
    Harmed("a HEAD that climbs", _write(".git/HEAD", "ref: refs/heads/../../../../etc/passwd\n"), "no commit yet"),
    Harmed("a HEAD in itself", _write(".git/HEAD", "ref: HEAD\n"), "no Git repository"),
    Harmed("a HEAD that is garbage", _write(".git/HEAD", "garbage\n"), "no Git repository"),
    Harmed("an empty HEAD", _write(".git/HEAD", ""), "no Git repository"),
    Harmed("a HEAD without a commit", _write(".git/HEAD", "ref: refs/heads/none\n"), "no commit yet"),
    Harmed("refs in a circle", _loop, "no commit yet"),
    Harmed("a branch to nothing", _write(".git/refs/heads/main", "1" * 40 + "\n"), "HEAD is 1111111"),
    Harmed("settings that do not parse", _write(".git/config", "[core\n"), "config"),
    Harmed("a format that nobody knows", _write(".git/config", "[core]\n\trepositoryformatversion = 99\n"), "99"),
    Harmed("a .git that leads nowhere", _lost_file, "no Git repository"),
    Harmed("state that was committed", _state, ".reconciler"),
    Harmed("somebody else's repository", _given_away, "another user"),
    # links
    Harmed("a link for an agent", _link, "agents/demo/bad.yaml:1:1: error: symbolic links are not followed"),
    Harmed("a link for fleet.yaml", _linked_fleet, "fleet.yaml:1:1: error: symbolic links are not followed"),
]
