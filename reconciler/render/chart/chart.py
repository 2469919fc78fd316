"""A whole chart: path -> text, and Chart.yaml.

May live here: which files a chart has. The same agent, share and version give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from reconciler.model.agent import Agent
from reconciler.placement.shares import Share
from reconciler.render.chart.schema import values_schema
from reconciler.render.chart.templates import templates
from reconciler.render.chart.text import Section, document
from reconciler.render.chart.values import values
from reconciler.render.metadata import version_of

KUBERNETES = ">=1.30.0-0"
"""The first version in which a pod's preStop can sleep without a program for it."""


def chart(agent: Agent, *, share: Share, fleet: str, clusters: Sequence[str], version: str = "0.1.0") -> dict[str, str]:
    """The files of a Helm chart for what runs of `agent` on each of `clusters`.

    With its own values, in a release whose namespace is the agent's, it gives the same objects as `render`.
    """
    name = agent.name.name
    about = [
        Section(key="apiVersion", value="v2"),
        Section(key="name", value=name),
        Section(key="description", value=agent.spec.description or f"The agent {agent.name}"),
        Section(key="type", value="application"),
        Section(key="version", value=version),
        Section(key="appVersion", value=version_of(agent.spec.image)),
        Section(key="kubeVersion", value=KUBERNETES),
        Section(
            key="annotations",
            value={"agents.codevald.io/agent": str(agent.name), "agents.codevald.io/fleet": fleet},
        ),
    ]
    files = {
        "Chart.yaml": document(about),
        "values.yaml": values(agent, share=share, fleet=fleet, clusters=clusters),
        "values.schema.json": json.dumps(values_schema(), indent=2) + "\n",
        **templates(name),
    }
    return dict(sorted(files.items()))
