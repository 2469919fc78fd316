"""Charts of agents that the tests know, and agents of any kind: what people may write, where templates could break."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from reconciler.model.agent import (
    Agent,
    Autoscaling,
    EnvVar,
    ExecTarget,
    HttpTarget,
    Metric,
    MetricType,
    ModelConfig,
    Probe,
    Probes,
    SecretRef,
    Skill,
    Tool,
)
from reconciler.model.registry import PlacedReplicas
from reconciler.model.units import Duration, Quantity
from reconciler.placement.shares import shares
from reconciler.render import canonical, render
from reconciler.render.chart import chart
from tests.render.test_render_properties import agents

FLEET = "acme"


def files(agent: Agent, replicas: int = 1, total: int = 0, fleet: str = FLEET) -> dict[str, str]:
    """The chart of what runs of an agent on one cluster."""
    counts = (replicas, total - replicas) if total > replicas else (replicas,)
    share = shares(
        agent.spec.placement, tuple(PlacedReplicas(cluster=f"c{at}", replicas=one) for at, one in enumerate(counts))
    )
    return chart(agent, share=share["c0"], fleet=fleet, clusters=("local",))


def objects(agent: Agent, replicas: int = 1, total: int = 0, *, exported: bool = False) -> list[Any]:
    """The objects that `render` makes of the same."""
    placed = [PlacedReplicas(cluster="local", replicas=replicas)]
    if total > replicas:
        placed.append(PlacedReplicas(cluster="other", replicas=total - replicas))
    rendered = render(agent, tuple(placed), fleet=FLEET, exported=frozenset({"local"} if exported else ()))
    return [json.loads(canonical(manifest.body)) for manifest in rendered["local"]]


def by_kind(bodies: list[Any]) -> Mapping[str, Any]:
    """Objects by kind; each kind is there once."""
    found = {body["kind"]: body for body in bodies}
    assert len(found) == len(bodies)
    return found


TRAPS = [
    "{{ .Values.fleet }}", '{{ fail "no" }}', "{{/*", "}}", "\\u2028", "\\\\u003c", "\u2028\n\u2029", "a\u0085b\nc",
    "\x7f\n", "\x00\x1b", "\ufeff", "\ufffe", "😀 é\n", "012", "1e3", "1_000", "0x1F", "12:30", "2024-01-01", "yes",
    "y", "No", "~", "null", "=", "<<", "", " ", "\t", " lead\n  more\n", "trail \nx", "\n\nblank", "ends\n\n\n",
    "# no comment", "a: b", "- item", "'single'", '"double"', "back\\slash", "<b>&amp;</b>", "%s %q", "---\na: b",
    "...", "$1", "x\r\ny", "|", ">-",
]  # fmt: skip
"""Text that a template, a YAML parser or Helm could take for something else."""
texts = st.sampled_from(TRAPS) | st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
some_text = texts.filter(bool)
numbers = (
    st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1.0, 1e6, 1e16, 1e21, 1e-7, -0.0, 2**53 + 1, 1000000])
)
leaves = st.none() | st.booleans() | numbers | texts
json_values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2), max_leaves=6
)
json_objects = st.dictionaries(texts, json_values, max_size=3)
lines = st.lists(some_text, max_size=2).map(tuple)
commands = st.lists(some_text, min_size=1, max_size=2).map(tuple)
tools = st.builds(Tool, mcp_server=some_text, tool_names=lines, require_approval=lines) | st.builds(
    Tool, agent=st.just("support/knowledge"), url=st.just("http://a/?b=<c>&d")
)
skills = st.builds(Skill, id=some_text, name=some_text, description=texts, tags=lines, examples=lines)
secrets = st.builds(SecretRef, name=st.sampled_from(["012", "1e3", "yes"]), key=st.sampled_from(["key", "0x1", "on"]))
models = st.builds(
    ModelConfig,
    provider=some_text,
    model=some_text,
    base_url=st.sampled_from(["", "https://models.example/?a=1&b=<2>"]),
    secret=st.none() | secrets,
    parameters=json_objects,
)
variables = st.builds(
    EnvVar, name=st.sampled_from(["AGENT_NAME", "PORT", "HOST", "MODEL_API_KEY", "Y", "A_1", "NULL"]), value=texts
) | st.builds(EnvVar, name=st.sampled_from(["AGENT_CARD", "PORT_P0", "TOKEN"]), secret=secrets)
metrics = st.builds(
    Metric,
    type=st.just(MetricType.EXTERNAL),
    name=some_text,
    selector=st.dictionaries(st.sampled_from(["queue", "y"]), st.sampled_from(["1e3", "no", "a"]), max_size=2),
    average=st.just(Quantity.parse("30")),
) | st.builds(Metric, type=st.just(MetricType.CPU), utilization=st.integers(1, 100))
targets = st.builds(ExecTarget, command=commands) | st.builds(
    HttpTarget, path=some_text, port=st.sampled_from(["p0", 8080])
)
seconds = st.integers(0, 10**7).map(Duration.of_ms)
probes = st.builds(Probe, target=targets, period=seconds, timeout=seconds, initial_delay=seconds)


@st.composite
def any_agents(draw: st.DrawFn) -> Agent:
    """Agents as the properties of rendering have them, with traps wherever text may stand."""
    agent = draw(agents())
    spec = replace(
        agent.spec,
        description=draw(texts),
        system_message=draw(texts),
        config=draw(json_objects),
        model_config=draw(st.none() | models),
        tools=tuple(draw(st.lists(tools, max_size=2))),
        skills=tuple(draw(st.lists(skills, max_size=2))),
        env=tuple(draw(st.lists(variables, unique_by=lambda variable: variable.name, max_size=4))),
        command=draw(lines),
        args=tuple(draw(st.lists(texts, max_size=3))),
        ports=draw(st.sampled_from([agent.spec.ports, agent.spec.ports, ()])),
        probes=Probes(startup=draw(st.none() | probes), readiness=draw(st.none() | probes)),
        suspend=draw(st.sampled_from([False, False, False, True])),
    )
    if spec.autoscaling is not None:
        spec = replace(spec, autoscaling=Autoscaling(min=1, max=9, metrics=tuple(draw(st.lists(metrics, min_size=1)))))
    return replace(agent, spec=spec, annotations=draw(st.dictionaries(st.sampled_from(["a/b", "y", "1e3"]), texts)))
