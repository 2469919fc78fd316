"""`reconciler alerts`: what is active, who was told, and silences."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from reconciler.alerting.raising import ALL
from reconciler.cli import options
from reconciler.cli.command import build, group
from reconciler.cli.fleets import Session, opened, run, whoami
from reconciler.cli.looking import snapshot
from reconciler.cli.output import emit, meant, note, one_line, table, to_json
from reconciler.cli.views.alerts import Kept, as_json, as_text, silence_json
from reconciler.cli.views.diagnostics import plural
from reconciler.cli.views.records import moment
from reconciler.model.alert import Alert, AlertGroup, AlertState, Answer, Route, Silence, Verdict, Waiting
from reconciler.model.errors import UsageError
from reconciler.model.identity import AgentName
from reconciler.model.units import Duration

LONGEST = Duration.parse("365d")


def list_(output: options.Output = "text") -> None:
    """List alerts that are active, what is still to be sent, and silences.

    Which alerts there are is known where the daemon keeps its state: in the state folder of this fleet.
    """
    kept = run(_kept())
    if output == "json":
        emit(to_json(as_json(kept)))
        return
    if not kept.known:
        note("No daemon has kept alerts in this state folder.")
    emit(as_text(kept))


async def _kept() -> Kept:
    from reconciler.alerting import Outlook, decide, routes_of
    from reconciler.engine.silencing import silences

    async with opened() as session:
        stores = await session.stores()
        quiet = await silences(session.hand(stores, whoami()))
        now_ms = session.clock.now_ms()
        seats = session.world.alert_seats()
        state, waiting = await _read(session, seats)
        routes = routes_of(await session.declaration())
        look = Outlook(
            fleet=stores.fleet.name, active=state.active, routes=routes, silences=quiet, groups=state.groups,
            now_ms=now_ms,
        )  # fmt: skip
        return Kept(
            known=bool(seats),
            now_ms=now_ms,
            silences=quiet,
            active=tuple(state.active[key] for key in sorted(state.active)),
            held=decide(look).held,
            told=frozenset(key for one in state.groups.values() for key in one.told),
            waiting=waiting,
            receivers={route.id: route.said.receiver for route in routes},
        )


async def _read(session: Session, seats: tuple[str, ...]) -> tuple[AlertState, tuple[Waiting, ...]]:
    """What all daemons have kept here."""
    active: dict[str, Alert] = {}
    groups: dict[tuple[str, str], AlertGroup] = {}
    waiting: list[Waiting] = []
    for seat in seats:
        book = await session.world.alert_book(seat)
        try:
            state = await book.state()
            waiting += await book.waiting()
        finally:
            await book.close()
        active |= state.active
        groups |= state.groups
    return AlertState(active=active, groups=groups), tuple(waiting)


def send_test(
    route: Annotated[str | None, typer.Argument(metavar="[ROUTE]", help="Only this route of the fleet.")] = None,
    working_tree: options.WorkingTree = False,
    output: options.Output = "text",
) -> None:
    """Send a test through the alert routes, now, and say what each receiver answered. Exit 1 where one took it not.

    The addresses come from the environment of this command, as they do from that of the daemon. A receiver that keeps
    alerts is told at once that it is over.
    """
    answers = run(_test(route, working_tree=working_tree))
    if output == "json":
        told = [{"route": one.id, "receiver": one.said.receiver, **_answer_json(answer)} for one, answer in answers]
        emit(to_json({"routes": told}))
    else:
        rows = [(one.id, one.said.receiver, answer.verdict.value, answer.text) for one, answer in answers]
        emit(table(("ROUTE", "RECEIVER", "RESULT", "ANSWER"), rows))
    if any(answer.verdict is not Verdict.SENT for _, answer in answers):
        raise typer.Exit(1)


def _answer_json(answer: Answer) -> dict[str, Any]:
    return {"result": answer.verdict.value, "answer": answer.text}


async def _test(wanted: str | None, *, working_tree: bool) -> list[tuple[Route, Answer]]:
    from reconciler.alerting import routes_of

    async with opened(working_tree=working_tree) as session:
        declared = await session.declaration()
        routes = [route for route in routes_of(declared) if wanted in (None, route.id, route.said.name)]
        if not routes and wanted is not None:
            names = ", ".join(route.id for route in routes_of(declared))
            raise UsageError(
                f"there is no alert route '{one_line(wanted, 60)}'", hint=f"there is: {names}" if names else _NONE
            )
        if not routes:
            raise UsageError("the fleet names no alert routes", hint=_NONE)
        fleet = declared.fleet.name if declared.fleet is not None else ""
        return [(route, await _tried(session, route, fleet)) for route in routes]


_NONE = "say in fleet.yaml, below `alerts`, who is to be told: docs/alerts.md shows how"


async def _tried(session: Session, route: Route, fleet: str) -> Answer:
    from reconciler.alerting.trial import trial

    try:
        sink = session.world.alert_sink(route.said)
    except UsageError as error:
        return Answer(verdict=Verdict.REFUSED, text=error.message)
    try:
        answer = Answer(verdict=Verdict.REFUSED, text="nothing was sent")
        for told in trial(route, fleet, whoami(), session.clock.now_ms()):
            answer = await sink.send(told)
            if answer.verdict is not Verdict.SENT:
                break
        return answer
    finally:
        await sink.close()


def silence(  # noqa: PLR0917 - options of a command
    agent: Annotated[str | None, typer.Argument(metavar="[NAMESPACE/NAME]", help="Alerts of this agent.")] = None,
    for_: Annotated[str, typer.Option("--for", metavar="DURATION", help="How long; it ends by itself.")] = "",
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept on record.")] = "",
    name: Annotated[
        str, typer.Option("--name", metavar="ALERT", help="Alerts of this kind, like AgentUnhealthy.")
    ] = "",
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", metavar="NS", help="Alerts of agents in this namespace.")
    ] = "",
    cluster: Annotated[str, typer.Option("--cluster", metavar="NAME", help="Alerts about this cluster.")] = "",
    label: Annotated[
        list[str] | None,
        typer.Option("-l", "--label", metavar="KEY=VALUE", help="Alerts of agents with this label (repeatable)."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All alerts.")] = False,
    output: options.Output = "text",
) -> None:
    """Tell nobody of some alerts for a while. What is said together narrows: all of it has to match.

    Alerts go on and are listed; that they are over is told to whoever was told of them. A daemon keeps to it from its
    next health sweep on.
    """
    wanted = Silence(
        id="", author="", reason=_reason(reason), since_ms=0, until_ms=_length(for_).ms, name=name,
        agent=options.agent_name(agent) if agent else None, namespace=options.namespace(namespace) if namespace else "",
        cluster=cluster, labels=_labels(label or []),
    )  # fmt: skip
    narrow = bool(agent or name or namespace or cluster or label)
    if narrow == everything:
        raise UsageError(
            "say which alerts, or --all",
            hint="like: reconciler alerts silence demo/hello --for 2h --reason 'a new model'",
        )
    made = run(_silence(wanted))
    if output == "json":
        emit(to_json(silence_json(made)))
    else:
        emit(f"Silence {made.id} until {moment(made.until_ms)}. `reconciler alerts unsilence {made.id}` ends it.")


def _reason(text: str) -> str:
    if not text.strip():
        raise UsageError("a silence needs a reason", hint="say it with --reason: others will wonder")
    return text


def _length(text: str) -> Duration:
    if not text:
        raise UsageError("a silence needs an end", hint="say how long with --for, like --for 2h")
    try:
        length = Duration.parse(text)
    except ValueError as error:
        raise UsageError(f"--for: {error}", hint="like 30m or 2h") from error
    if not 1000 <= length.ms <= LONGEST.ms:
        raise UsageError(f"--for {text}: from 1s to {LONGEST} can be meant")
    return length


def _labels(given: list[str]) -> dict[str, str]:
    labels = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--label '{one_line(one, 60)}' is not KEY=VALUE")
        labels[key] = value
    return labels


def _unmet(wanted: Silence, agents: Mapping[AgentName, Mapping[str, str]], clusters: Collection[str]) -> Iterator[str]:
    """What a silence says and nothing meets, of what is declared or on record: mostly a slip of the finger."""
    spaces = {name.namespace for name in agents}
    if wanted.agent is not None and wanted.agent not in agents:
        yield f"no agent {wanted.agent} is declared or on record{_near(str(wanted.agent), map(str, agents))}"
    if wanted.namespace and wanted.namespace not in spaces:
        yield f"no agent is in the namespace {wanted.namespace}{_near(wanted.namespace, spaces)}"
    if wanted.cluster and wanted.cluster not in clusters:
        yield f"no cluster {one_line(wanted.cluster, 80)} is declared{_near(wanted.cluster, clusters)}"
    if wanted.name and wanted.name not in ALL:
        yield f"there is no alert {one_line(wanted.name, 80)}{_near(wanted.name, ALL)}"
    if wanted.labels and not any(wanted.labels.items() <= labels.items() for labels in agents.values()):
        yield "no agent has these labels"


def _near(name: str, known: Iterable[str]) -> str:
    near = meant(name, known, "")
    return f", {near}" if near else ""


async def _silence(wanted: Silence) -> Silence:
    from dataclasses import replace

    from reconciler.engine.silencing import silence as begin

    async with opened() as session:
        stores = await session.stores()
        declared = {name: dict(agent.labels) for name, agent in (await session.declaration()).agents.items()}
        seen = await snapshot(stores.registry)
        agents = declared | {name: dict(record.labels) for name, record in seen.records.items()}
        for text in _unmet(wanted, agents, {*stores.clusters, *seen.clusters}):
            note(f"warning: this silence is of nothing now: {text}")
        until_ms = session.clock.now_ms() + wanted.until_ms
        return await begin(session.hand(stores, whoami()), stores.fleet.name, replace(wanted, until_ms=until_ms))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """Which silences are to end: one by its id, all of an agent, or all there are."""

    id: str = ""
    agent: AgentName | None = None
    everything: bool = False

    def __call__(self, one: Silence) -> bool:
        return self.everything or (self.agent is not None and one.agent == self.agent) or one.id == self.id


def unsilence(
    what: Annotated[
        str | None, typer.Argument(metavar="[ID|NAMESPACE/NAME]", help="A silence, or all of an agent.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All silences.")] = False,
    output: options.Output = "text",
) -> None:
    """End silences before their time."""
    if (what is None) != everything:
        raise UsageError("name a silence or an agent, or say --all", hint="`reconciler alerts list` lists silences")
    agent = options.agent_name(what) if what and "/" in what else None
    ended = run(_unsilence(_Chosen(id=what or "", agent=agent, everything=everything)))
    if not ended and what:
        raise UsageError(f"there is no silence '{one_line(what, 60)}'", hint="`reconciler alerts list` lists them")
    if output == "json":
        emit(to_json({"ended": [silence_json(one) for one in ended]}))
    else:
        emit(f"{plural(len(ended), 'silence')} ended.")


async def _unsilence(chosen: _Chosen) -> tuple[Silence, ...]:
    from reconciler.engine.silencing import end

    async with opened() as session:
        stores = await session.stores()
        return await end(session.hand(stores, whoami()), stores.fleet.name, chosen)


command = group(
    "alerts",
    "What is active, who was told, and silences. Without a command it lists, as `alerts list` does.",
    {
        "list": build(list_, name="list", examples=("reconciler alerts", "reconciler alerts list -o json")),
        "test": build(send_test, name="test", examples=("reconciler alerts test", "reconciler alerts test on-call")),
        "silence": build(
            silence,
            name="silence",
            examples=(
                "reconciler alerts silence demo/hello --for 2h --reason 'a new model is tried'",
                "reconciler alerts silence -n demo --name AgentUnhealthy --for 30m --reason maintenance",
            ),
        ),
        "unsilence": build(
            unsilence,
            name="unsilence",
            examples=("reconciler alerts unsilence demo/hello", "reconciler alerts unsilence --all"),
        ),
    },
    plain="list",
)
