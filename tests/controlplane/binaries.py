"""Where the programs of a control plane are: the folder that KUBEBUILDER_ASSETS names, or what `make control-plane`
built. This module looks, and builds nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BUILT = HERE / "bin"
ASSETS = "KUBEBUILDER_ASSETS"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok")


@dataclass(frozen=True, slots=True)
class Binaries:
    """Every program, by name."""

    paths: Mapping[str, Path]

    def __getitem__(self, name: str) -> str:
        """Return the program's path as a command line wants it."""
        return str(self.paths[name])


@dataclass(frozen=True, slots=True)
class Missing:
    """Programs that are nowhere, and the folders that were looked through."""

    names: tuple[str, ...]
    folders: tuple[Path, ...]

    def __str__(self) -> str:
        """Say it with what to do."""
        places = " or ".join(str(folder) for folder in self.folders)
        return f"{', '.join(self.names)} not found in {places}: type `make control-plane`"


def folders() -> tuple[Path, ...]:
    """Return where to look, first place first."""
    assets = os.environ.get(ASSETS)
    return (Path(assets), BUILT) if assets else (BUILT,)


def find() -> Binaries | Missing:
    """Look for every program."""
    found: dict[str, Path] = {}
    for name in PROGRAMS:
        for folder in folders():
            if os.access(folder / name, os.X_OK):
                found[name] = folder / name
                break
    missing = tuple(name for name in PROGRAMS if name not in found)
    return Missing(missing, folders()) if missing else Binaries(found)
