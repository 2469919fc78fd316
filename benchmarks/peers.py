"""The same work as people would do it by hand, on the same fleet: each measure is one function, timed by `run.py`.

Nothing of `reconciler` is imported here. What the peers leave out is said with each: a fair ratio needs it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import git
import yaml

PURE_SAMPLE = 200
"""The pure Python loader is so slow that a sample of files stands for all; the figure is scaled up and says so."""


def load_all(root: Path, loader: Any, limit: int | None = None) -> list[Any]:
    """Every YAML file of a checkout through one PyYAML loader: no limits, no positions, no schema, no templates."""
    files = sorted(root.rglob("*.yaml"))[:limit]
    return [yaml.load(path.read_bytes(), Loader=loader) for path in files]  # noqa: S506 - the loader is a safe one


def merge(into: dict[str, Any], layer: dict[str, Any]) -> dict[str, Any]:
    """A deep merge of mappings, as templating scripts have it: lists replace."""
    for key, value in layer.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value
    return into


def read_and_merge(root: Path) -> dict[str, Any]:
    """The C loader and a deep merge of templates: no validation, no positions, no provenance."""
    documents = load_all(root, yaml.CSafeLoader)
    templates = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "AgentTemplate"}

    def resolve(spec: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for parent in spec.get("extends", ()):
            merge(result, resolve(copy.deepcopy(templates[parent])))
        return merge(result, spec)

    return {d["metadata"]["name"]: resolve(d["spec"]) for d in documents if d["kind"] == "Agent"}


def blobs_through_gitpython(root: Path) -> int:
    """All files of HEAD through GitPython's object model."""
    tree = git.Repo(root).head.commit.tree
    blobs = (item for item in tree.traverse() if isinstance(item, git.Blob))
    return sum(len(blob.data_stream.read()) for blob in blobs)


def changed_through_gitpython(root: Path) -> int:
    """The paths that one commit changed, through GitPython's object model."""
    commit = git.Repo(root).head.commit
    return len(commit.parents[0].diff(commit))


def no_op_by_hash(resolved: dict[str, Any]) -> int:
    """What a script does to find changes: serialise and hash each spec, compare with the last run's hashes."""

    def digests(specs: Iterable[Any]) -> list[str]:
        return [hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest() for spec in specs]

    known = digests(resolved.values())
    return sum(old != new for old, new in zip(known, digests(resolved.values()), strict=True))


def seconds(work: Callable[[], object], rounds: int = 3) -> float:
    """The median wall time of `rounds` calls, in seconds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return sorted(times)[rounds // 2]
