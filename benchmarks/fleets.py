"""Fleets of any size to measure with: a Git repository of N agents on three templates, the same for the same N."""

from __future__ import annotations

import subprocess
from pathlib import Path

FLEET = """apiVersion: agents.codevald.io/v1
kind: Fleet
metadata: {name: bench}
spec:
  clusters:
    - {name: local, embedded: {run: nothing}}
  deletions: {max: 3, percent: 10}
"""

BASE = """apiVersion: agents.codevald.io/v1
kind: AgentTemplate
metadata: {name: base}
spec:
  image: ghcr.io/acme/agent:1.0.0
  command: [python3, -m, acme.agent]
  resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 256Mi}}
  ports: [{name: http, port: 8080}]
  probes: {readiness: {http: {path: /healthz, port: http}, period: 5s}}
  health:
    interval: 30s
    checks:
      - {name: answers, connectivity: {http: {path: /healthz, port: http}, timeout: 2s}}
      - {name: memory, resources: {memory: 90%}}
  recovery: {ladder: [restart, rollback, quarantine], backoff: {initial: 10s, factor: 2, max: 5m}, attempts: 5}
"""

CHAT = """apiVersion: agents.codevald.io/v1
kind: AgentTemplate
metadata: {name: chat}
spec:
  extends: [base]
  modelConfig: {provider: anthropic, model: claude-sonnet-4-5, secret: {name: anthropic, key: api-key}}
"""

RARE = """apiVersion: agents.codevald.io/v1
kind: AgentTemplate
metadata: {name: rare}
spec:
  extends: [chat]
  resources: {limits: {memory: 512Mi}}
"""

AGENT = """apiVersion: agents.codevald.io/v1
kind: Agent
metadata:
  name: agent-{number:05d}
  labels:
    team: team-{team:03d}
    tier: "{tier}"
spec:
  extends: [{template}]
  description: Does the work of desk {number}
  env:
    - {{name: DESK, value: "{number}"}}
    - {{name: REGION, value: eu-{tier}}}
    - {{name: LOG_LEVEL, value: info}}
  replicas: {replicas}
  systemMessage: |
    You work at desk {number} for team {team}.
    Answer briefly and say what you are unsure of.
  tools:
    - {{mcpServer: {{name: tickets, toolNames: [search, tag]}}, requireApproval: [tag]}}
  skills:
    - {{id: desk, name: Desk, description: Works at a desk, tags: [desk, team-{team:03d}]}}
  config:
    limits:
      perMinute: {limit}
      burst: 20
"""

RARE_SHARE = 100
"""Every hundredth agent stands on the template `rare`, the others on `chat`."""


def write(root: Path, agents: int) -> None:
    """Write the fleet into `root` and commit it."""
    (root / "templates").mkdir(parents=True)
    (root / "fleet.yaml").write_text(FLEET)
    (root / ".gitignore").write_text(".reconciler/\n")
    for name, text in (("base", BASE), ("chat", CHAT), ("rare", RARE)):
        (root / "templates" / f"{name}.yaml").write_text(text)
    for number in range(agents):
        folder = root / "agents" / f"space-{number % 50:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"agent-{number:05d}.yaml").write_text(agent(number))
    git(root, "init", "--quiet", "--initial-branch", "main")
    commit(root, "A fleet to measure")


def agent(number: int, *, replicas: int = 1) -> str:
    """The YAML of agent `number`."""
    template = "rare" if number % RARE_SHARE == 0 else "chat"
    return AGENT.format(
        number=number, team=number % 120, tier=number % 3, template=template, replicas=replicas, limit=60 + number % 7
    )


def change_one(root: Path, number: int, replicas: int) -> None:
    """Commit a change of one agent."""
    path = root / "agents" / f"space-{number % 50:02d}" / f"agent-{number:05d}.yaml"
    path.write_text(agent(number, replicas=replicas))
    commit(root, f"Scale agent {number}")


def add_one(root: Path, number: int) -> None:
    """Commit one agent more."""
    name = f"newcomer-{number:05d}"
    path = root / "agents" / "space-25" / f"{name}.yaml"
    path.write_text(agent(number).replace(f"name: agent-{number:05d}", f"name: {name}"))
    commit(root, f"Add {name}")


def change_template(root: Path, name: str, memory: str) -> None:
    """Commit a change of a template's memory limit."""
    path = root / "templates" / f"{name}.yaml"
    before = path.read_text()
    start = before.index("limits: {memory: ") + len("limits: {memory: ")
    path.write_text(before[:start] + memory + before[before.index("}", start) :])
    commit(root, f"Change template {name}")


def git(root: Path, *arguments: str) -> None:
    """Run git quietly in `root`."""
    who = ("-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, stdout=subprocess.DEVNULL)


def commit(root: Path, message: str) -> None:
    """Commit all that is there."""
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", message)
