"""Git as a Source: the commit that is checked out, the files as they are, or a bare mirror of a remote repository.

Must not know: YAML, agents, the engine, or any other adapter; it delivers paths, blob ids and bytes. Nothing of a
repository is ever executed: no checkout, no hooks, no filters, no submodules, no file-system monitor.
"""

from reconciler.adapters.git.checkedout import CheckedOut
from reconciler.adapters.git.command import Limits, find_root
from reconciler.adapters.git.followed import Followed, recall, remember
from reconciler.adapters.git.local import tracks
from reconciler.adapters.git.mirror import Mirror, mask
from reconciler.adapters.git.worktree import WorkingTree

__all__ = [
    "CheckedOut",
    "Followed",
    "Limits",
    "Mirror",
    "WorkingTree",
    "find_root",
    "mask",
    "recall",
    "remember",
    "tracks",
]
