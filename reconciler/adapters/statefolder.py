"""The folder beside a fleet that holds its state: what lies where in it, and that nobody else had a hand in it.

May live here: paths in it, and its making. Must not: open what is kept in it.
"""

from __future__ import annotations

import os
from pathlib import Path

from reconciler.model.errors import ReconcilerError

STATE_FOLDER = ".reconciler"
SECRETS = "secrets"
CLUSTERS = "clusters"
LOCAL = "local"
_TAKEN = ("cluster", "supervisor", SECRETS, "pods", "logs", "crash", "mirror", "alerts")
"""How the names begin that other parts keep in it."""
_LINK = Path("../..", SECRETS)


def prepare_state(folder: Path) -> None:
    """Make a state folder that only its owner can look into. Raises ReconcilerError, also for one with links.

    A repository may hold a `.reconciler` of its own making: a link in it would have us change the modes of somebody
    else's files, or write into them.
    """
    try:
        links = [folder] if folder.is_symlink() else []
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        links += [path for path in sorted(folder.iterdir()) if path.is_symlink() and not _shares_secrets(path)]
        if links:
            raise ReconcilerError(
                f"{links[0]} is a link, and state is only kept in real folders and files",
                hint="remove it, and see where it came from: state belongs in no repository",
            )
        if folder.stat().st_uid == os.geteuid() and folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise ReconcilerError(
            f"{folder} cannot be used for state: {error.strerror}", hint="see that the folder can be written"
        ) from error


def cluster_folder(state_dir: Path, cluster: str) -> Path:
    """Where an embedded cluster keeps its state: `local` at the top, others in a folder of their own."""
    return state_dir if cluster == LOCAL else state_dir / CLUSTERS / cluster


def share_secrets(state_dir: Path, folder: Path) -> None:
    """Let a cluster with a folder of its own read the fleet's secrets: there is one place to set them."""
    link = folder / SECRETS
    if folder == state_dir or link.is_symlink() or link.exists():
        return
    try:
        link.symlink_to(_LINK, target_is_directory=True)
    except OSError as error:
        raise ReconcilerError(f"{link} cannot be made: {error.strerror}") from error


def inside(state_dir: Path, path: str) -> Path:
    """Where a registry file lies. Raises ReconcilerError for one that leads out of the state, or is another's there."""
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ReconcilerError(
            f"registry path {path!r} leads out of {STATE_FOLDER}/", hint="name a file, like registry.db"
        )
    if os.path.normpath(path).startswith(_TAKEN):
        raise ReconcilerError(
            f"registry path {path!r} is what {STATE_FOLDER}/ keeps something else in", hint="name it registry.db"
        )
    return state_dir / path


def _shares_secrets(path: Path) -> bool:
    """Whether a link is the one that `share_secrets` makes."""
    folder = path.parent
    return path.name == SECRETS and folder.parent.name == CLUSTERS and path.readlink() == _LINK
