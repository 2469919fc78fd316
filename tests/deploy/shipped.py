"""What deploy/ ships, as tests look at it: objects of both ways to install, and rights one by one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from reconciler.model.rights import RIGHTS, Right
from tests.controlplane import binaries

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "chart" / "reconciler"
BASE = DEPLOY / "kustomize" / "base"
EXAMPLE = DEPLOY / "kustomize" / "overlays" / "example"


class One(NamedTuple):
    """One verb on one resource, or on one object of it."""

    group: str
    resource: str
    verb: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.verb}-{self.resource.replace('/', '-')}{f'.{self.group}' if self.group else ''}"


def singly(rights: Iterable[Right] = RIGHTS) -> list[One]:
    """The table, verb by verb."""
    return [
        One(right.group, right.resource, verb, name)
        for right in rights
        for verb in right.verbs
        for name in (right.names or ("",))
    ]


def rights_of(role: Mapping[str, Any]) -> list[One]:
    """What a ClusterRole allows, verb by verb."""
    return [
        One(group, resource, verb, name)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in (rule.get("resourceNames") or ("",))
    ]


def rules_of(rights: Iterable[One]) -> list[dict[str, Any]]:
    """Rules that allow exactly that."""
    return [
        {"apiGroups": [one.group], "resources": [one.resource], "verbs": [one.verb]}
        | ({"resourceNames": [one.name]} if one.name else {})
        for one in rights
    ]


def kustomized(folder: Path) -> list[Any]:
    """The objects of a kustomization. The programs of a control plane must be there."""
    found = binaries.find()
    assert isinstance(found, binaries.Binaries)
    done = subprocess.run(
        [found["kubectl"], "kustomize", str(folder)], capture_output=True, text=True, check=True, timeout=60
    )
    return list(yaml.safe_load_all(done.stdout))


def only(objects: Iterable[Any], kind: str) -> Any:
    """The one object of a kind."""
    (found,) = [each for each in objects if each["kind"] == kind]
    return found
