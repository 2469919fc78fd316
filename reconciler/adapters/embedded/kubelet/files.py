"""Files of pods: secrets that are read, volumes that are laid out under `pods/NAMESPACE/POD/`.

There is no chroot: a mount path of the spec stands for a folder here, and `PathMap` translates.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Body = dict[str, Any]
MAX_SECRET_BYTES = 1024 * 1024
_KEY = re.compile(r"[-._A-Za-z0-9]{1,253}\Z")


class ConfigError(Exception):
    """A pod cannot be set up as its spec says; the text tells what is missing and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where values come from: ConfigMaps of the store, secrets of the state folder."""

    state: Path
    config_map: Callable[[str, str], Body | None]

    def secret(self, namespace: str, name: str, key: str) -> bytes:
        """One key of a secret. Raises ConfigError naming it and the command that sets it."""
        command = f"reconciler secret set {namespace}/{name} {key}"
        if not _KEY.match(key) or ".." in key or not _KEY.match(name) or ".." in name:
            raise ConfigError(f"{key[:60]!r} of secret {name[:60]!r} is not a name of a secret's key")
        path = self.state / "secrets" / namespace / name / key
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise ConfigError(
                f'secret "{namespace}/{name}" has no key "{key}": set it with `{command} < FILE`'
            ) from None
        except OSError as error:
            raise ConfigError(f'secret "{namespace}/{name}" key "{key}" cannot be read: {error.strerror}') from None
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigError(f'secret "{namespace}/{name}" key "{key}" is no regular file: `{command} < FILE`')
            data = stream.read(MAX_SECRET_BYTES + 1)
        if len(data) > MAX_SECRET_BYTES:
            raise ConfigError(f'secret "{namespace}/{name}" key "{key}" is larger than 1 MiB')
        return data

    def secret_keys(self, namespace: str, name: str) -> list[str]:
        """The keys that a secret has. Raises ConfigError when it has none."""
        folder = self.state / "secrets" / namespace / name
        try:
            keys = sorted(entry.name for entry in folder.iterdir() if _KEY.match(entry.name))
        except OSError:
            keys = []
        if not keys:
            raise ConfigError(
                f'secret "{namespace}/{name}" is missing: set it with `reconciler secret set {namespace}/{name} KEY`'
            )
        return keys

    def config(self, namespace: str, name: str) -> dict[str, bytes]:
        """All of a ConfigMap. Raises ConfigError when it is not there."""
        body = self.config_map(namespace, name)
        if body is None:
            raise ConfigError(f'configmap "{namespace}/{name}" not found')
        values = {key: value.encode() for key, value in body.get("data", {}).items()}
        for key, value in body.get("binaryData", {}).items():
            try:
                values[key] = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                raise ConfigError(f'configmap "{namespace}/{name}": binaryData {key!r} is not base64') from None
        return values

    def config_key(self, namespace: str, name: str, key: str) -> bytes:
        """One key of a ConfigMap. Raises ConfigError when it is not there."""
        values = self.config(namespace, name)
        if key not in values:
            raise ConfigError(f'configmap "{namespace}/{name}" has no key {key!r}')
        return values[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathMap:
    """Mount paths of a container and the folders that stand for them, longest first."""

    pairs: tuple[tuple[str, Path], ...] = field(default=())

    def translate(self, text: str) -> str:
        """`text` with a mount path at its start replaced by the folder; anything else as it is.

        Without a chroot, what lies below a mount path on this machine is still to be seen: a program under /tmp is that
        program, unless the volume holds a file of this name.
        """
        for mount, folder in self.pairs:
            if text == mount:
                return str(folder)
            if text.startswith(f"{mount}/"):
                inside = f"{folder}{text[len(mount) :]}"
                return text if os.path.lexists(text) and not os.path.lexists(inside) else inside
        return text


def pod_folder(state: Path, namespace: str, name: str) -> Path:
    return state / "pods" / namespace / name


def lay_out(pod: Body, folder: Path, sources: Sources) -> None:
    """Write the volumes of a pod below `folder`, each file whole or not at all. Raises ConfigError, OSError."""
    namespace = pod["metadata"]["namespace"]
    (folder / "volumes").mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "tmp").mkdir(mode=0o700, exist_ok=True)
    for volume in pod["spec"].get("volumes", ()):
        place = folder / "volumes" / volume["name"]
        place.mkdir(mode=0o700, exist_ok=True)
        files = _volume_files(volume, namespace, sources)
        if files is None:
            continue
        for name, data in files.items():
            write_file(place / name, data, secret="secret" in volume)
        wanted = {place / name for name in files}
        for path in place.rglob("*"):
            if path.is_file() and path not in wanted:
                path.unlink()


def write_file(path: Path, data: bytes, *, secret: bool = False) -> None:
    """Write a file by a temporary one beside it and a rename; nothing when it is that already."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        if not path.is_symlink() and path.read_bytes() == data:
            return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(descriptor, 0o600 if secret else 0o644)
        stream.write(data)
    Path(temporary).replace(path)


def mounts(container: Body, folder: Path) -> PathMap:
    """Where the mount paths of a container really lie. Raises ConfigError for a subPath that leads out."""
    pairs = []
    for mount in container.get("volumeMounts", ()):
        place = folder / "volumes" / mount["name"]
        if sub := mount.get("subPath"):
            place = place / _inside(sub)
        path = "/" + str(mount["mountPath"]).strip("/")
        pairs.append((path, place))
    return PathMap(pairs=tuple(sorted(pairs, key=lambda pair: (-len(pair[0]), pair[0]))))


def remove(folder: Path) -> None:
    """Remove a pod's folder, and its namespace's when that was the last."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


def _volume_files(volume: Body, namespace: str, sources: Sources) -> dict[str, bytes] | None:
    """The files of a volume by relative path; None for one that is only a folder (emptyDir)."""
    if source := volume.get("configMap"):
        return _chosen(source, source.get("name", ""), namespace, sources.config)
    if source := volume.get("secret"):
        return _chosen(source, source.get("secretName", ""), namespace, _secret(sources, source))
    if source := volume.get("projected"):
        return _projected(source, namespace, sources)
    if "emptyDir" in volume or set(volume) == {"name"}:
        return None
    kind = min(set(volume) - {"name"})
    raise ConfigError(
        f"volume {volume['name']!r}: no {kind} volumes on the embedded cluster (configMap, secret, emptyDir, projected)"
    )


def _projected(source: Body, namespace: str, sources: Sources) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for part in source.get("sources", ()):
        if config := part.get("configMap"):
            files |= _chosen(config, config.get("name", ""), namespace, sources.config)
        elif secret := part.get("secret"):
            files |= _chosen(secret, secret.get("name", ""), namespace, _secret(sources, secret))
    return files


def _secret(sources: Sources, source: Body) -> Callable[[str, str], dict[str, bytes]]:
    def read(namespace: str, name: str) -> dict[str, bytes]:
        items = source.get("items")
        keys = [item["key"] for item in items] if items else sources.secret_keys(namespace, name)
        return {key: sources.secret(namespace, name, key) for key in keys}

    return read


def _chosen(source: Body, name: str, namespace: str, read: Callable[[str, str], dict[str, bytes]]) -> dict[str, bytes]:
    """The files that a ConfigMap or secret gives: those of `items`, or one for each key."""
    optional = source.get("optional", False)
    try:
        values = read(namespace, name)
    except ConfigError:
        if optional:
            return {}
        raise
    items = source.get("items") or [{"key": key, "path": key} for key in values]
    missing = [item["key"] for item in items if item["key"] not in values]
    if missing and not optional:
        raise ConfigError(f"{namespace}/{name} has no key {missing[0]!r}")
    return {str(_inside(item["path"])): values[item["key"]] for item in items if item["key"] in values}


def _inside(text: str) -> Path:
    """A relative path that stays below its folder. Raises ConfigError."""
    path = Path(text)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in text:
        raise ConfigError(f"{text[:80]!r} is not a path inside a volume")
    return path
