"""What a plan must not do unasked: deletion budgets, empty fleets, rewinds, protection, unreadable sources.

May live here: rules that turn wishes into holds. When unsure they hold. Must not: know objects or fields.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from reconciler.model.fleet import Declaration, DeletionBudget, Frozen
from reconciler.model.identity import AgentName
from reconciler.model.objects import ClusterIdentity, Found, Observation
from reconciler.model.plan import Action, Hold, HoldCode, Policy
from reconciler.model.registry import FleetRecord, PlacedReplicas, Record

_APPROVE = "or `reconciler approve`"
"""How deletions are allowed where a daemon applies them: nobody gives that an option for one commit."""


def names_text(names: Sequence[AgentName], most: int = 5) -> str:
    """Some names for a sentence, the rest counted."""
    shown = ", ".join(map(str, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def departures(
    names: Collection[AgentName], declaration: Declaration, records: Mapping[AgentName, Record], policy: Policy
) -> tuple[list[Record], list[Hold]]:
    """Of `names`, on record and declared nowhere or all to be destroyed: those that may go, and those that are kept.

    Invalid is not missing: an agent that is declared but broken stays, and so does one whose file cannot be read.
    """
    going, holds = [], []
    moved, renamed = _where_else(names, declaration, records), _newcomers(declaration, records)
    for name in names:
        record = records[name]
        if not policy.destroy:
            if name in declaration.frozen_agents:
                continue
            frozen, other = declaration.frozen_paths.get(record.source_path), renamed.get(record.source_path)
            hold = _kept(record, frozen, other, moved.get(name, ""))
            if hold is not None:
                holds.append(hold)
                continue
        if record.protect:
            text = f"{name} is protected, and stays although it is {'to go' if policy.destroy else 'gone from Git'}"
            lift = "declare it with `protect: false`, apply, then remove it"
            holds.append(_held(HoldCode.PROTECTED, (name,), text, lift))
            continue
        going.append(record)
    return going, holds


def _where_else(
    names: Collection[AgentName], declaration: Declaration, records: Mapping[AgentName, Record]
) -> dict[AgentName, str]:
    """By agent, a file that cannot be read and that it may have been moved into.

    That is one in which its name stands. Into one that no record came from, or of which nobody can tell what stands in
    it, anybody may have been moved; one that is broken for long keeps nobody else.
    """
    if not names or not declaration.frozen_paths:
        return {}
    known, wanted = {record.source_path for record in records.values()}, {name.name for name in names}
    anywhere, named = "", {}
    for path, frozen in sorted(declaration.frozen_paths.items(), reverse=True):
        if frozen.words is None or path not in known:
            anywhere = path
        named.update(dict.fromkeys(wanted & (frozen.words or frozenset()), path))
    return {name: path for name in names if (path := named.get(name.name, anywhere))}


def _newcomers(declaration: Declaration, records: Mapping[AgentName, Record]) -> dict[str, AgentName]:
    """Invalid agents that are on no record, by the file that declares them: agents may have been renamed to them."""
    invalid = declaration.frozen_agents
    return {path: name for name in sorted(invalid, reverse=True) if name not in records for path in invalid[name].paths}


def _kept(record: Record, frozen: Frozen | None, other: AgentName | None, moved: str) -> Hold | None:
    """Why an agent that is declared nowhere stays all the same: it may stand in what cannot be read or used."""
    name = record.name
    if frozen is not None:
        text = f"{name} stays as it is: {record.source_path} cannot be read ({frozen.reason})"
        lift = "mend the file, or delete it to delete the agent"
    elif other is not None:
        text = f"{name} stays as it is: it may have been renamed to {other}, which is invalid"
        lift = f"correct {other} in {record.source_path}"
    elif moved:
        text = f"{name} stays as it is: it may have been moved to {moved}, which cannot be read"
        lift = f"mend {moved}"
    else:
        return None
    return Hold(code=HoldCode.INVALID, agents=(name,), action=Action.DELETE, text=text, lift=lift)


def invalid(declaration: Declaration) -> Iterator[Hold]:
    """Declared agents that cannot be used: each stays as it is."""
    for name, frozen in sorted(declaration.frozen_agents.items()):
        position = frozen.diagnostics[0].position if frozen.diagnostics else None
        yield Hold(
            code=HoldCode.INVALID,
            agents=(name,),
            action=None,
            text=f"{name} stays as it is: {frozen.reason}",
            lift="correct the file",
            origin=position,
        )


def limit(budget: DeletionBudget, total: int, asked: int | str | None) -> int:
    """How many deletions are allowed among `total` agents: what was asked for, or max(max, percent)."""
    if isinstance(asked, int):
        return asked
    if isinstance(asked, str):
        return total * int(asked.rstrip("%")) // 100
    return max(budget.max, total * budget.percent // 100)


def deletions(
    going: Sequence[Record],
    records: Mapping[AgentName, Record],
    declaration: Declaration,
    *,
    policy: Policy,
    rewound: bool,
    budget: DeletionBudget,
) -> Hold | None:
    """Why the deletions of this plan are held, all together. `destroy` asks for them by name and is not held.

    Whether somebody approved them is another question: see plan.approval.
    """
    if not going or policy.destroy:
        return None
    names = tuple(record.name for record in going)
    if rewound and not policy.accept_rewind:
        text = f"{_count(names)}: the branch was rewound, the commit on record is not among its ancestors"
        return _held(HoldCode.REWIND, names, text, f"accept it with --accept-rewind, {_APPROVE}")
    empty = not declaration.agents and not declaration.frozen_agents
    if empty and not policy.allow_empty:
        text = f"{_count(names)}: the fleet declares no agent at all"
        return _held(HoldCode.EMPTY_FLEET, names, text, f"if that is meant, --allow-empty, {_APPROVE}")
    if empty:
        return None
    allowed = limit(budget, len(records), policy.max_deletes)
    over = len(names) > allowed
    where = ""
    if not over and policy.max_deletes is None:
        where, allowed, over = _over_on_a_cluster(going, records, budget)
    if over:
        text = f"{_count(names)}, over the budget of {allowed}{where}"
        return _held(HoldCode.DELETION_BUDGET, names, text, f"raise it with --max-deletes {len(names)}, {_APPROVE}")
    return None


def _over_on_a_cluster(
    going: Sequence[Record], records: Mapping[AgentName, Record], budget: DeletionBudget
) -> tuple[str, int, bool]:
    leaving = Counter(placed.cluster for record in going for placed in record.placement)
    there = Counter(placed.cluster for record in records.values() for placed in record.placement)
    for cluster, count in sorted(leaving.items()):
        allowed = limit(budget, there[cluster], None)
        if count > allowed:
            return f" on {cluster}", allowed, True
    return "", 0, False


def _count(names: Sequence[AgentName]) -> str:
    return f"{len(names)} delete{'s' if len(names) != 1 else ''}"


def _held(code: HoldCode, names: tuple[AgentName, ...], text: str, lift: str) -> Hold:
    return Hold(code=code, agents=tuple(sorted(names)), action=Action.DELETE, text=text, lift=lift)


def strangers(
    identities: Mapping[str, Observation[ClusterIdentity]], fleet: FleetRecord | None, accepted: Sequence[str] = ()
) -> dict[str, str]:
    """Clusters that are not who they were at first contact, with the reason; not those that are `accepted` as such."""
    found = {}
    for cluster, pinned in sorted((fleet.cluster_uids if fleet else {}).items()):
        identity = identities.get(cluster)
        if isinstance(identity, Found) and identity.value.uid != pinned and cluster not in accepted:
            found[cluster] = (
                f"{cluster} is another cluster than at first contact (it was {pinned}, now {identity.value.uid})"
            )
    return found


def unseen(
    found: Mapping[tuple[str, str], Sequence[AgentName]],
    strangers: Mapping[str, str],
    placed: Mapping[AgentName, Sequence[PlacedReplicas]],
) -> Iterator[Hold]:
    """Agents for which something is to be done where nothing can be seen, by (cluster, why).

    Those that are `placed` there wait for it; of others something may run there still.
    """
    for (cluster, reason), names in sorted(found.items()):
        if cluster in strangers:
            continue  # see `elsewhere`
        here = {name for name in names if any(share.cluster == cluster for share in placed.get(name, ()))}
        lift = "restore access, then plan again"
        if reason.endswith("was not observed"):
            lift = (
                f"declare {cluster} in fleet.yaml again until its agents are moved or deleted; "
                f"if it is gone for good, --forget-cluster {cluster}"
            )
        if here:
            text = f"nothing is changed or deleted where it cannot be seen: {reason}"
            yield _waiting(HoldCode.UNREADABLE, here, text, lift)
        if left := set(names) - here:
            text = f"what may still run on {cluster} is deleted when it can be seen: {reason}"
            yield _waiting(HoldCode.UNREADABLE, left, text, lift)


def elsewhere(
    found: Mapping[tuple[str, str], Sequence[AgentName]],
    strangers: Mapping[str, str],
    records: Mapping[AgentName, Record],
) -> Iterator[Hold]:
    """Agents that are, or are to be, on a cluster in whose place another one answers: it is left alone."""
    for cluster, text in sorted(strangers.items()):
        names = {name for name, record in records.items() if any(e.cluster == cluster for e in record.inventory)}
        names.update(name for (where, _), coming in found.items() if where == cluster for name in coming)
        lift = f"point it at the right cluster; if it was rebuilt, accept it with --accept-cluster {cluster}"
        yield _waiting(HoldCode.OTHER_CLUSTER, names, text, lift)


def _waiting(code: HoldCode, names: Iterable[AgentName], text: str, lift: str) -> Hold:
    return Hold(code=code, agents=tuple(sorted(names)), action=None, text=text, lift=lift)


def overridden(names: Iterable[AgentName], records: Mapping[AgentName, Record], now_ms: int) -> Iterator[Hold]:
    """Those of `names` that are scaled by hand now: nothing is wrong, but what runs is not what Git says."""
    for name in names:
        override = records[name].override
        if override is None or 0 < override.until_ms <= now_ms:
            continue
        until = f" until {when(override.until_ms)}" if override.until_ms else ""
        because = f": {override.reason}" if override.reason else ""
        text = f"{name} is scaled by hand to {override.replicas} by {override.author}{until}{because}"
        lift = f"`reconciler scale {name} --end` gives it back to Git"
        yield Hold(
            code=HoldCode.OVERRIDE, agents=(name,), action=None, text=text, lift=lift, blocks_exit=False,
            until_ms=override.until_ms,
        )  # fmt: skip


def when(ms: int) -> str:
    """A time for people, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
