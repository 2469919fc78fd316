"""Mirror: a remote repository as a bare one of our own, fetched on demand. No checkout, no hooks, no submodules."""

from __future__ import annotations

import asyncio
import fcntl
import os
import posixpath
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reconciler.adapters.git.checkedout import Commits
from reconciler.adapters.git.command import Git, Limits
from reconciler.adapters.git.local import head
from reconciler.adapters.git.objects import LONG_ID, resolve
from reconciler.model.errors import SourceError
from reconciler.model.source import Revision

PROTOCOLS = ("https", "ssh", "file")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://(?:([^/@]*)@)?(.*)\Z", re.IGNORECASE | re.DOTALL)
_SCP = re.compile(r"(?:\w[\w.-]*@)?(?:\w[\w.-]*|\[[0-9a-fA-F:]+\]):[^:-].*\Z")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_URL_HINT = "give an https or ssh address, like https://git.example/fleet.git, or the path of a local repository"
_BRANCH = re.compile(rb"ref: refs/heads/([^\x00-\x20\x7f~^:?*\[\\]+)\tHEAD\n")
_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


class Mirror(Commits):
    """The repository at `url`, mirrored into `folder`. Answers from the last fetch; `fetch` alone talks to the remote.

    `fleet_dir` is the fleet's folder inside the repository, "" for its root; `branch` is what is meant where no ref is
    named, "" for the remote's default branch. Raises SourceError for an address that is an option, runs a program
    (`ext::`), or uses a transport that is not among `protocols`, and for a folder outside of the repository.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        fleet_dir: str = "",
        branch: str = "",
        protocols: tuple[str, ...] = PROTOCOLS,
        limits: Limits | None = None,
    ) -> None:
        self._url = check_url(url, protocols)
        self._folder = folder
        self._branch = branch
        self._protocols = protocols
        self._limits = limits or Limits()
        self._outside = Git(folder, self._limits, alone=True)
        super().__init__(Git(folder / "repository.git", self._limits, bare=True), _inside(fleet_dir))

    async def fetch(self) -> None:
        """Bring the mirror up to date; what it held stays as it was when this fails.

        Raises SourceError when the remote cannot be reached, refuses, or has no branch at all.
        """
        await _ensure(self._folder, parents=True)
        with _locked(self._folder):
            listing = await self._must(
                self._outside, "reach", "ls-remote", "--symref", "--end-of-options", self._url, "HEAD", "refs/heads/*"
            )
            if b"\trefs/heads/" not in listing:
                raise SourceError(
                    f"{mask(self._url)} has no branch", hint="push a first commit; until then the last state is kept"
                )
            await self._make(id_length=len(listing.split(b"\trefs/heads/")[0].rpartition(b"\n")[2]))
            await asyncio.to_thread(_unlock, self._git.folder, older_s=self._limits.fetch_seconds)
            await self._must(
                self._git, "fetch", "fetch", "--quiet", "--prune", "--force", "--no-tags", "--no-recurse-submodules",
                "--no-write-fetch-head", "--end-of-options", self._url, *_REFSPECS,
            )  # fmt: skip
            if branch := _BRANCH.match(listing):
                name = branch.group(1).decode("utf-8", "surrogateescape")
                await self._must(
                    self._git, "follow the default branch of", "symbolic-ref", "HEAD", f"refs/heads/{name}"
                )

    async def _make(self, *, id_length: int) -> None:
        if not self._made:
            await _ensure(self._git.folder)
            kind = "sha256" if id_length == LONG_ID else "sha1"
            await self._must(
                self._git, "make the mirror of", "init", "--bare", "--quiet", "--template=", f"--object-format={kind}"
            )

    @property
    def _made(self) -> bool:
        return (self._git.folder / "HEAD").exists()

    async def _must(self, git: Git, doing: str, *arguments: str) -> bytes:
        low_speed = {"http.lowSpeedLimit": "1000", "http.lowSpeedTime": "60"}
        answer = await git.run(
            *arguments, seconds=self._limits.fetch_seconds, protocols=self._protocols, settings=low_speed
        )
        if answer.code != 0:
            said = mask(" ".join(line for line in answer.err.splitlines() if line)[:600])
            raise SourceError(
                f"cannot {doing} {mask(self._url)}: {said or f'exit code {answer.code}'}",
                hint="see address, network and credentials: `git ls-remote` with it must work for this user",
            )
        return answer.out

    async def revision(self, ref: str) -> Revision:
        """A branch, tag or commit; "" is the branch that is followed."""
        if not self._made:
            raise SourceError(
                f"{mask(self._url)} was never fetched", hint="the daemon that follows it fetches it: see what it says"
            )
        if ref or self._branch:
            return Revision(commit=await self._resolve(ref or self._branch), ref=ref or self._branch)
        commit, branch = await head(self._git)
        if not commit:
            raise SourceError(
                f"the default branch {branch!r} of {mask(self._url)} has no commit", hint="name a branch with --branch"
            )
        return Revision(commit=commit, ref=branch)

    async def _resolve(self, ref: str) -> str:
        try:
            return await resolve(self._git, ref)
        except SourceError as error:
            if ref != self._branch:
                raise
            hint = "a daemon goes on with what it declared last; name another branch, or bring this one back"
            raise SourceError(f"{mask(self._url)} has no branch {ref} as it was fetched last", hint=hint) from error


def _inside(fleet_dir: str) -> str:
    """A folder of the repository as Git knows it: `./fleets/x/` is `fleets/x`, `.` its root. Raises SourceError."""
    plain = posixpath.normpath(fleet_dir.strip("/") or ".")
    if plain == ".." or plain.startswith("../"):
        raise SourceError(f"{fleet_dir[:200]!r} leads out of the repository", hint="name a folder that is in it")
    return "" if plain == "." else plain


def check_url(url: str, protocols: tuple[str, ...] = PROTOCOLS) -> str:
    """Refuse addresses that are options, run programs, or use other transports. Raises SourceError."""
    from git import Git as GitPython
    from git.exc import UnsafeProtocolError

    if not url or url.startswith("-") or _CONTROL.search(url):
        raise SourceError(f"{mask(url[:80])!r} is not the address of a repository", hint=_URL_HINT)
    try:
        GitPython.check_unsafe_protocols(url)
    except UnsafeProtocolError as error:
        raise SourceError(f"{mask(url[:80])!r} would run a program", hint=_URL_HINT) from error
    if match := _SCHEME.match(url):
        scheme, user, rest = match.group(1).lower(), match.group(2) or "", match.group(3)
        if rest.startswith("-") or user.startswith("-"):
            raise SourceError(f"{mask(url[:80])!r} holds an option where the host should be", hint=_URL_HINT)
    elif ":" in url.partition("/")[0]:
        scheme = "ssh"
        if not _SCP.match(url):
            raise SourceError(f"{mask(url[:80])!r} is no host and path", hint=_URL_HINT)
    else:
        scheme = "file"
    if scheme not in protocols:
        raise SourceError(f"{mask(url[:80])!r} uses {scheme}; allowed are {', '.join(protocols)}", hint=_URL_HINT)
    return url


def mask(text: str) -> str:
    """Text with the credentials of addresses in it masked."""
    return re.sub(r"(://)[^/\s]+@", r"\1***@", text)  # up to the last @: a password may have one


async def _ensure(folder: Path, *, parents: bool = False) -> None:
    """Make a folder unless it is there. Raises SourceError."""
    try:
        await asyncio.to_thread(folder.mkdir, mode=0o700, parents=parents, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: OSError) -> SourceError:
    return SourceError(
        f"{folder} cannot be used for a mirror: {error.strerror or error}",
        hint="see that it can be written, and that the disk has room",
    )


def _unlock(repository: Path, *, older_s: float) -> None:
    """Remove what a fetch locked that was killed: git would wait for it on every fetch to come, and fetch nothing.

    Call it while no other fetch runs. Git holds these for moments only; one of our own ends before it is `older_s`.
    """
    since = time.time() - older_s
    for path in (*repository.glob("*.lock"), *repository.glob("packed-refs.new"), *repository.glob("refs/**/*.lock")):
        with suppress(OSError):
            if path.lstat().st_mtime < since:
                path.unlink()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One fetch at a time; another process is told, not awaited. Raises SourceError."""
    try:
        handle = os.open(folder / "fetch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SourceError(f"another process fetches into {folder}", hint="wait for it, then try again") from error
    else:
        yield
    finally:
        os.close(handle)
