"""What the audit commands share: which entries are asked for, exported files, checkpoints."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from reconciler.cli.command import invocation
from reconciler.cli.output import one_line
from reconciler.model.audit import AuditVerdict
from reconciler.model.auditfile import to_line, verify_lines, whole_lines
from reconciler.model.checkpoint import MAX_FILE, NAMESPACE, Checkpoint, compared, from_file, signed_bytes
from reconciler.model.errors import ReconcilerError, UsageError
from reconciler.model.identity import AgentName
from reconciler.model.registry import AuditEntry
from reconciler.model.units import Duration
from reconciler.ports import Registry

CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries: of an agent, by whom and of what kind (patterns with * and ?), after an entry or a time.

    `limit` takes the newest of them; 0 takes all.
    """

    agent: AgentName | None = None
    actor: str = ""
    action: str = ""
    after_seq: int = 0
    since_ms: int = 0
    limit: int = 0

    def takes(self, entry: AuditEntry) -> bool:
        """Whether an entry is asked for, but for `limit`."""
        fact = entry.fact
        return (
            entry.at_ms >= self.since_ms
            and (not self.actor or fnmatchcase(fact.actor, self.actor))
            and (not self.action or fnmatchcase(fact.action, self.action))
        )

    async def of(self, registry: Registry) -> AsyncIterator[AuditEntry]:
        """The entries, oldest first. With a limit they come when all are read, and no more than that is kept."""
        newest: deque[AuditEntry] = deque(maxlen=self.limit)
        async for entry in registry.audit(name=self.agent, since=self.after_seq):
            if not self.takes(entry):
                continue
            if self.limit:
                newest.append(entry)
            else:
                yield entry
        for entry in newest:
            yield entry


def since(text: str, now_ms: int) -> tuple[int, int]:
    """What `--since` means: (entry, 0) for a number, (0, milliseconds) for an age or a time. Raises UsageError."""
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text), 0
    try:
        return 0, now_ms - Duration.parse(text).ms
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since '{one_line(text, 60)}' is no entry, age or time",
            hint="like 118 (entries after it), 24h, 2026-11-26 or 2026-11-26T09:00:00Z",
        ) from None
    return 0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


async def export(registry: Registry, stream: BinaryIO) -> AuditVerdict:
    """Write the whole chain as it is, sound or not; what is written meanwhile by others is not in it."""
    verdict = await registry.verify_audit()
    async for entry in registry.audit():
        if verdict.sound and entry.seq > verdict.count:
            break
        stream.write(to_line(entry).encode() + b"\n")
    return verdict


def verify_file(path: Path, checkpoint: Checkpoint | None) -> AuditVerdict:
    """Check an exported chain, and hold it against a checkpoint if there is one. Raises UsageError."""
    seen: list[AuditEntry] = []
    try:
        with path.open("rb") as stream:
            lines = whole_lines(_chunks(stream))
            verdict = verify_lines(lines, seen, at=checkpoint.seq if checkpoint else 0)
    except OSError as error:
        raise UsageError(f"cannot read {str(path)[:300]}: {error.strerror}") from error
    return compared(checkpoint, verdict, seen[0].hash if seen else "") if checkpoint else verdict


async def verify_registry(registry: Registry, checkpoint: Checkpoint | None) -> AuditVerdict:
    """Check the chain in the registry, and hold it against a checkpoint if there is one."""
    verdict = await registry.verify_audit()
    return compared(checkpoint, verdict, await _hash_of(registry, checkpoint.seq)) if checkpoint else verdict


async def end_of(registry: Registry) -> AuditVerdict:
    """Where the chain ends. Raises ReconcilerError for a broken one: nobody should sign that."""
    verdict = await registry.verify_audit()
    if verdict.sound:
        return verdict
    raise ReconcilerError(
        f"the audit chain is broken, and is not signed: {verdict.reason}",
        hint="`reconciler audit export FILE` keeps it as it is; look for an older backup or export to compare with",
    )


async def _hash_of(registry: Registry, seq: int) -> str:
    async for entry in registry.audit(since=seq - 1):
        return entry.hash if entry.seq == seq else ""
    return ""


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while data := stream.read(CHUNK):
        yield data


def read_checkpoint(path: Path, key: Path) -> tuple[Checkpoint, str]:
    """A checkpoint whose signature is that key's, and the key's fingerprint. Raises ReconcilerError."""
    from reconciler.bootstrap import signer

    folder = invocation().folder()
    try:
        with (folder / path).open("rb") as stream:
            checkpoint, signature = from_file(stream.read(MAX_FILE + 1))
    except OSError as error:
        raise UsageError(f"cannot read {str(path)[:300]}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{str(path)[:300]}: {error}", hint="name what `reconciler audit checkpoint` wrote") from error
    return checkpoint, signer().verify(signed_bytes(checkpoint), signature, folder / key, purpose=NAMESPACE)
