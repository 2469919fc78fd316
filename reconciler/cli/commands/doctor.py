"""`reconciler doctor`: what works here, what does not, and what to do."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import typer

from reconciler.bootstrap import FleetLocation
from reconciler.cli import options
from reconciler.cli.command import build, invocation
from reconciler.cli.fleets import locate, opened, read_working_tree
from reconciler.cli.output import clean, emit, paint, to_json, wants_color
from reconciler.cli.views.diagnostics import plural
from reconciler.model.checks import Finding, State
from reconciler.model.errors import ReconcilerError
from reconciler.model.objects import Found, Unreadable
from reconciler.model.source import Severity
from reconciler.ports import Registry

MIN_GIT = (2, 25)
MIN_FREE_BYTES = 64 * 1024 * 1024
GIT_TIMEOUT_S = 10


def doctor(output: options.Output = "text") -> None:
    """Look at what reconciler needs here: what works, what does not, what to do. Exit 1 where something fails."""
    findings = [_python(), _git(), _temporary()]
    try:
        location = locate()
    except ReconcilerError as error:
        findings.append(Finding(name="fleet", state=State.WARNING, seen=error.message, todo=error.hint))
    else:
        findings += [_guarded("state folder", lambda: _state(location)), _guarded("files", _files)]
        findings += asyncio.run(_stores())
    if output == "json":
        emit(to_json([asdict(finding) for finding in findings]))
    else:
        emit("\n".join(_text(finding) for finding in findings))
    if any(finding.state is State.FAILED for finding in findings):
        raise typer.Exit(1)


def _text(finding: Finding) -> str:
    color = wants_color(invocation().settings().text("color"), sys.stdout, os.environ)
    tint = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red"}[finding.state]
    line = f"{paint(f'{finding.state:<8}', tint, color=color)} {finding.name:<15} {clean(finding.seen)}"
    return line + (f"\n{'':25}{clean(finding.todo)}" if finding.todo else "")


def _guarded(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except ReconcilerError as error:
        return Finding(name=name, state=State.FAILED, seen=error.message, todo=error.hint)
    except OSError as error:
        return Finding(name=name, state=State.FAILED, seen=str(error))


def _python() -> Finding:
    import sqlite3

    seen = f"{sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}"
    return Finding(name="python", state=State.OK, seen=seen)


def _git() -> Finding:
    path = shutil.which("git")
    if path is None:
        return Finding(name="git", state=State.FAILED, seen="not found on PATH", todo="install git")
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=GIT_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(name="git", state=State.FAILED, seen=f"{path} does not run: {error}", todo="install git anew")
    match = re.search(r"(\d+)\.(\d+)", done.stdout)
    seen = done.stdout.strip().removeprefix("git version ") or done.stderr.strip()
    if match is None or (int(match[1]), int(match[2])) < MIN_GIT:
        wanted = ".".join(str(part) for part in MIN_GIT)
        return Finding(name="git", state=State.FAILED, seen=seen, todo=f"{wanted} or later is needed")
    return Finding(name="git", state=State.OK, seen=seen)


def _temporary() -> Finding:
    def look() -> Finding:
        with tempfile.TemporaryDirectory() as folder:
            free = shutil.disk_usage(folder).free
            return _space("temporary files", Path(folder).parent, free)

    return _guarded("temporary files", look)


def _space(name: str, folder: Path, free: int) -> Finding:
    seen = f"{folder}, {free // 1024 // 1024} MiB free"
    if free < MIN_FREE_BYTES:
        return Finding(name=name, state=State.WARNING, seen=seen, todo="make room: little is left")
    return Finding(name=name, state=State.OK, seen=seen)


def _state(location: FleetLocation) -> Finding:
    """Whether state can be kept: the folder can be written, and SQLite's write-ahead log works there."""
    import sqlite3

    folder = location.state_dir
    place = folder if folder.is_dir() else location.root
    with tempfile.TemporaryDirectory(dir=place, prefix=".doctor-") as trial:
        connection = sqlite3.connect(Path(trial) / "trial.db")
        try:
            mode = connection.execute("pragma journal_mode=wal").fetchone()[0]
        except sqlite3.Error as error:
            mode = str(error)
        finally:
            connection.close()
    if mode != "wal":
        return Finding(
            name="state folder",
            state=State.FAILED,
            seen=f"{place}: SQLite's write-ahead log does not work there ({mode})",
            todo="keep the fleet on a local disk: network file systems lose locks",
        )
    return _space("state folder", folder, shutil.disk_usage(place).free)


def _files() -> Finding:
    declaration = asyncio.run(read_working_tree())
    errors = sum(finding.severity is Severity.ERROR for finding in declaration.diagnostics)
    seen = f"{plural(declaration.files, 'file')} read, {plural(len(declaration.agents), 'agent')} valid"
    if errors:
        return Finding(
            name="files",
            state=State.WARNING,
            seen=f"{seen}, {plural(errors, 'mistake')}",
            todo="`reconciler validate` shows them",
        )
    return Finding(name="files", state=State.OK, seen=seen)


async def _stores() -> list[Finding]:
    """The registry and every cluster, asked once."""
    findings: list[Finding] = []
    try:
        async with opened() as session:
            findings += await session.examine_registry()
            stores = await session.stores()
            findings.append(await _registry(stores.registry))
            idle = {cluster.name for cluster in stores.fleet.clusters if cluster.runs_nothing}
            answers = await asyncio.gather(*(stores.who(name) for name in stores.clusters))
            for name, answer in zip(stores.clusters, answers, strict=True):
                if isinstance(answer, Found):
                    runs = "; it runs nothing: no processes are started there" if name in idle else ""
                    seen = f"{answer.value.version}, uid {answer.value.uid}{runs}"
                    findings.append(Finding(name=f"cluster {name}", state=State.OK, seen=seen))
                else:
                    reason = answer.reason if isinstance(answer, Unreadable) else "it has no identity"
                    findings.append(
                        Finding(
                            name=f"cluster {name}",
                            state=State.FAILED,
                            seen=reason,
                            todo="its agents are left as they are until it can be read",
                        )
                    )
            return findings
    except ReconcilerError as error:
        return [*findings, Finding(name="stores", state=State.FAILED, seen=error.message, todo=error.hint)]


async def _registry(registry: Registry) -> Finding:
    from reconciler.cli.looking import snapshot

    found = await snapshot(registry)
    seen = f"revision {found.seq}, {plural(len(found.records), 'agent')} on record"
    return Finding(name="registry", state=State.OK, seen=seen)


command = build(doctor, name="doctor", examples=("reconciler doctor", "reconciler doctor -o json"))
