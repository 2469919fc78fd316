"""An agent's file as text: keys in the order that people know, and before them what the file could not say.

May live here: YAML of a draft. Must not: decide what stands in it.

What is written is read back by the reader of files; text that would come back as something else is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from reconciler.importing.notes import Fate, Note
from reconciler.model.identity import AgentName
from reconciler.model.objects import API_VERSION
from reconciler.spec.authoring import AgentBody
from reconciler.spec.scalars import plain

_ORDER = {(info.alias or name): index for index, (name, info) in enumerate(AgentBody.model_fields.items())}
_UNSAFE = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]+")
"""What would end a comment's line, or drive a terminal."""
_TURNS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
MAX_COMMENT = 400
_HEADINGS = {
    Fate.TO_DO: "To be done by hand:",
    Fate.LOST: "Lost, for the Deployment is replaced:",
    Fate.CHANGES: "What an adoption changes:",
    Fate.LEFT_OUT: "Not in this file; on what runs it stays as it is:",
}
_FLOW_KEYS = frozenset({"metadata"})


def document_of(name: AgentName, labels: dict[str, str], spec: dict[str, Any]) -> dict[str, Any]:
    """The document of an agent, keys in the order of the reference."""
    metadata: dict[str, Any] = {"name": name.name, "namespace": name.namespace}
    if labels:
        metadata["labels"] = dict(sorted(labels.items()))
    ordered = {key: spec[key] for key in sorted(spec, key=lambda key: _ORDER.get(key, len(_ORDER)))}
    return {"apiVersion": API_VERSION, "kind": "Agent", "metadata": metadata, "spec": ordered}


def text_of(document: dict[str, Any], *, head: str, notes: Iterable[Note]) -> str:
    """The file's text: a comment of where it came from and of what is not in it, then the document."""
    lines = [f"# {comment(head)}"]
    for fate, heading in _HEADINGS.items():
        told = [note for note in notes if note.fate is fate]
        if told:
            lines.append(f"# {heading}")
            lines += [f"#   {comment(note.path)}: {comment(note.text)}" for note in told]
    return "\n".join(lines) + "\n" + _yaml(document)


def comment(text: str) -> str:
    """`text` for the middle of a line: nothing in it ends the line or turns it round."""
    flat = _TURNS.sub("?", _UNSAFE.sub(" ", text))
    return flat if len(flat) <= MAX_COMMENT else f"{flat[: MAX_COMMENT - 1]}…"


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is the base's
        return True


def _text(dumper: Any, data: str) -> Any:
    style = None
    if "\n" in data and not _UNSAFE.search(data.replace("\n", "").replace("\t", "")):
        style = "|"
    elif not _comes_back(data):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


def _comes_back(data: str) -> bool:
    """Whether plain text is read as the text that it is: this reader and older ones see numbers in other places."""
    try:
        return plain(data) == data
    except ValueError:
        return False


_Dumper.add_representer(str, _text)


def _yaml(document: dict[str, Any]) -> str:
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text
