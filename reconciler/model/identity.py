"""Who and what: names of agents, references to objects, paths of fields. Identity excludes version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

import msgspec

_TELLING = re.compile(r'[./\[\]"\\]')
_ESCAPED = re.compile(r'(["\\])')
FieldPath = tuple[str, ...]
"""Keys from the root of a mapping; list items as "[name]" (named lists) or "[0]"."""


def format_path(path: FieldPath) -> str:
    """`("env", "[LOG]", "value")` as `env[LOG].value`; keys that a path could not be read from again are quoted."""
    text = ""
    for part in path:
        if part.startswith("["):
            text += part
        elif not part or _TELLING.search(part):
            escaped = _ESCAPED.sub(r"\\\1", part)
            text += f'["{escaped}"]'
        else:
            text += f".{part}" if text else part
    return text


class AgentName(msgspec.Struct, frozen=True, kw_only=True, order=True, cache_hash=True, gc=False):
    """The one identity of an agent: namespace and name, whatever the file it stands in.

    No dataclass, because names are what nearly every mapping is looked up by: this one remembers its hash.
    """

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `namespace/name`. Raises ValueError when it is not of that form."""
        namespace, slash, name = text.partition("/")
        if not (slash and namespace and name) or "/" in name:
            raise ValueError(f"{text!r} is not of the form namespace/name")
        return cls(namespace=namespace, name=name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ObjectRef:
    """A Kubernetes object inside one cluster; `group` is "" for the core group, `namespace` "" for cluster scope."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        kind = f"{self.kind}.{self.group}" if self.group else self.kind
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{kind} {where}{self.name}"
