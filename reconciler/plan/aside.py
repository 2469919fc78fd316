"""What a plan of some agents only says of those that they need, or that need them, and that it leaves out.

May live here: notes, no agent is held by them: who names targets gets them. Must not: decide what an agent needs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from reconciler.model.agent import Agent
from reconciler.model.identity import AgentName
from reconciler.model.plan import Action, Hold, HoldCode
from reconciler.plan.agents import Verdict
from reconciler.plan.guard import names_text

_NAMED = 5


def needed(
    targets: Iterable[AgentName],
    agents: Mapping[AgentName, Agent],
    judged: Callable[[Agent], Verdict],
    elsewhere: Sequence[Hold],
) -> Iterator[Hold]:
    """Notes on what `targets` depend on, directly or not, and what a whole plan would change or hold.

    `judged` says what one agent needs; `elsewhere` are holds of agents that cannot be judged.
    """
    dependents = _needed(targets, agents)
    coming: dict[Action, list[AgentName]] = {}
    held = [hold for hold in elsewhere if any(name in dependents for name in hold.agents)]
    unjudged = {name for hold in held for name in hold.agents}
    for name in sorted(dependents.keys() - unjudged):
        verdict = judged(agents[name]) if name in agents else Verdict()
        if verdict.change is not None:
            coming.setdefault(verdict.change.action, []).append(name)
        held += verdict.holds
    for action, names in sorted(coming.items()):
        who = str(dependents[names[0]]) if len(names) == 1 else ""
        yield _note(names, _left(names, f"to be {action}{'d' if action.endswith('e') else 'ed'}", who), _more(names))
    for hold in held:
        names = sorted(name for name in hold.agents if name in dependents)
        who = str(dependents[names[0]]) if len(names) == 1 else ""
        yield _note(names, f"{_left(names, 'held', who)}: {hold.text}", hold.lift)


def needing(going: Collection[AgentName], needs: Mapping[AgentName, Collection[AgentName]]) -> Iterator[Hold]:
    """A note on agents that stay although something of `going` is deleted that they depend on, by `needs`."""
    names = sorted(name for name, others in needs.items() if name not in going and any(o in going for o in others))
    if names:
        depend = "depends" if len(names) == 1 else "depend"
        yield _note(names, f"{names_text(names)} {depend} on what goes, and {_be(names)} left", _more(names))


def _needed(targets: Iterable[AgentName], agents: Mapping[AgentName, Agent]) -> dict[AgentName, AgentName]:
    """All that `targets` depend on and that is none of them, each with the agent that led to it."""
    found: dict[AgentName, AgentName] = {}
    queue = [*targets]
    wanted = frozenset(queue)
    for name in queue:
        for other in agents[name].spec.depends_on if name in agents else ():
            if other not in found and other not in wanted:
                found[other] = name
                queue.append(other)
    return found


def _left(names: Sequence[AgentName], what: str, who: str) -> str:
    """`support/knowledge is to be created and is left out, though support/triage depends on it`."""
    why = f"{who} depends on it" if who else "the targets depend on them"
    return f"{names_text(names)} {_be(names)} {what} and {_be(names)} left out, though {why}"


def _be(names: Sequence[AgentName]) -> str:
    return "is" if len(names) == 1 else "are"


def _more(names: Sequence[AgentName]) -> str:
    if len(names) > _NAMED:
        return "leave out --target for all of it"
    return "add " + " ".join(f"--target {name}" for name in names)


def _note(names: Sequence[AgentName], text: str, lift: str) -> Hold:
    return Hold(code=HoldCode.TARGETS, agents=tuple(names), action=None, text=text, lift=lift, blocks_exit=False)
