"""Helm as tests use it: the program that `make helm` built (or RECONCILER_HELM names), with a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

BUILT = Path(__file__).parent / "bin" / "helm"
NAMED = "RECONCILER_HELM"
WITHIN_S = 120


class HelmFailed(Exception):
    """A command of Helm ended with an error: what it said."""


def program() -> Path:
    """Where Helm is, if it is there."""
    return Path(os.environ.get(NAMED) or BUILT)


@dataclass(frozen=True, slots=True)
class Helm:
    """Helm with its caches below `home`, and the cluster of `kubeconfig` where there is one."""

    home: Path
    kubeconfig: Path | None = None

    def __call__(self, *arguments: str) -> str:
        """Run a command; return what it printed, raise `HelmFailed` with what it complained."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        done = subprocess.run(
            [str(program()), *arguments, f"--kubeconfig={self.kubeconfig or os.devnull}"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        if done.returncode:
            raise HelmFailed(f"helm {' '.join(arguments)}: {(done.stderr + done.stdout).strip()}")
        return done.stdout

    def template(self, folder: Path, *arguments: str, namespace: str, release: str = "release") -> list[Any]:
        """The objects of a release, as an API server would read them."""
        text = self("template", release, str(folder), "--namespace", namespace, *arguments)
        return [body for body in yaml.load_all(text, Loader=yaml.CSafeLoader) if body is not None]

    def status(self, release: str, namespace: str) -> Any:
        """What Helm keeps of a release."""
        return json.loads(self("status", release, "--namespace", namespace, "--output", "json"))


def write(files: Mapping[str, str], folder: Path) -> Path:
    """Lay a chart out in a folder."""
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder
