"""Git repositories to test sources with, made by plumbing where porcelain is too honest."""

from __future__ import annotations

import hashlib
import os
import subprocess
import zlib
from pathlib import Path
from typing import Self

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.invalid",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.invalid",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
}


class Repository:
    """A repository in `root` whose fleet lies in `root/fleet`."""

    def __init__(self, root: Path, *, object_format: str = "sha1") -> None:
        self.root = root
        self.fleet = root / "fleet"
        self.fleet.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main", f"--object-format={object_format}")

    @classmethod
    def at(cls, root: Path) -> Self:
        """The repository that is in `root` already."""
        found = cls.__new__(cls)
        found.root, found.fleet = root, root / "fleet"
        return found

    def git(self, *arguments: str, feed: bytes | None = None, **environment: str) -> str:
        """Run git there; answers its trimmed output."""
        done = subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *arguments],
            cwd=self.root,
            env=ENVIRONMENT | environment,
            input=feed,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode("utf-8", "surrogateescape").strip()

    def write(self, path: str, text: str = "kind: Agent\n") -> Path:
        """Write a file below the fleet's folder."""
        file = self.fleet / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def commit(self, message: str = "a change") -> str:
        """Commit all there is; answers the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def blob(self, data: bytes) -> str:
        return self.git("hash-object", "-w", "--stdin", feed=data)

    def tree(self, *entries: tuple[str, bytes, str], literally: bool = False) -> str:
        """A tree of (mode, name, id); `literally` as written, whatever git thinks of it."""
        if literally:
            data = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(id_) for mode, name, id_ in entries)
            return self.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", feed=data)
        lines = b"".join(f"{mode} {_kind(mode)} {id_}\t".encode() + name + b"\0" for mode, name, id_ in entries)
        return self.git("mktree", "-z", "--missing", feed=lines)

    def commit_tree(self, tree: str, *parents: str) -> str:
        """A commit of a tree, checked out by name only (HEAD moves, files do not)."""
        commit = self.git("commit-tree", tree, *(part for one in parents for part in ("-p", one)), feed=b"made\n")
        self.git("update-ref", "HEAD", commit)
        return commit

    def commit_fleet(self, fleet_tree: str) -> str:
        """A commit whose fleet folder is that tree."""
        return self.commit_tree(self.tree(("40000", b"fleet", fleet_tree), literally=True))

    def loose(self, kind: bytes, data: bytes) -> str:
        """A loose object written by hand: hash-object is slow by the thousand, and too honest."""
        whole = kind + b" %d\0" % len(data) + data
        id_ = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
        path = self.object_path(id_)
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_bytes(zlib.compress(whole))
        return id_

    def overwrite(self, id_: str, content: bytes | None) -> None:
        """Damage an object; with None it is gone."""
        path = self.object_path(id_)
        path.chmod(0o644)
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)

    def object_path(self, id_: str) -> Path:
        return self.root / ".git" / "objects" / id_[:2] / id_[2:]


def _kind(mode: str) -> str:
    return {"40000": "tree", "040000": "tree", "160000": "commit"}.get(mode, "blob")
