"""Saved plans on the command line: read with suspicion, shown again as what they were, and told apart from now."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reconciler.cli.paths import parse_path
from reconciler.cli.views.plan_words import attribute_name, inline
from reconciler.model.errors import ReconcilerError, UsageError
from reconciler.model.identity import AgentName, FieldPath, ObjectRef
from reconciler.model.objects import AnyState
from reconciler.model.plan import (
    Action,
    AttributeChange,
    BlastRadius,
    Change,
    Completeness,
    Drift,
    Hold,
    HoldCode,
    Masked,
    Missing,
    ObjectChange,
    Plan,
    Reason,
    ReasonCode,
    Risk,
    Verb,
)
from reconciler.model.registry import PlacedReplicas
from reconciler.model.source import Diagnostic, Position, Provenance, Revision, Severity
from reconciler.plan.planfile import MAX_BYTES, Difference, PlanFileError, SavedPlan, load

AGAIN = "make a new one with `reconciler plan --out FILE`"
MAX_SHOWN = 20


def read_saved(path: Path) -> SavedPlan:
    """Read a plan file. Raises UsageError where it cannot be read, PlanFileError where it is none."""
    return load(_bytes(path))


def _bytes(path: Path) -> bytes:
    """The bytes of a regular file, at most one more than a plan may have. Never waits for a pipe to be written."""
    shown = str(path)[:300]
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot read the plan {shown}: {reason}", hint=AGAIN) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise UsageError(f"{shown} is no plan: it is not a regular file", hint=AGAIN)
    with os.fdopen(descriptor, "rb") as stream:
        if found.st_size > MAX_BYTES:
            raise PlanFileError(f"{shown} has {found.st_size} bytes, {MAX_BYTES} are allowed", hint=AGAIN)
        return stream.read(MAX_BYTES + 1)


def plan_of(saved: SavedPlan) -> Plan:
    """The plan that a file shows, for views only: it holds no manifests. Raises PlanFileError."""
    document = saved.document
    try:
        return Plan(
            fleet=saved.fleet,
            revision=Revision(
                commit=saved.commit,
                ref=document.get("ref", ""),
                working_tree=bool(document.get("workingTree")),
                dirty=tuple(map(str, document.get("dirty", ()))),
            ),
            completeness=tuple(
                Completeness(source=item["source"], problem=item["problem"])
                for item in document.get("completeness", ())
            ),
            changes=tuple(_change(item) for item in document["changes"]),
            holds=tuple(_hold(item) for item in document.get("holds", ())),
            blast_radius=tuple(
                BlastRadius(template=item["template"], changed=_names(item["changed"]), total=item["total"])
                for item in document.get("blastRadius", ())
            ),
            diagnostics=tuple(_diagnostic(item) for item in document.get("diagnostics", ())),
            drift=tuple(_drift(item) for item in document.get("drift", ())),
            partial=bool(document.get("partial")),
            agents=document.get("summary", {}).get("agents", 0),
            idle=tuple(map(str, document.get("idle", ()))),
            policy=saved.policy,
        )
    except (KeyError, TypeError, ValueError, AttributeError, ReconcilerError) as error:
        raise PlanFileError(f"the plan file is damaged: {error}", hint=AGAIN) from error


def _change(item: Mapping[str, Any]) -> Change:
    before, after = item["replicas"]
    return Change(
        name=AgentName.parse(item["agent"]),
        action=Action(item["action"]),
        wave=int(item["wave"]),
        after=_names(item["after"]),
        reasons=tuple(
            Reason(code=ReasonCode(reason["code"]), text=reason["text"], origin=_origin(reason["origin"]))
            for reason in item["reasons"]
        ),
        attributes=tuple(_attribute(attribute) for attribute in item["attributes"]),
        hidden=int(item["unchanged"]),
        drift=tuple(_drift(drift) for drift in item["drift"]),
        objects=tuple(
            ObjectChange(
                cluster=found["cluster"],
                ref=ObjectRef(**found["object"]),
                verb=Verb(found["verb"]),
                expect=AnyState(),
                force=tuple(found["force"]),
            )
            for found in item["objects"]
        ),
        risks=tuple(Risk(risk) for risk in item["risks"]),
        replicas=(before, after),
        replicas_text=item["replicasText"],
        fingerprint=item["fingerprint"],
        record_version=0,
        placement=tuple(PlacedReplicas(**placed) for placed in item["placement"]),
        behind=tuple(item.get("behind", ())),
    )


def _attribute(item: Mapping[str, Any]) -> AttributeChange:
    return AttributeChange(
        path=_path(item["path"]),
        before=_value(item, "before"),
        after=_value(item, "after"),
        origin=_origin(item["origin"]),
        forces_replacement=bool(item.get("forcesReplacement")),
    )


def _path(text: str) -> FieldPath:
    """A path that was written by us. The name of a list's item may be anything: from there on it is shown as it is."""
    try:
        return parse_path(text, len(text))
    except UsageError:
        head, bracket, rest = text.partition("[")
        return (*parse_path(head, len(head)), bracket + rest)


_MARKS: Mapping[str, Any] = {str(mark): mark for mark in (*Masked, Missing.FIELD)}


def _value(item: Mapping[str, Any], key: str) -> Any:
    value = item.get(key, Missing.FIELD)
    return _MARKS.get(value, value) if isinstance(value, str) else value


def _origin(item: Mapping[str, Any] | None) -> Provenance | None:
    if item is None:
        return None
    return Provenance(layer=item["layer"], revision="", position=_position(item["position"]))


def _position(text: str) -> Position | None:
    """Read `path:line` or `path:line:column`."""
    head, _, last = text.rpartition(":")
    path, _, line = head.rpartition(":")
    if path and line.isdigit() and last.isdigit():
        return Position(path=path, line=int(line), column=int(last))
    return Position(path=head, line=int(last)) if head and last.isdigit() else None


def _drift(item: Mapping[str, Any]) -> Drift:
    return Drift(
        cluster=item["cluster"],
        ref=ObjectRef(**item["object"]),
        path=item["path"],
        manager=item["manager"],
        before=_value(item, "want"),
        after=_value(item, "found"),
        undone=bool(item["undone"]),
    )


def _hold(item: Mapping[str, Any]) -> Hold:
    return Hold(
        code=HoldCode(item["code"]),
        agents=_names(item["agents"]),
        action=Action(item["action"]) if item["action"] else None,
        text=item["text"],
        lift=item["lift"],
        blocks_exit=bool(item["blocksExit"]),
        origin=_position(item.get("origin", "")),
        until_ms=int(item.get("untilMs", 0)),
    )


def _diagnostic(item: Mapping[str, Any]) -> Diagnostic:
    return Diagnostic(
        severity=Severity(item["severity"]),
        code=item["code"],
        message=item["message"],
        position=_position(item["position"]) or Position(path=item["position"]),
        hint=item["hint"],
    )


def _names(texts: Sequence[str]) -> tuple[AgentName, ...]:
    return tuple(AgentName.parse(text) for text in texts)


def told(differences: Sequence[Difference]) -> str:
    """Plan against plan: for each agent what was saved and what would be done now."""
    lines = []
    for difference in differences[:MAX_SHOWN]:
        lines.append(str(difference.agent))
        lines += [f"  saved: {line}" for line in _lines(difference.saved)]
        lines += [f"  now:   {line}" for line in _lines(difference.now)]
    if len(differences) > MAX_SHOWN:
        lines.append(f"... and {len(differences) - MAX_SHOWN} more agents")
    return "\n".join(lines)


def _lines(item: Mapping[str, Any] | None) -> list[str]:
    if not item:
        return ["nothing to do"]
    change = _change(item)
    head = f"{change.action}"
    if None not in change.replicas and change.replicas[0] != change.replicas[1]:
        head += f", replicas {change.replicas[0]} -> {change.replicas[1]}"
    return [
        head,
        *(f"  {attribute_name(part)}: {inline(part.before, part.after)}" for part in change.attributes[:MAX_SHOWN]),
    ]
