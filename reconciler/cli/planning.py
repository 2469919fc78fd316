"""What commands that plan or render share: showing a plan, saving it, what it means, finding and placing agents."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from reconciler.cli.failures import colors_on_stderr
from reconciler.cli.files import write_atomically
from reconciler.cli.output import meant, note, terminal
from reconciler.cli.views.diagnostics import finding_text, masked
from reconciler.model.agent import Agent
from reconciler.model.errors import UsageError
from reconciler.model.fleet import Declaration, FleetSpec
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent
from reconciler.model.plan import Plan
from reconciler.model.registry import PlacedReplicas
from reconciler.model.source import Severity

MARKDOWN_BUDGET = 60_000
MAX_FINDINGS = 50
MAX_ANSWER = 100


def shown_plan(plan: Plan, output: str, *, color: bool) -> str:
    """`plan` as text, JSON or Markdown."""
    match output:
        case "json":
            from reconciler.cli.views.plan_json import render_json

            return render_json(plan)
        case "markdown":
            from reconciler.cli.views.plan_markdown import render_markdown

            return render_markdown(plan, budget=MARKDOWN_BUDGET)
        case _:
            from reconciler.cli.views.plan_text import render_text

            return render_text(plan, color=color)


def findings_note(plan: Plan) -> None:
    """Print the findings of the files that the plan was made from, on stderr."""
    if not plan.diagnostics:
        return
    color = colors_on_stderr()
    note()
    for finding in masked(plan.diagnostics[:MAX_FINDINGS]):
        note(finding_text(finding, color=color))
    left = len(plan.diagnostics) - MAX_FINDINGS
    if left > 0:
        note(f"... and {left} more; `reconciler validate` shows all of them.")


def has_errors(plan: Plan) -> bool:
    """Whether the plan is not the whole truth: findings in files, or something that could not be read."""
    return any(f.severity is Severity.ERROR for f in plan.diagnostics) or any(c.problem for c in plan.completeness)


def leaves_out(plan: Plan) -> bool:
    """Whether an apply of this plan leaves something out that it should have done."""
    return has_errors(plan) or any(hold.blocks_exit for hold in plan.holds)


def save(plan: Plan, path: Path) -> None:
    """Write a plan file: private, and never half of one."""
    from reconciler.plan.planfile import dump

    write_atomically(path, dump(plan), mode=0o600)


def ask(question: str) -> bool:
    """Ask on the terminal; only `yes` is yes. Without a terminal nobody can answer: no. Ctrl-C interrupts.

    To be called in the main thread; the event loop stands still meanwhile, and has nothing else to do.
    """
    if not terminal(sys.stdin):
        return False
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the event loop's would not end the reading
    try:
        sys.stderr.write(f"{question} Only 'yes' is accepted: ")
        sys.stderr.flush()
        return sys.stdin.readline(MAX_ANSWER).strip() == "yes"
    finally:
        signal.signal(signal.SIGINT, before)


def find_agent(declaration: Declaration, name: AgentName) -> Agent:
    """One valid agent of a declaration. Raises UsageError: why it is invalid, or the nearest name."""
    if name in declaration.agents:
        return declaration.agents[name]
    if name in declaration.frozen_agents:
        frozen = declaration.frozen_agents[name]
        told = "\n".join(finding_text(finding, color=False) for finding in masked(frozen.diagnostics))
        raise UsageError(f"{name} is not valid: {frozen.reason}", hint=told)
    else_hint = "only what the files declare can be shown; `reconciler get agents` lists what is on record"
    hint = meant(str(name), map(str, declaration.agents), else_hint)
    raise UsageError(f"no agent {name} is declared", hint=hint)


def placed_by_rule(fleet: FleetSpec, agent: Agent) -> tuple[PlacedReplicas, ...]:
    """Where an agent runs by its own rule: nothing that runs is looked at. Raises UsageError where it has no place."""
    from reconciler.placement import PlacementRequest, place

    result = place(
        PlacementRequest(
            agents={agent.name: agent},
            clusters=fleet.clusters,
            capacities={declared.name: Absent() for declared in fleet.clusters},
        )
    )
    if agent.name not in result.placed:
        raise UsageError(f"{agent.name} cannot be placed: {result.holds[0].text}", hint=result.holds[0].lift)
    return result.placed[agent.name]
