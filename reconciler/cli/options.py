"""Options that several commands take, and what their values mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from reconciler.cli.files import refuse_another
from reconciler.cli.output import one_line
from reconciler.model.errors import UsageError
from reconciler.model.identity import AgentName
from reconciler.model.plan import Policy
from reconciler.query.selectors import Requirement, read_selector

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")
MAX_OBJECT_NAME = 253

Agent = Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="The agent.")]
InNamespace = Annotated[
    str | None,
    typer.Option("-n", "--namespace", metavar="NS", help="Its namespace, where the agent is named without one."),
]
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
    typer.Option(
        "--target",
        metavar="NAMESPACE/NAME",
        help="Only this agent (repeatable); the plan is then partial, and names what it depends on and leaves out.",
    ),
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
IgnoreWindows = Annotated[
    bool, typer.Option("--ignore-windows", help="Let changes go out whatever change windows say; the audit tells.")
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


def agent_name(text: str, hint: str = "write NAMESPACE/NAME; `reconciler get agents` lists them") -> AgentName:
    """Read `namespace/name`. Raises UsageError."""
    try:
        name = AgentName.parse(text)
    except ValueError:
        name = None
    if name is None or not (_LABEL.match(name.namespace) and _LABEL.match(name.name)):
        raise UsageError(
            f"'{one_line(text, 80)}' does not name an agent",
            hint=hint,
        )
    return name


def secret_name(text: str) -> AgentName:
    """Read the `namespace/name` of a Secret, whose name may have dots. Raises UsageError."""
    from reconciler.spec.fields import DNS_SUBDOMAIN  # takes long to import

    namespace, _, name = text.partition("/")
    fits = len(name) <= MAX_OBJECT_NAME and re.fullmatch(DNS_SUBDOMAIN, name)
    if not (_LABEL.match(namespace) and fits):
        raise UsageError(
            f"'{one_line(text, 80)}' does not name a secret", hint="write NAMESPACE/NAME, as the agent's spec names it"
        )
    return AgentName(namespace=namespace, name=name)


def agent_named(text: str, within: str | None) -> AgentName:
    """Read `namespace/name`, or a name alone in the namespace `within`. Raises UsageError."""
    if within is None:
        return agent_name(text, hint="write NAMESPACE/NAME, or add -n NAMESPACE; `reconciler get agents` lists them")
    name = agent_name(text if "/" in text else f"{namespace(within)}/{text}")
    if name.namespace != within:
        raise UsageError(f"{name} is not in the namespace {one_line(within, 80)}", hint="leave one of them out")
    return name


def namespace(text: str) -> str:
    """Check a namespace. Raises UsageError."""
    if not _LABEL.match(text):
        raise UsageError(f"'{one_line(text, 80)}' is not a namespace", hint="lower-case letters, digits and '-'")
    return text


def selector(text: str | None) -> tuple[Requirement, ...]:
    """Read a label selector as kubectl does: `a=b,c!=d,e in (f, g),h notin (i),j,!k`. Raises UsageError."""
    return () if text is None else read_selector(text)


def out_file(path: Path) -> Path:
    """Check where a plan is to be written before any work is done. Raises UsageError."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{str(path)[:300]} is not a regular file", hint="name a file to write the plan to")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {str(path.parent)[:300]}", hint="make it first, or write elsewhere")
    refuse_another(path, "plan", b'{\n  "format_version"')
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
    ignore_windows: bool = False,
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
        ignore_windows=ignore_windows,
    )
