"""The environment and command line of a container's process: what the spec says, and little else.

Reads no environment of ours: what is handed on (PATH, HOME, LANG) comes in as a parameter.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from reconciler.adapters.embedded.kubelet.files import ConfigError, PathMap, Sources
from reconciler.adapters.embedded.kubelet.ports import HOST
from reconciler.model.units import stored_amount

Body = dict[str, Any]
_REFERENCE = re.compile(r"\$\$|\$\(([^()]*)\)")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]\Z")
_FORBIDDEN = re.compile(r"[\0=]")


class LaunchError(Exception):
    """A container cannot be started; `reason` is the waiting reason as Kubernetes names it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a container is set up from. `inherited` is PATH, HOME and LANG; `ports` as in `port_variables`."""

    pod: Body
    container: Body
    sources: Sources
    paths: PathMap
    ports: Mapping[str, int]
    inherited: Mapping[str, str]
    tmp: Path


def build(setting: Setting) -> dict[str, str]:
    """The whole environment of the process. Raises ConfigError for what a reference does not find."""
    env = {**setting.inherited, "TMPDIR": setting.paths.translate("/tmp")}  # noqa: S108 - a mount path, looked up
    if env["TMPDIR"] == "/tmp":  # noqa: S108 - as above
        env["TMPDIR"] = str(setting.tmp)
    given = port_variables(setting.container, setting.ports)
    env |= given
    for source in setting.container.get("envFrom", ()):
        env |= _from(source, setting)
    for entry in setting.container.get("env", ()):
        name = entry["name"]
        if not name or _FORBIDDEN.search(name):
            raise ConfigError(f"{name[:60]!r} cannot be the name of an environment variable")
        if "valueFrom" in entry:
            value = _value_from(entry["valueFrom"], setting)
        else:
            value = setting.paths.translate(expand(str(entry.get("value", "")), env))
        if value is None:
            continue
        if "\0" in value:
            raise ConfigError(f"the value of environment variable {name} holds a NUL byte")
        if name not in given:
            env[name] = value
    return env | given


def port_variables(container: Body, ports: Mapping[str, int]) -> dict[str, str]:
    """HOST, PORT (the first port) and PORT_<NAME>. `ports` maps names and numbers of container ports to real ones."""
    declared = container.get("ports", ())
    first = ports.get(port_key(declared[0])) if declared else ports.get("default")
    env = {"HOST": HOST}
    if first is not None:
        env["PORT"] = str(first)
    for port in declared:
        if name := port.get("name"):
            env["PORT_" + re.sub(r"[^A-Z0-9]", "_", name.upper())] = str(ports[port_key(port)])
    return env


def port_key(port: Body) -> str:
    """The key of a container port in the pod's port mapping: its number."""
    return str(port.get("containerPort", 0))


def expand(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` replaced by its value, unknown names left as they are, `$$` for a dollar sign.

    Source: Kubernetes' third_party/forked/golang/expansion.
    """

    def one(match: re.Match[str]) -> str:
        if match.group() == "$$":
            return "$"
        return env.get(match.group(1), match.group())

    return _REFERENCE.sub(one, text)


def command(setting: Setting, env: Mapping[str, str]) -> list[str]:
    """The command line. Raises LaunchError when the spec has only an image."""
    container = setting.container
    words = [*container.get("command", ()), *container.get("args", ())]
    if not container.get("command"):
        image = container.get("image", "")
        raise LaunchError(
            "RunContainerError",
            f"image {image!r} cannot be run: the embedded cluster runs processes of this machine, not images; "
            f"say `command` for container {container['name']!r}",
        )
    return [setting.paths.translate(expand(word, env)) for word in words]


def find(argv: list[str], env: Mapping[str, str], cwd: Path, *, written: str) -> str:
    """The program that `argv[0]` names, by the PATH of the process. Raises LaunchError with where it was looked for.

    `written` is that word as the spec has it: only it is shown, for a command line may hold secrets by now.
    """
    name, path = argv[0], env.get("PATH", os.defpath)
    if not name or "\0" in "".join(argv):
        raise LaunchError("RunContainerError", "the command is empty or holds a NUL byte")
    if "/" in name:
        file = cwd / name
        if not file.exists():
            raise LaunchError("RunContainerError", f"command {written!r} not found: there is no {cwd / written}")
        if file.is_dir() or not os.access(file, os.X_OK):
            raise LaunchError(
                "RunContainerError", f"command {written!r} cannot be run: {cwd / written} is not executable"
            )
        return str(file)
    folders = os.pathsep.join(str(cwd / part) for part in path.split(os.pathsep) if part)
    found = shutil.which(name, path=folders)
    if found is None:
        raise LaunchError("RunContainerError", f"command {written!r} not found on this machine (PATH {path})")
    return found


def _from(source: Body, setting: Setting) -> dict[str, str]:
    prefix, namespace, sources = source.get("prefix", ""), setting.pod["metadata"]["namespace"], setting.sources
    config, secret = source.get("configMapRef"), source.get("secretRef")
    reference: Body = config or secret or {"optional": True}
    name = reference.get("name", "")
    try:
        if config:
            values = sources.config(namespace, name)
        else:
            values = {key: sources.secret(namespace, name, key) for key in sources.secret_keys(namespace, name)}
    except ConfigError:
        if reference.get("optional"):
            return {}
        raise
    return {f"{prefix}{key}": os.fsdecode(value) for key, value in values.items() if b"\0" not in value}


def _value_from(source: Body, setting: Setting) -> str | None:
    namespace = setting.pod["metadata"]["namespace"]
    if reference := source.get("secretKeyRef"):
        try:
            return os.fsdecode(setting.sources.secret(namespace, reference["name"], reference["key"]))
        except ConfigError:
            if reference.get("optional"):
                return None
            raise
    if reference := source.get("configMapKeyRef"):
        try:
            return os.fsdecode(setting.sources.config_key(namespace, reference["name"], reference["key"]))
        except ConfigError:
            if reference.get("optional"):
                return None
            raise
    if reference := source.get("fieldRef"):
        return _field(reference.get("fieldPath", ""), setting.pod)
    if reference := source.get("resourceFieldRef"):
        return _resource(reference, setting)
    raise ConfigError(f"the embedded cluster knows no environment value from {sorted(source)}")


def _field(path: str, pod: Body) -> str:
    """Source: the downward API of Kubernetes."""
    metadata, spec = pod["metadata"], pod["spec"]
    if found := _SUBSCRIPT.match(path):
        return str(metadata.get(found.group(1), {}).get(found.group(2), ""))
    known = {
        "metadata.name": metadata.get("name", ""),
        "metadata.namespace": metadata.get("namespace", ""),
        "metadata.uid": metadata.get("uid", ""),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.podIP": HOST,
        "status.podIPs": HOST,
        "status.hostIP": HOST,
        "status.hostIPs": HOST,
    }
    if path not in known:
        raise ConfigError(f"the embedded cluster knows no field {path[:80]!r} of a pod ({', '.join(known)})")
    return str(known[path])


def _resource(reference: Body, setting: Setting) -> str:
    """A request or limit, in units of `divisor`, rounded up; a limit that is not set is what the machine has."""
    kind, _, name = str(reference.get("resource", "")).partition(".")
    named = reference.get("containerName", setting.container["name"])
    container = next((each for each in setting.pod["spec"]["containers"] if each["name"] == named), setting.container)
    resources = container.get("resources", {})
    text = resources.get(kind, {}).get(name) or resources.get("limits", {}).get(name)
    if text is None:
        machine = {"cpu": os.cpu_count() or 1, "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")}
        value = Fraction(machine.get(name, 0))
    else:
        value = stored_amount(str(text))
    divisor = stored_amount(str(reference.get("divisor") or "1")) or Fraction(1)
    return str(-(-value // divisor))
