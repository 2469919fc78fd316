"""Running git: a clean environment, nothing of the repository executed, bounded time and output.

The environment is built anew: variables that point git elsewhere (GIT_DIR and its like, set by hooks) are dropped,
replacement objects and grafts are ignored, lazy fetches and transports are off but for `fetch`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.model.errors import SourceError

_SAFE = (
    "-c", "core.hooksPath=/dev/null",
    "-c", "core.fsmonitor=false",
    "-c", "core.untrackedCache=false",
    "-c", "core.attributesFile=/dev/null",
    "-c", "protocol.ext.allow=never",
    "-c", "submodule.recurse=false",
    "-c", "diff.external=",
    "-c", "core.quotePath=false",
    "-c", "advice.graftFileDeprecated=false",
    "-c", "gc.autoDetach=false",
    "-c", "maintenance.autoDetach=false",
)  # fmt: skip
_KEPT = ("PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "SYSTEMROOT")
_KEPT_FOR_FETCH = (
    "SSH_AUTH_SOCK", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "SSH_ASKPASS", "GIT_SSL_CAINFO", "SSL_CERT_FILE",
    "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy",
    "no_proxy",
)  # fmt: skip
_CHUNK = 1 << 18
_STDERR = 1 << 16
_SMALLER = "keep the fleet in a repository, or a folder, of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of a repository is looked at; beyond it reading stops with a SourceError.

    `blob` is above what one document may have, so that a single large file is a finding there and stops nobody else.
    """

    files: int = 200_000
    blob: int = 4 << 20
    total: int = 96 << 20
    listing: int = 64 << 20
    depth: int = 100
    seconds: float = 60.0
    fetch_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: bytes
    err: str


def environment(protocols: tuple[str, ...] = ()) -> dict[str, str]:
    """The environment of a git process; `protocols` are the transports that it may use, none for local reading."""
    kept = _KEPT + (_KEPT_FOR_FETCH if protocols else ())
    clean = {name: os.environ[name] for name in kept if name in os.environ}
    clean |= {
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_GRAFT_FILE": os.devnull,
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_ALLOW_PROTOCOL": ":".join(protocols) or "none",
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_PAGER": "cat",
        "GIT_EDITOR": "true",
    }
    if protocols and "GIT_SSH" not in clean:
        clean.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
    return clean


class Git:
    """git in one folder. Every call ends within `seconds`, with its whole process group."""

    def __init__(self, folder: Path, limits: Limits, *, bare: bool = False, alone: bool = False) -> None:
        """`bare`: the folder itself is the repository. `alone`: no repository around the folder is looked for."""
        self.folder = folder
        self.limits = limits
        self._where = ("--git-dir=.",) if bare else ()
        self._ceiling = {"GIT_CEILING_DIRECTORIES": str(folder.resolve().parent)} if alone else {}

    async def run(
        self,
        *arguments: str,
        feed: bytes | None = None,
        sink: Callable[[bytes], None] | None = None,
        seconds: float | None = None,
        protocols: tuple[str, ...] = (),
        settings: Mapping[str, str] | None = None,
    ) -> Answer:
        """Run git to its end. `sink` takes what it says as it comes; without one it is in the answer.

        Raises SourceError when git is missing, takes too long or says more than is allowed, and what `sink` raises.
        """
        extra = [part for key, value in (settings or {}).items() for part in ("-c", f"{key}={value}")]
        try:
            process = await asyncio.create_subprocess_exec(
                "git",
                *_SAFE,
                *extra,
                *self._where,
                *arguments,
                cwd=self.folder,
                env=environment(protocols) | self._ceiling,
                stdin=asyncio.subprocess.PIPE if feed is not None else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_CHUNK,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            if self.folder.is_dir():
                raise SourceError("git was not found", hint="install git and see that it is on PATH") from error
            raise SourceError(f"there is no folder {self.folder}", hint="name the fleet's folder with -C") from error
        except OSError as error:
            raise SourceError(f"{self.folder}: git cannot be run there: {error.strerror}") from error
        limit = seconds or self.limits.seconds
        try:
            async with asyncio.timeout(limit):
                return await self._talk(process, arguments[0], feed, sink)
        except TimeoutError as error:
            raise SourceError(
                f"git {arguments[0]} did not end within {limit:g} s in {self.folder}",
                hint="the repository or the disk is slower than it should be, or the remote does not answer",
            ) from error
        finally:
            await _end(process)

    async def _talk(
        self, process: asyncio.subprocess.Process, verb: str, feed: bytes | None, sink: Callable[[bytes], None] | None
    ) -> Answer:
        cap = self.limits.listing
        tasks = [
            asyncio.ensure_future(_pour(process.stdout, sink) if sink else _read(process.stdout, cap)),
            asyncio.ensure_future(_read(process.stderr, _STDERR, drop=True)),
        ]
        if feed is not None:
            tasks.append(asyncio.ensure_future(_write(process.stdin, feed)))
        try:
            out, err, *_ = await asyncio.gather(*tasks)
        except _TooMuch:
            raise SourceError(f"git {verb} says more than {cap} bytes in {self.folder}", hint=_SMALLER) from None
        finally:
            for task in tasks:
                task.cancel()
        return Answer(await process.wait(), out, err.decode("utf-8", "replace").strip())


class _TooMuch(Exception):
    pass


async def _read(stream: asyncio.StreamReader | None, cap: int, *, drop: bool = False) -> bytes:
    """All that the stream says, up to `cap` bytes; beyond, the rest is dropped or _TooMuch is raised."""
    found = bytearray()
    while stream is not None and (chunk := await stream.read(_CHUNK)):
        if len(found) + len(chunk) > cap and not drop:
            raise _TooMuch
        found += chunk[: cap - len(found)]
    return bytes(found)


async def _pour(stream: asyncio.StreamReader | None, sink: Callable[[bytes], None]) -> bytes:
    """Hand all that the stream says to `sink`."""
    while stream is not None and (chunk := await stream.read(_CHUNK)):
        sink(chunk)
    return b""


async def _write(stream: asyncio.StreamWriter | None, feed: bytes) -> bytes:
    if stream is not None:
        with suppress(BrokenPipeError, ConnectionResetError):
            for start in range(0, len(feed), _CHUNK):
                stream.write(feed[start : start + _CHUNK])
                await stream.drain()
        stream.close()
    return b""


async def _end(process: asyncio.subprocess.Process) -> None:
    """See that nothing of the process group is left, also when git itself has ended and a helper has not."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(process.wait())


def find_root(start: Path) -> Path | None:
    """The folder of the Git repository that holds `start`: the nearest one upwards with a `.git`; None without one."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / ".git").exists():
            return folder
    return None
