"""`reconciler init`: a fleet that runs, in a Git repository with a first commit."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.command import build, invocation
from reconciler.cli.output import emit
from reconciler.cli.schemas import schema_files
from reconciler.model.errors import UsageError

LAYOUT = {
    "fleet.yaml": "fleet.yaml",
    "templates/base.yaml": "templates/base.yaml",
    "agents/demo/hello.yaml": "agents/demo/hello.yaml",
    "programs/hello.py": "programs/hello.py",
    ".github/workflows/plan.yaml": "plan.yaml",
    ".gitignore": "gitignore",
    "README.md": "README.md",
}
"""Where each file of the scaffold goes."""
_ELSEWHERE = frozenset(
    {
        "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE",
        "GIT_PREFIX", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_TEMPLATE_DIR",
    }
)  # fmt: skip
_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The folder to make; its last part names the fleet.")],
) -> None:
    """Start a fleet in a new folder: fleet.yaml, a template, an agent that runs here, schemas, a CI workflow.

    The folder becomes a Git repository with a first commit. An empty folder is used as it is; any other is refused.
    """
    if not name or "\0" in name or len(os.fsencode(name)) > 1000:
        raise UsageError(f"{name[:60]!r} cannot be the name of a folder", hint="like: reconciler init fleet")
    target = invocation().folder() / name
    fleet = target.resolve().name
    if not _LABEL.match(fleet):
        raise UsageError(
            f"{fleet[:80]!r} cannot name a fleet: lower-case letters, digits and '-', at most 63",
            hint="choose another folder name, like: reconciler init my-fleet",
        )
    made = _claim(target)
    try:
        count = _write(target, fleet)
        _commit(target)
    except BaseException:
        _undo(target, made)
        raise
    emit(f"Fleet {fleet} is ready in {name}: {count} files, in a Git repository with a first commit.")
    emit("Next:")
    emit(f"  cd {name}" if target != Path.cwd() else "  reconciler validate")
    emit("  reconciler plan")
    emit("  reconciler apply")


def _claim(target: Path) -> bool:
    """Make the folder, or find it empty. Answers whether it was made. Raises UsageError when it cannot be used."""
    try:
        target.mkdir(parents=True)
    except FileExistsError as error:
        if not target.is_dir():
            raise UsageError(f"{target} exists and is no folder") from error
        if any(target.iterdir()):
            raise UsageError(f"{target} is not empty", hint="init only writes into a new or empty folder") from error
        return False
    except OSError as error:
        raise UsageError(f"cannot make {str(target)[:300]}: {error.strerror}") from error
    return True


def _write(target: Path, fleet: str) -> int:
    scaffold = files("reconciler.cli") / "scaffold"
    contents = {path: (scaffold / source).read_text(encoding="utf-8") for path, source in LAYOUT.items()}
    contents |= {f".schemas/{path}": text for path, text in schema_files().items()}
    for path, text in contents.items():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("@NAME@", fleet), encoding="utf-8")
    return len(contents)


def _undo(target: Path, made: bool) -> None:
    if made:
        shutil.rmtree(target, ignore_errors=True)
        return
    for child in target.iterdir():
        with contextlib.suppress(OSError):
            shutil.rmtree(child) if child.is_dir() else child.unlink()


def _commit(target: Path) -> None:
    """Make the repository and its first commit, whoever runs this and whatever their hooks and templates are."""
    _git(target, "init", "--quiet", "--template=")
    _git(target, "symbolic-ref", "HEAD", "refs/heads/main")
    author = [] if _has_author(target) else ["-c", "user.name=reconciler", "-c", "user.email=reconciler@localhost"]
    _git(target, "add", "--all")
    _git(
        target, *author, "-c", "commit.gpgsign=false", "-c", f"core.hooksPath={os.devnull}",
        "commit", "--quiet", "--message", "Start the fleet",
    )  # fmt: skip


def _has_author(target: Path) -> bool:
    return all(_run(target, "config", "--get", key).returncode == 0 for key in ("user.name", "user.email"))


def _git(target: Path, *arguments: str) -> None:
    done = _run(target, *arguments)
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip()
        raise UsageError(f"git {arguments[-1] if len(arguments) < 4 else 'commit'} failed: {told[-500:]}")


def _run(target: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run git in `target`, without the variables by which a hook of another repository would lead it there."""
    environment = {key: value for key, value in os.environ.items() if key not in _ELSEWHERE}
    environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    try:
        return subprocess.run(
            ["git", *arguments], cwd=target, env=environment, capture_output=True, stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError as error:
        raise UsageError("git is not installed", hint="install git: a fleet lives in a Git repository") from error


command = build(init, name="init", examples=("reconciler init fleet", "reconciler init teams/support"))
