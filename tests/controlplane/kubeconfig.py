"""Kubeconfig files: one identity at one control plane, and several of them merged into one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def document(*, name: str, url: str, authority: str, user: Mapping[str, str]) -> dict[str, Any]:
    """Return a configuration whose cluster, user and context bear one name."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": url, "certificate-authority-data": authority}}],
        "users": [{"name": name, "user": dict(user)}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }


def write(path: Path, content: Mapping[str, Any]) -> Path:
    """Write a configuration, for its owner alone."""
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False))
    return path


def merge(path: Path, *kubeconfigs: Path) -> Path:
    """Write one file with the contexts of all; the first one's is current."""
    documents = [yaml.safe_load(each.read_text()) for each in kubeconfigs]
    merged = dict(documents[0])
    for part in ("clusters", "users", "contexts"):
        merged[part] = [entry for each in documents for entry in each[part]]
        names = [entry["name"] for entry in merged[part]]
        if len(set(names)) != len(names):
            raise ValueError(
                f"{part} of one name in {', '.join(map(str, kubeconfigs))}: give the planes different names"
            )
    return write(path, merged)
