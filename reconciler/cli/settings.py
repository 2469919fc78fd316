"""Settings and where each came from: flag, then environment, then reconciler.yaml, then default.

May hold: the table of settings, and reading them. Reading is bounded: reconciler.yaml is a flat mapping of scalars.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from reconciler.model.errors import UsageError
from reconciler.model.units import Duration

FILE_NAME = "reconciler.yaml"
MAX_FILE_BYTES = 64 * 1024
MAX_PARALLELISM = 256
MOST_SHARDS = 64
LEAST_S = 1.0
LEAST_HEALTH_S = 8 * 86_400.0
LEAST_HISTORY_MS = 3_600_000
_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")
_SHARE = re.compile(r"(?:[0-9]{1,5}|(?:100|[0-9]{1,2})%)\Z")
_MAX_DELETES = re.compile(r"(?:[0-9]{1,7}|(?:100|[0-9]{1,2})%)\Z")


def _color(text: str) -> str:
    if text not in ("auto", "always", "never"):
        raise ValueError("must be auto, always or never")
    return text


def _one_of(*known: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in known:
            raise ValueError(f"must be {', '.join(known[:-1])} or {known[-1]}")
        return text

    return check


def _interval(text: str) -> str:
    if Duration.parse(text).seconds < LEAST_S:
        raise ValueError(f"must be at least {LEAST_S:.0f}s")
    return text


def _sweep(text: str) -> str:
    return _interval(text) if text else text


def _shards(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,2}", text) or not 1 <= int(text) <= MOST_SHARDS:
        raise ValueError(f"must be a number from 1 to {MOST_SHARDS}")
    return text


def _health(text: str) -> str:
    if Duration.parse(text).seconds < LEAST_HEALTH_S:
        raise ValueError("must be at least 8d: availability looks a week back")
    return text


def _history(text: str) -> str:
    if text and Duration.parse(text).ms < LEAST_HISTORY_MS:
        raise ValueError("must be at least 1h")
    return text


def _any(text: str) -> str:
    return text


def _namespace(text: str) -> str:
    if text and not _LABEL.match(text):
        raise ValueError("must be a namespace: lower-case letters, digits and '-', at most 63")
    return text


def _parallelism(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MAX_PARALLELISM:
        raise ValueError(f"must be a number from 1 to {MAX_PARALLELISM}")
    return text


def _duration(text: str) -> str:
    Duration.parse(text)
    return text


def _optional_duration(text: str) -> str:
    return _duration(text) if text else text


def _max_deletes(text: str) -> str:
    if text and not _MAX_DELETES.match(text):
        raise ValueError("must be a number like 5, or a percentage like 10%")
    return text


def _share(text: str) -> str:
    if not _SHARE.match(text):
        raise ValueError("must be a number like 5, or a percentage like 10%")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its name in reconciler.yaml, what holds without it, how it is checked, and what it is for."""

    key: str
    default: str
    check: Callable[[str], str]
    text: str

    @property
    def flag(self) -> str:
        return "--" + re.sub(r"[A-Z]", lambda match: "-" + match.group().lower(), self.key)

    @property
    def variable(self) -> str:
        return "RECONCILER_" + self.flag[2:].replace("-", "_").upper()


SETTINGS: Mapping[str, Setting] = {
    setting.key: setting
    for setting in (
        Setting(key="color", default="auto", check=_color, text="colour: auto, always or never"),
        Setting(key="namespace", default="", check=_namespace, text="namespace of `get` without -n or -A"),
        Setting(key="parallelism", default="10", check=_parallelism, text="how many agents `apply` changes at once"),
        Setting(
            key="timeout", default="", check=_optional_duration, text="bound of each rollout, instead of the agent's"
        ),
        Setting(key="lockTimeout", default="0s", check=_duration, text="how long `apply` waits for another apply"),
        Setting(
            key="maxDeletes", default="", check=_max_deletes, text="deletions allowed instead of the fleet's budget"
        ),
        Setting(key="repo", default="", check=_any, text="repository that the daemon follows, not the one here"),
        Setting(key="branch", default="", check=_any, text="branch that the daemon follows, else what is current"),
        Setting(key="path", default="", check=_any, text="where the fleet lies in `repo`"),
        Setting(key="state", default="", check=_any, text="where the daemon mirrors `repo` and keeps state"),
        Setting(
            key="mode",
            default="apply",
            check=_one_of("apply", "plan-only"),
            text="whether the daemon acts or only tells",
        ),
        Setting(key="poll", default="10s", check=_interval, text="how often the daemon asks Git"),
        Setting(key="resync", default="1m", check=_interval, text="how often the daemon looks at everything unasked"),
        Setting(
            key="sweep", default="", check=_sweep, text="how often the daemon sweeps health, else as agents declare"
        ),
        Setting(
            key="remediesAtOnce",
            default="5%",
            check=_share,
            text="remedies that the daemon has under way at a time, in the fleet and on each cluster; a percentage of "
            "the agents is 3 at least",
        ),
        Setting(
            key="remediesBegun",
            default="20%",
            check=_share,
            text="remedies that the daemon begins within ten minutes, likewise; a percentage is 10 at least",
        ),
        Setting(
            key="keepRevisions",
            default="",
            check=_history,
            text="age from which on the daemon prunes revisions and feed of the registry; empty keeps all",
        ),
        Setting(key="shards", default="1", check=_shards, text="parts in which daemons share the agents out"),
        Setting(
            key="sharedRegistry",
            default="false",
            check=_one_of("true", "false"),
            text="whether a daemon begins only with a registry that other machines reach too",
        ),
        Setting(key="listen", default="", check=_any, text="HOST:PORT where the daemon answers over HTTP"),
        Setting(key="access", default="", check=_any, text="file that says who may use the daemon's API"),
        Setting(
            key="anonymousRead",
            default="false",
            check=_one_of("true", "false"),
            text="whether whoever is on this machine may read the daemon's API",
        ),
        Setting(key="tlsCert", default="", check=_any, text="certificate that the daemon serves HTTPS with"),
        Setting(key="tlsKey", default="", check=_any, text="key of `tlsCert`"),
        Setting(key="clientCa", default="", check=_any, text="certificate that signs those of the daemon's callers"),
        Setting(
            key="trustedProxies",
            default="",
            check=_any,
            text="addresses or networks of proxies that the daemon believes whom they ask for",
        ),
        Setting(key="history", default="30d", check=_health, text="how long the daemon keeps the history of health"),
        Setting(key="log", default="text", check=_one_of("text", "json"), text="format of the daemon's lines"),
        Setting(
            key="logLevel",
            default="info",
            check=_one_of("debug", "info", "warning", "error"),
            text="the least that the daemon tells",
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A setting's value and where it was said: a flag, a variable, `file:line`, or "default"."""

    text: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    values: Mapping[str, Value]

    def text(self, key: str) -> str:
        return self.values[key].text

    def number(self, key: str) -> int:
        return int(self.values[key].text)

    def length(self, key: str) -> float:
        """A duration in seconds."""
        return Duration.parse(self.values[key].text).seconds

    def seconds(self, key: str) -> float | None:
        """A duration in seconds; None where it is empty."""
        text = self.values[key].text
        return Duration.parse(text).seconds if text else None


def resolve(flags: Mapping[str, str | None], environment: Mapping[str, str], folder: Path) -> Settings:
    """All settings, for a command that starts in `folder`. Raises UsageError naming the place of a bad one."""
    path = find_file(folder)
    written = read_file(path) if path else {}
    values = {}
    for key, setting in SETTINGS.items():
        flag, variable = flags.get(key), environment.get(setting.variable)
        if flag is not None:
            value = Value(text=flag, origin=setting.flag)
        elif variable:
            value = Value(text=variable, origin=setting.variable)
        elif key in written:
            value = written[key]
        else:
            value = Value(text=setting.default, origin="default")
        values[key] = _checked(setting, value)
    return Settings(values=values)


def _checked(setting: Setting, value: Value) -> Value:
    try:
        setting.check(value.text)
    except ValueError as error:
        raise UsageError(f"{value.origin}: {value.text[:60]!r}: {error}", hint=f"it sets: {setting.text}") from error
    return value


def find_file(folder: Path) -> Path | None:
    """The nearest reconciler.yaml from `folder` up to the Git root; outside of Git only `folder` is looked at."""
    found: Path | None = None
    here: Path | None = None
    for index, candidate in enumerate((folder, *folder.parents)):
        path = candidate / FILE_NAME
        if found is None and path.is_file():
            found = path
        if (candidate / ".git").exists():
            return found
        if index == 0:
            here = found
    return here


def read_file(path: Path) -> dict[str, Value]:
    """The settings in a reconciler.yaml, each with its line. Raises UsageError for anything but known scalars."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{path} is larger than {MAX_FILE_BYTES // 1024} KiB", hint="it holds a few settings only")
    shown = os.path.relpath(path)
    values: dict[str, Value] = {}
    for line, key, text in _pairs(data, shown):
        if key not in SETTINGS:
            near = get_close_matches(key, SETTINGS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "settings are: " + ", ".join(SETTINGS)
            raise UsageError(f"{shown}:{line}: unknown setting {key[:60]!r}", hint=hint)
        if key in values:
            raise UsageError(f"{shown}:{line}: {key!r} is set twice")
        values[key] = Value(text=text, origin=f"{shown}:{line}")
    return values


def _pairs(data: bytes, shown: str) -> list[tuple[int, str, str]]:
    """(line, key, value) of a flat YAML mapping, read from parse events so that nothing is ever built or nested."""
    import yaml

    scalars: list[tuple[int, str]] = []
    depth = 0
    try:
        for event in yaml.parse(data, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.ScalarEvent):
                scalars.append((event.start_mark.line + 1 if event.start_mark else 1, event.value))
            elif isinstance(event, yaml.MappingStartEvent):
                depth += 1
            elif isinstance(event, yaml.AliasEvent | yaml.SequenceStartEvent):
                depth = 2
            if depth > 1 or (scalars and not depth and not isinstance(event, yaml.StreamEndEvent)):
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise UsageError(f"{shown}:{line}: settings are `name: value` lines, nothing nested")
            if isinstance(event, yaml.MappingEndEvent):
                break
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{shown}:{mark.line + 1}" if mark else shown
        raise UsageError(f"{place}: not YAML: {getattr(error, 'problem', '') or 'unreadable bytes'}") from error
    return [(scalars[index][0], scalars[index][1], scalars[index + 1][1]) for index in range(0, len(scalars) - 1, 2)]
