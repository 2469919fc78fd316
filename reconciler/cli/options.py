"""Options that several commands take, and what their values mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from reconciler.cli.output import one_line
from reconciler.model.errors import UsageError
from reconciler.model.identity import AgentName
from reconciler.model.plan import Policy

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")
_REQUIREMENT = re.compile(
    r"\s*(?:(?P<absent>!)?\s*(?P<key>[A-Za-z0-9][-A-Za-z0-9_./]{0,316})"
    r"(?:\s*(?P<operator>==|=|!=)\s*(?P<value>[A-Za-z0-9][-A-Za-z0-9_.]{0,62})?"
    r"|\s+(?P<set>in|notin)\s*\((?P<values>[^()]{0,2000})\))?)\s*\Z"
)
MAX_SELECTOR = 4096

Agent = Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="The agent.")]
Output = Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="Format.")]
TableOutput = Annotated[
    Literal["table", "wide", "json", "yaml", "name"], typer.Option("-o", "--output", help="Format.")
]
PlanOutput = Annotated[Literal["text", "json", "markdown"], typer.Option("-o", "--output", help="Format.")]
Ref = Annotated[
    str | None,
    typer.Option("--ref", metavar="REF", help="Plan this commit, branch or tag instead of what is checked out."),
]
WorkingTree = Annotated[bool, typer.Option("--working-tree", help="Plan the files as they are, committed or not.")]
Target = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="NAMESPACE/NAME", help="Only this agent (repeatable); the plan is then partial."),
]
Cluster = Annotated[list[str] | None, typer.Option("--cluster", metavar="NAME", help="Only this cluster (repeatable).")]
MaxDeletes = Annotated[
    str | None, typer.Option("--max-deletes", metavar="N|N%", help="Allow so many deletions instead of the budget.")
]
AllowEmpty = Annotated[bool, typer.Option("--allow-empty", help="Allow a fleet without agents to delete all of them.")]
AcceptRewind = Annotated[
    bool, typer.Option("--accept-rewind", help="Allow deletions by a commit that does not follow the last one applied.")
]
AcceptCluster = Annotated[
    list[str] | None,
    typer.Option(
        "--accept-cluster",
        metavar="NAME",
        help="Let this cluster be another one than at first contact, because it was rebuilt (repeatable).",
    ),
]
ForgetCluster = Annotated[
    list[str] | None,
    typer.Option(
        "--forget-cluster",
        metavar="NAME",
        help="Forget what is on record on this cluster, which is no longer declared and gone for good (repeatable).",
    ),
]
AutoApprove = Annotated[bool, typer.Option("--auto-approve", help="Do not ask.")]
Parallelism = Annotated[
    str | None,
    typer.Option(
        "--parallelism",
        metavar="N",
        help="How many agents to change at once (default 10); of new ones ten times as many may wait for their pods.",
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option("--timeout", metavar="DURATION", help="Bound each rollout, instead of what its agent says."),
]
LockTimeout = Annotated[
    str | None,
    typer.Option("--lock-timeout", metavar="DURATION", help="How long to wait for another apply (default 0s)."),
]


def agent_name(text: str, what: str = "an agent") -> AgentName:
    """Read `namespace/name`. Raises UsageError."""
    try:
        name = AgentName.parse(text)
    except ValueError:
        name = None
    if name is None or not (_LABEL.match(name.namespace) and _LABEL.match(name.name)):
        raise UsageError(
            f"'{one_line(text, 80)}' does not name {what}",
            hint="write NAMESPACE/NAME; `reconciler get agents` lists them",
        )
    return name


def namespace(text: str) -> str:
    """Check a namespace. Raises UsageError."""
    if not _LABEL.match(text):
        raise UsageError(f"'{one_line(text, 80)}' is not a namespace", hint="lower-case letters, digits and '-'")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One part of a label selector; `values` empty asks whether the key is there at all."""

    key: str
    values: frozenset[str]
    negated: bool

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` meet it, as Kubernetes decides: `!=` and `notin` also hold where the key is missing."""
        found = labels.get(self.key) in self.values if self.values else self.key in labels
        return found is not self.negated


def selector(text: str | None) -> tuple[Requirement, ...]:
    """Read a label selector as kubectl does: `a=b,c!=d,e in (f, g),h notin (i),j,!k`. Raises UsageError."""
    if text is None:
        return ()
    requirements = []
    for part in re.split(r",(?![^()]*\))", text) if len(text) <= MAX_SELECTOR else [""]:
        match = _REQUIREMENT.match(part)
        if match is None or (match["absent"] and (match["operator"] or match["set"])):
            raise UsageError(
                f"'{one_line(text, 80)}' is not a label selector", hint="like: team=support,tier!=test,env in (a, b)"
            )
        values = frozenset(value.strip() for value in match["values"].split(",")) if match["set"] else frozenset()
        if match["operator"]:
            values = frozenset({match["value"] or ""})
        negated = bool(match["absent"]) or match["operator"] == "!=" or match["set"] == "notin"
        requirements.append(Requirement(key=match["key"], values=values, negated=negated))
    return tuple(requirements)


def out_file(path: Path) -> Path:
    """Check where a plan is to be written before any work is done. Raises UsageError."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{str(path)[:300]} is not a regular file", hint="name a file to write the plan to")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {str(path.parent)[:300]}", hint="make it first, or write elsewhere")
    return path


def policy(
    targets: list[str] | None,
    clusters: list[str] | None,
    max_deletes: str,
    *,
    allow_empty: bool,
    accept_rewind: bool,
    accept_clusters: list[str] | None = None,
    forget_clusters: list[str] | None = None,
    destroy: bool = False,
) -> Policy:
    """What the operator allows, out of checked options. Raises UsageError."""
    for cluster in (*(clusters or ()), *(accept_clusters or ()), *(forget_clusters or ())):
        if not _LABEL.match(cluster):
            raise UsageError(f"'{one_line(cluster, 80)}' is not a cluster's name")
    return Policy(
        max_deletes=int(max_deletes) if max_deletes.isdigit() else max_deletes or None,
        allow_empty=allow_empty,
        accept_rewind=accept_rewind,
        targets=tuple(sorted({agent_name(target) for target in targets or ()})),
        clusters=tuple(sorted(set(clusters or ()))),
        accept_clusters=tuple(sorted(set(accept_clusters or ()))),
        forget_clusters=tuple(sorted(set(forget_clusters or ()))),
        destroy=destroy,
    )
