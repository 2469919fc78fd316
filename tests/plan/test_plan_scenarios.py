"""Golden plans: each folder of tests/scenarios holds a story (scenario.yaml) and the plan that comes of it.

Written anew only when asked for: `UPDATE_SCENARIOS=1 pytest tests/plan/test_plan_scenarios.py`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.cli.views.plan_json import render_json
from reconciler.cli.views.plan_markdown import render_markdown
from reconciler.cli.views.plan_text import render_text
from reconciler.model.identity import AgentName
from reconciler.model.plan import Policy
from reconciler.model.registry import Quarantine, ScaleOverride
from reconciler.model.units import Duration
from reconciler.plan import make_plan
from reconciler.plan.planfile import dump, load
from tests.plan.builders import BASE, FLEET, World, agent, path_of, ref

FOLDER = Path(__file__).parent.parent / "scenarios"
SCENARIOS = sorted(path.parent for path in FOLDER.glob("*/scenario.yaml"))
UPDATE = os.environ.get("UPDATE_SCENARIOS") == "1"


def change_files(files: dict[str, str], told: dict[str, Any]) -> None:
    """`agents` by name (a spec, a text, or null for none), `files` by path."""
    for name, spec in (told.get("agents") or {}).items():
        path = path_of(name)
        if spec is None:
            del files[path]
        else:
            files[path] = spec if isinstance(spec, str) else agent(name, **spec)
    for path, text in (told.get("files") or {}).items():
        if text is None:
            del files[path]
        else:
            files[path] = text


def set_at(body: dict[str, Any], path: list[Any], value: Any) -> None:
    for part in path[:-1]:
        body = body[part]
    if value is None:
        del body[path[-1]]
    else:
        body[path[-1]] = value


def fields_at(path: list[Any], body: Any) -> dict[str, Any]:
    """The fieldsV1 of one path; list items by name."""
    if not path:
        return {}
    head, *rest = path
    if isinstance(head, int):
        return {f'k:{{"name":"{body[head]["name"]}"}}': fields_at(rest, body[head])}
    below = body.get(head) if isinstance(body, dict) else None
    return {f"f:{head}": fields_at(rest, below)}


def happen(world: World, event: dict[str, Any]) -> None:  # noqa: C901, PLR0912 - a table of events
    """One thing that happens in the world behind the back of Git."""
    (kind, told), *_ = event.items()
    match kind:
        case "edit":
            target = ref(told["kind"], told["name"])
            cluster = told.get("cluster", "local")
            body = world.live[cluster][target].body
            world.edit(
                target,
                lambda b: set_at(b, told["path"], told["value"]),
                fields_at(told["path"], body),
                cluster=cluster,
                manager=told.get("manager", "kubectl"),
                operation=told.get("operation", "Update"),
                subresource=told.get("subresource", ""),
            )
        case "lose":
            del world.live[told.get("cluster", "local")][ref(told["kind"], told["name"])]
        case "foreign":
            body = {"metadata": told.get("metadata", {}), "spec": told.get("spec", {})}
            world.store(told.get("cluster", "local"), ref(told["kind"], told["name"]), body)
        case "unreadable":
            world.unreadable[told["cluster"]] = told["reason"]
        case "readable":
            del world.unreadable[told]
        case "note":
            world.note()
        case "wait":
            world.now_ms += round(Duration.parse(told).ms)
        case "apply":
            world.converge()
        case "commit":
            change_files(world.files, told)
        case "apis":
            world.apis.update(told)
        case "partly":
            world.partly[told["cluster"]] = {(told["kind"], told["namespace"]): told["reason"]}
        case "registry-down":
            world.registry_down = told
        case "pin":
            world.pins.update(told)
        case "suspend":
            world.alter(told, suspended=True)
        case "override":
            world.alter(told["name"], override=ScaleOverride(**{k: v for k, v in told.items() if k != "name"}))
        case "quarantine":
            wanted = world.declaration.agents[AgentName.parse(told["name"])].spec_hash
            quarantine = Quarantine(spec_hash=wanted, since_ms=told["since_ms"], reason=told["reason"])
            world.alter(told["name"], quarantine=quarantine)
        case _:
            raise AssertionError(kind)


def policy_of(told: dict[str, Any]) -> Policy:
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
    given["targets"] = tuple(AgentName.parse(name) for name in told.get("targets", ()))
    return Policy(**given)


def world_of(story: dict[str, Any]) -> World:
    world = World(files={"fleet.yaml": story.get("fleet", FLEET), "templates/base.yaml": BASE})
    change_files(world.files, story.get("before") or {})
    world.converge()
    change_files(world.files, story.get("after") or {})
    for event in story.get("events") or ():
        happen(world, event)
    return world


@pytest.mark.parametrize("folder", SCENARIOS, ids=lambda folder: folder.name)
def test_a_scenario_comes_out_as_written(folder: Path) -> None:
    story = yaml.safe_load((folder / "scenario.yaml").read_text())
    given = world_of(story).input(policy_of(story.get("policy") or {}), rewound=story.get("rewound", False))
    plan = make_plan(given)
    views = {
        "plan.txt": render_text(plan, color=False) + "\n",
        "plan.json": render_json(plan) + "\n",
        "plan.md": render_markdown(plan),
        "saved.plan": dump(plan).decode(),
    }
    for name, text in views.items():
        if UPDATE:
            (folder / name).write_text(text)
        assert (folder / name).read_text() == text, f"{folder.name}/{name}; if this is meant: UPDATE_SCENARIOS=1"
    assert load(dump(plan)).fleet == plan.fleet


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 40
