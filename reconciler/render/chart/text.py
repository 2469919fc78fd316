"""YAML text for files that Helm reads: any value survives both its YAML 1.1 parser and a person's editor.

May live here: how values are written. Text is always quoted, or a literal block where it has several lines: plain words
like `y`, `1e3` or `012` mean other things to other parsers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9./-]+\Z")
_WORDS = frozenset({"yes", "no", "on", "off", "true", "false", "null"})
_BLOCK = re.compile(r"[^\x85\u2028\u2029]*[^\n\x85\u2028\u2029]\n?\Z")
"""Text that a block holds as it is. One with more line feeds at its end would need the end of the document marked."""
_WIDE = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A key of the top level, with what is told above it. A section without a comment follows the one before it."""

    key: str
    value: Any
    comment: str = ""


def document(sections: Iterable[Section]) -> str:
    """The sections as one YAML document, in their order."""
    parts: list[str] = []
    for section in sections:
        told = "".join(f"# {line}\n" for line in section.comment.splitlines())
        parts.append(("\n" if parts and told else "") + told + _dumped({section.key: section.value}))
    return "".join(parts)


def _dumped(value: Any) -> str:
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=_WIDE
    )
    return text


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is the base's
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Indent the items of a list below its key, as charts do."""
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    block = "\n" in data and _BLOCK.match(data)
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if block else '"')


def _mapping(dumper: yaml.SafeDumper, data: dict[str, Any]) -> yaml.MappingNode:
    node = dumper.represent_mapping("tag:yaml.org,2002:map", data.items())
    for key, _ in node.value:
        plain = _PLAIN_KEY.match(key.value) and key.value.lower() not in _WORDS
        key.style = None if plain else '"'
    return node


_Dumper.add_representer(str, _text)
_Dumper.add_representer(dict, _mapping)
