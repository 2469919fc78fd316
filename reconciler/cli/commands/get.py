"""`reconciler get`: agents, templates and clusters as kubectl lists things."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from reconciler.cli import options
from reconciler.cli.asking import check_names, count_path, note_age, records, show_counts, show_plan
from reconciler.cli.command import build, invocation
from reconciler.cli.fleets import OpenStores, opened, run
from reconciler.cli.looking import Sight, look, snapshot
from reconciler.cli.output import emit, meant, note, one_line, table, to_json, to_yaml
from reconciler.cli.views.records import age, moment, record_json, running
from reconciler.cli.watching import looks
from reconciler.model.errors import UsageError
from reconciler.model.fleet import ClusterDeclaration, EmbeddedCluster, KubernetesCluster
from reconciler.model.objects import Found
from reconciler.model.query import MAX_PAGE, Query
from reconciler.model.registry import Record
from reconciler.ports import Aging
from reconciler.query.asked import Asked, query_of
from reconciler.query.selectors import Requirement

KINDS = {"agents": "agents", "agent": "agents", "templates": "templates", "template": "templates",
         "clusters": "clusters", "cluster": "clusters"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Rows of one kind: `names` for -o name, cells for the table, values for JSON and YAML, each in the same order."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]
    values: tuple[dict[str, Any], ...]
    following: str = ""
    """What continues a page; "" at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for."""

    kind: str
    names: frozenset[str]
    namespace: str
    selector: tuple[Requirement, ...]
    asked: Asked
    output: str
    sort_by: str
    headers: bool


def get(  # noqa: PLR0917 - options of a command
    kind: Annotated[str, typer.Argument(metavar="agents|templates|clusters", help="What to list.")],
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these.")] = None,
    namespace: Annotated[
        str | None, typer.Option("-n", "--namespace", metavar="NS", help="Only this namespace.")
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("-A", "--all-namespaces", help="All namespaces (the default).")
    ] = False,
    selector: Annotated[
        str | None, typer.Option("-l", "--selector", metavar="LABELS", help="Only what has these labels.")
    ] = None,
    output: options.TableOutput = "table",
    no_headers: Annotated[bool, typer.Option("--no-headers", help="Leave the heading out.")] = False,
    sort_by: Annotated[
        str, typer.Option("--sort-by", metavar="FIELD", help="Sort by a field of -o json, such as state or updated.")
    ] = "",
    where: Annotated[
        str, typer.Option("--where", metavar="QUERY", help="Only agents that meet this: see docs/registry.md.")
    ] = "",
    order_by: Annotated[
        str, typer.Option("--order-by", metavar="PATHS", help="In this order, such as `updated desc, name`.")
    ] = "",
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Only so many.")] = None,
    continued: Annotated[
        str, typer.Option("--continue", metavar="TOKEN", help="What follows a page, as that told.")
    ] = "",
    count_by: Annotated[
        str, typer.Option("--count-by", metavar="PATH", help="Count the agents by what they have at a path.")
    ] = "",
    explain: Annotated[
        bool, typer.Option("--explain", help="Show how the registry finds them, and by which indexes, instead.")
    ] = False,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Go on, and print what changes, until Ctrl-C.")] = False,
) -> None:
    """List agents on record and how they are, templates and whom they reach, or clusters.

    Without -n all namespaces are listed. Labels are selected as kubectl does: `a=b,c!=d,e in (f, g),!h`. `--where` asks
    for more: `state = degraded and replicas > 2 order by updated desc`; it and its kin are answered from the registry.
    """
    if kind not in KINDS:
        hint = meant(kind, KINDS, "agents, templates or clusters", quote="'")
        raise UsageError(f"'{one_line(kind, 60)}' is no kind to list", hint=hint)
    if all_namespaces and namespace:
        raise UsageError("-n and -A exclude each other")
    whole = bool(names) and not namespace and all("/" in name for name in names or ())  # the namespace is in the names
    configured = "" if all_namespaces or whole else invocation().settings(namespace=namespace).text("namespace")
    wanted = Wanted(
        kind=KINDS[kind],
        names=frozenset(names or ()),
        namespace=configured,
        selector=options.selector(selector),
        asked=Asked(
            where=where,
            order_by=order_by,
            limit=limit or 0,
            after=continued,
            count_by=count_path(count_by) if count_by else "",
            explain=explain,
        ),
        output=output,
        sort_by=sort_by.removeprefix("."),
        headers=not no_headers,
    )
    _check_asked(wanted, watch=watch)
    if watch:
        if wanted.kind != "agents" or output not in ("table", "wide", "name"):
            raise UsageError("--watch is for agents, with -o table, wide or name")
        run(_watch(wanted))
    elif explain or count_by:
        run(_tell(wanted))
    else:
        _show_listing(run(_once(wanted)), wanted)


def _show_listing(listing: Listing, wanted: Wanted) -> None:
    _show(listing, wanted)
    if listing.following:
        note(f"There are more. They follow with: --continue {listing.following}")
    if not listing.rows and (wanted.kind == "agents" or wanted.selector):
        narrowed = wanted.asked.anything or wanted.selector
        where = f"in the namespace {one_line(wanted.namespace)}" if wanted.namespace else "here"
        none = f"No agents on record {where}. `reconciler plan` shows what is declared."
        note(f"No {wanted.kind} are like that." if narrowed else none)


async def _once(wanted: Wanted) -> Listing:
    if wanted.kind == "templates":
        return await _templates(wanted)
    async with opened() as session:
        stores = await session.stores()
        if wanted.kind == "clusters":
            return await _clusters(stores, wanted)
        await check_names(stores.registry, wanted.names, wanted.namespace)
        return await _agents(stores, wanted)


async def _agents(stores: OpenStores, wanted: Wanted) -> Listing:
    registry = stores.registry
    if wanted.asked.anything or wanted.selector or wanted.names or isinstance(registry, Aging):
        chosen, following = await records(registry, _query(stores, wanted), wanted.asked)
    else:  # which costs a watcher what changed since it looked last
        live, following = (await snapshot(registry)).records, ""
        chosen = [one for name, one in live.items() if not wanted.namespace or name.namespace == wanted.namespace]
    note_age(registry, stores.clock.now_ms())
    sight = await look(stores, frozenset(record.name.namespace for record in chosen))
    for cluster, why in sorted(sight.unreadable.items()):
        note(f"warning: cluster {cluster} cannot be read: {one_line(why)}")
    now_ms = stores.clock.now_ms()
    values = [_agent_value(record, sight) for record in chosen]
    rows = [_agent_row(record, sight, now_ms, wide=wanted.output == "wide") for record in chosen]
    headers: tuple[str, ...] = ("NAMESPACE", "NAME", "STATE", "READY", "REVISION", "CLUSTERS", "AGE")
    if wanted.output == "wide":
        headers = (*headers, "TEMPLATES", "COMMIT", "LABELS", "MESSAGE")
    listing = _sorted(headers, rows, [str(record.name) for record in chosen], values, wanted.sort_by)
    return replace(listing, following=following)


def _query(stores: OpenStores, wanted: Wanted) -> Query:
    return query_of(
        wanted.asked,
        namespace=wanted.namespace,
        names=wanted.names,
        selector=wanted.selector,
        now_ms=stores.clock.now_ms(),
    )


def _check_asked(wanted: Wanted, *, watch: bool) -> None:
    """Refuse what cannot go together. Raises UsageError."""
    asked = wanted.asked
    if asked.anything and wanted.kind != "agents":
        raise UsageError(f"{wanted.kind} cannot be queried: --where and its kin are for agents")
    if wanted.selector and wanted.kind == "templates":
        raise UsageError("templates have no labels to select by", hint="-l is for agents and clusters")
    if wanted.sort_by and (asked.order_by or asked.limit or asked.after):
        raise UsageError("--sort-by sorts what is shown", hint="use --order-by, which orders before a page is cut")
    if asked.count_by and (asked.explain or asked.limit or asked.after or asked.order_by or watch):
        raise UsageError("--count-by counts all agents of an answer, and goes with --where, -l and -n only")
    if watch and (asked.limit or asked.after or asked.explain):
        raise UsageError("--watch follows all agents of an answer, not a page of it")


async def _tell(wanted: Wanted) -> None:
    """Counts, or how the registry finds an answer."""
    async with opened() as session:
        stores = await session.stores()
        query, asked = _query(stores, wanted), wanted.asked
        if asked.explain:
            limit = asked.limit or MAX_PAGE
            show_plan(await stores.registry.explain(query, limit=limit, after=asked.after), wanted.output)
        else:
            counts = await stores.registry.count(query, by=asked.count_by)
            show_counts(counts, asked.count_by, wanted.output, headers=wanted.headers)
        note_age(stores.registry, stores.clock.now_ms())


def _agent_value(record: Record, sight: Sight) -> dict[str, Any]:
    seen = sight.of(record)
    return record_json(record) | {"ready": seen.ready, "replicas": seen.wanted, "unreadable": list(seen.unreadable)}


def _agent_row(record: Record, sight: Sight, now_ms: int, *, wide: bool) -> tuple[str, ...]:
    clusters = ",".join(placed.cluster for placed in record.placement if placed.replicas)
    row = (
        record.name.namespace,
        record.name.name,
        str(record.state),
        sight.of(record).text,
        str(running(record)[0]),
        clusters or "-",
        age(record.created_ms, now_ms),
    )
    if not wide:
        return row
    labels = ",".join(f"{key}={value}" for key, value in sorted(record.labels.items()))
    return (*row, ",".join(record.lineage) or "-", running(record)[1][:7] or "-", labels or "-", record.message or "-")


def _check_declared(kind: str, names: Iterable[str], declared: Collection[str]) -> None:
    """Refuse names that nothing declared has, with what is near. Raises UsageError."""
    for name in sorted(names):
        if name not in declared:
            hint = meant(name, declared, f"there is: {', '.join(sorted(declared)) or 'none'}", quote="'")
            raise UsageError(f"no {kind} '{one_line(name, 80)}' is declared", hint=hint)


async def _templates(wanted: Wanted) -> Listing:
    async with opened() as session:
        declaration = await session.declaration()
    _check_declared("template", wanted.names, declaration.templates)
    chosen = sorted(name for name in declaration.templates if not wanted.names or name in wanted.names)
    values, rows = [], []
    for name in chosen:
        reached = sorted(declaration.templates[name])
        values.append({"name": name, "agents": [str(agent) for agent in reached]})
        shown = ", ".join(str(agent) for agent in reached[:5]) + (", ..." if len(reached) > 5 else "")
        rows.append((name, str(len(reached)), *((shown or "-",) if wanted.output == "wide" else ())))
    headers: tuple[str, ...] = ("NAME", "AGENTS", *(("REACHES",) if wanted.output == "wide" else ()))
    return _sorted(headers, rows, chosen, values, wanted.sort_by)


async def _clusters(stores: OpenStores, wanted: Wanted) -> Listing:
    values, rows, names = [], [], []
    _check_declared("cluster", wanted.names, [one.name for one in stores.fleet.clusters])
    named = [one for one in stores.fleet.clusters if not wanted.names or one.name in wanted.names]
    chosen = [one for one in named if all(part.matches(one.labels) for part in wanted.selector)]
    answers = await asyncio.gather(*(stores.who(one.name) for one in chosen))
    on_record = (await snapshot(stores.registry)).clusters
    for declaration, answer in zip(chosen, answers, strict=True):
        health = on_record.get(declaration.name)
        state = "reachable" if isinstance(answer, Found) else "unreachable"
        uid, version = (answer.value.uid, answer.value.version) if isinstance(answer, Found) else ("", "")
        backend = type(declaration.backend).__name__.removesuffix("Cluster").lower()
        value = {
            "name": declaration.name,
            "kind": backend,
            "runs": _runs(declaration),
            "state": state,
            "version": version,
            "uid": uid,
            "onRecord": health and {"state": health.state, "since": moment(health.since_ms), "reason": health.reason},
            "weight": declaration.weight,
            "labels": dict(declaration.labels),
        }
        labels = ",".join(f"{key}={text}" for key, text in sorted(declaration.labels.items()))
        row = (
            declaration.name,
            backend,
            _runs(declaration),
            state,
            version or "-",
            str(declaration.weight),
            labels or "-",
        )
        values.append(value)
        told = f"{health.state} since {moment(health.since_ms)}" if health else "-"
        rows.append((*row, *((uid or "-", told) if wanted.output == "wide" else ())))
        names.append(declaration.name)
    headers: tuple[str, ...] = ("NAME", "KIND", "RUNS", "STATE", "VERSION", "WEIGHT", "LABELS")
    return _sorted(
        (*headers, *(("UID", "ON RECORD") if wanted.output == "wide" else ())), rows, names, values, wanted.sort_by
    )


def _runs(declaration: ClusterDeclaration) -> str:
    """What the pods of a cluster are: containers, processes of this machine, or nothing."""
    match declaration.backend:
        case EmbeddedCluster(run=run):
            return run
        case KubernetesCluster():
            return "containers"


def _field(path: str) -> str:
    """A field of ours by its own name, or by the path that kubectl has for it: `.metadata.creationTimestamp`."""
    name = path.strip("{}").removeprefix(".").removeprefix("metadata.")
    return "created" if name == "creationTimestamp" else name


def _sorted(
    headers: tuple[str, ...],
    rows: list[tuple[str, ...]],
    names: list[str],
    values: list[dict[str, Any]],
    sort_by: str,
) -> Listing:
    order = list(range(len(rows)))
    if sort_by:
        sort_by = _field(sort_by)
        if values and sort_by not in values[0]:
            hint = meant(sort_by, values[0], f"fields are: {', '.join(values[0])}", quote="'")
            raise UsageError(f"there is no field '{one_line(sort_by, 60)}' to sort by", hint=hint)
        order = sorted(order, key=lambda index: _rank(values[index][sort_by]))
    return Listing(
        headers=headers,
        rows=tuple(rows[index] for index in order),
        names=tuple(names[index] for index in order),
        values=tuple(values[index] for index in order),
    )


def _rank(value: Any) -> tuple[int, float, str]:
    """Numbers before text, and both before what is missing."""
    if value is None:
        return (2, 0.0, "")
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def _show(listing: Listing, wanted: Wanted) -> None:
    match wanted.output:
        case "json" | "yaml":
            value = {"kind": wanted.kind, "items": listing.values}
            if wanted.asked.limit:
                value["continue"] = listing.following
            emit(to_json(value) if wanted.output == "json" else to_yaml(value))
        case "name":
            if listing.names:
                emit("\n".join(listing.names))
        case _:
            if listing.rows:
                emit(table(listing.headers, listing.rows, show_headers=wanted.headers))


async def _watch(wanted: Wanted) -> None:
    """Print the list, then each row again when it changes. Ends with Ctrl-C or when the reader goes away."""
    async with opened() as session:
        stores = await session.stores()
        await check_names(stores.registry, wanted.names, wanted.namespace)
        before: dict[str, tuple[str, ...]] = {}
        async with aclosing(looks(stores)) as again:
            async for _ in again:
                before = _changed(await _agents(stores, wanted), wanted, before)


def _changed(listing: Listing, wanted: Wanted, before: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Print what is otherwise than `before`, all of it with its heading after nothing; answers what it is now."""
    # the age of an agent is no change of it
    now = {name: row[:6] + row[7:] for name, row in zip(listing.names, listing.rows, strict=True)}
    if not before:
        _show(listing, wanted)
        return now
    for name, row in zip(listing.names, listing.rows, strict=True):
        if now[name] != before.get(name):
            emit(name if wanted.output == "name" else table(listing.headers, [row], show_headers=False))
    for name in sorted(set(before) - set(now)):
        emit(name if wanted.output == "name" else f"{name} is gone")
    return now


command = build(
    get,
    name="get",
    examples=(
        "reconciler get agents",
        "reconciler get agents -n demo -l team=demo -o wide",
        "reconciler get agents --sort-by updated -o json",
        "reconciler get agents --where 'state != running and labels.team in (support, demo) order by updated desc'",
        "reconciler get agents --where 'resources.limits.memory > 128Mi' --limit 20 -o wide",
        "reconciler get agents --count-by state",
        "reconciler get agents --where \"words 'greet*'\" --explain",
        "reconciler get templates -o wide",
        "reconciler get clusters",
    ),
)
