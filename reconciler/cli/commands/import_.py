"""`reconciler import`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from reconciler.cli import options
from reconciler.cli.command import build
from reconciler.cli.fleets import run
from reconciler.cli.imports import Asked, Failed, agents_of, left_alone, read_cluster, read_files, store
from reconciler.cli.output import clean, emit, note, to_json
from reconciler.cli.views.diagnostics import plural
from reconciler.importing import Fate, Imported
from reconciler.model.errors import UsageError

_WORDS = {Fate.TO_DO: "to do", Fate.LOST: "lost", Fate.CHANGES: "changes", Fate.LEFT_OUT: "left out"}


def import_(  # noqa: PLR0917 - options of a command
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[deployment/NAME]...", help="Only these; agent/NAME is one of kagent's."),
    ] = None,
    files: Annotated[
        list[Path] | None,
        typer.Option("-f", "--filename", metavar="FILE|DIR|-", help="Read objects from here (repeatable)."),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="NAME", help="Read objects from this cluster of the fleet.")
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", metavar="NS", help="Read there; for files, where objects say no namespace."),
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("-A", "--all-namespaces", help="Read all namespaces of the cluster.")
    ] = False,
    selector: Annotated[
        str | None, typer.Option("-l", "--selector", metavar="SELECTOR", help="Only what has these labels.")
    ] = None,
    extends: Annotated[
        list[str] | None, typer.Option("--extends", metavar="TEMPLATE", help="Begin with this template (repeatable).")
    ] = None,
    image: Annotated[
        str, typer.Option("--image", metavar="IMAGE", help="The image, where objects say none or another is wanted.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files, and write none.")] = False,
    output: Annotated[
        Literal["text", "yaml", "json"],
        typer.Option("-o", "--output", help="Format; yaml and json write no files."),
    ] = "text",
) -> None:
    """Write agents' files for Deployments that run already, and for agents of kagent (kagent.dev/v1alpha2).

    A Deployment is read with what belongs to it: the Service, autoscaler, disruption budget, account and ConfigMap of
    its name. What an agent cannot say is listed, and stays on the object, or is lost with one that has to be replaced.
    Where objects are there to be taken over, the file says `adopt: true`, and the next plan shows the adoption. Of what
    a cluster runs, agents that the fleet has already are left alone, unless they are named. Nothing on a cluster is
    changed, no Secret is read, and no literal value that looks secret is written.
    """
    if bool(files) == bool(cluster):
        raise UsageError(
            "say what to import: -f FILE, or --cluster NAME -n NS",
            hint="kubectl get deployments,services,hpa,pdb,configmaps -n NS -o yaml | reconciler import -f -",
        )
    if cluster and bool(namespace) == all_namespaces:
        raise UsageError("say which namespace to read: -n NS, or -A for all of them")
    asked = Asked(
        names=_targets(targets or ()),
        namespace=options.namespace(namespace) if namespace else "",
        requirements=options.selector(selector),
        extends=tuple(extends or ()),
        image=image,
        force=force,
    )
    reading = read_files(files, asked) if files else run(read_cluster(cluster or "", asked))
    found, ours = agents_of(reading, asked)
    if dry_run and output == "text":
        output = "yaml"
    for remark in reading.remarks:
        note(clean(remark))
    if ours:
        note(left_alone(ours))
    failures = [Failed(name=str(one.name), reason=one.problem) for one in found if one.problem]
    good = [one for one in found if not one.problem]
    if output == "text":
        written, refused = store(good, force=force)
        failures += refused
        _summary(written)
    else:
        _print(good, output)
    for failed in failures:
        note(f"not imported: {clean(failed.name)}: {clean(failed.reason)}")
    if failures or reading.findings:
        raise typer.Exit(1)


def _targets(targets: Sequence[str]) -> frozenset[tuple[str, str]]:
    """(kind, name) of what is named; kind "" is any."""
    kinds = {"": "", "deployment": "Deployment", "deployments": "Deployment", "deploy": "Deployment"}
    kinds |= {"agent": "Agent", "agents": "Agent", "deployment.apps": "Deployment", "agents.kagent.dev": "Agent"}
    found = set()
    for text in targets:
        kind, slash, name = text.rpartition("/")
        if kind not in kinds or not name or (slash and not kind):
            raise UsageError(
                f"{text[:80]!r} names nothing that can be imported", hint="like deployment/NAME or agent/NAME"
            )
        found.add((kinds[kind], name))
    return frozenset(found)


def _print(found: Sequence[Imported], output: str) -> None:
    if output == "json":
        shown = [
            {
                "agent": str(one.name),
                "path": one.path,
                "adopts": one.adopts,
                "sources": list(one.sources),
                "document": one.document,
                "notes": [{"fate": item.fate, "path": item.path, "text": item.text} for item in one.notes],
            }
            for one in found
        ]
        emit(to_json({"agents": shown}))
        return
    for one in found:
        emit(f"---\n# {one.path}\n{one.text}", end="")


def _summary(found: Sequence[Imported]) -> None:
    for one in found:
        emit(f"{one.path}: from {clean(', '.join(one.sources))}")
        for fate, word in _WORDS.items():
            for item in one.of(fate):
                emit(f"  {word}: {clean(item.path)}: {clean(item.text)}")
    emit(f"Wrote {plural(len(found), 'file')}.")
    if found:
        emit("Next:")
        emit("  read them, and git add agents && git commit")
        emit("  reconciler plan")


command = build(
    import_,
    name="import",
    examples=(
        "reconciler import deployment/hello --cluster local -n demo --dry-run",
        "reconciler render demo/hello | reconciler import -f - --dry-run",
        "reconciler import -f - deployment/hello -o json < <(reconciler render demo/hello)",
    ),
)
