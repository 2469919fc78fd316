"""The example fleet is valid, and each of its programs serves its card, its health and a real answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.agent import Agent
from reconciler.model.fleet import Declaration
from reconciler.model.registry import PlacedReplicas
from reconciler.model.source import Blob, Revision
from reconciler.render import render
from reconciler.spec import read_fleet

FOLDER = Path(__file__).parent.parent.parent / "examples" / "agents"
ASKED = {
    "support/knowledge": ("How do I reset my password?", "Forgot password"),
    "support/triage": ("I was charged twice!", "queue: billing, urgency: high"),
    "support/escalation": ("The site is down", "severity 2: tell the engineer on call within 30m (down)"),
    "support/replies": ("The export fails. Can you help?", "You asked: Can you help?"),
    "research/notes": ("note: look into drift", "kept, 1 in all"),
    "research/keywords": ("Agents call agents; plans name agents.", "agents, call"),
    "research/summarizer": ("Agents run. Agents run plans. It rained. Plans name agents.", "Agents run."),
    "research/glossary": ("What is drift?", "no longer what was last applied"),
    "operations/calculator": ("(2 + 3) * 4", "20"),
    "operations/logwatch": ("ERROR [db] gone\nWARN [api] slow\nERROR [db] gone", "ERROR db: 2\nWARN api: 1"),
    "operations/runbook": ("the disk is full", "1. Find the largest logs"),
    "operations/scheduler": ("deploy: test\ntest: build", "build -> test -> deploy"),
}


@cache
def fleet() -> Declaration:
    blobs = {
        str(path.relative_to(FOLDER)): Blob(id=hashlib.sha1(data).hexdigest(), data=data)  # noqa: S324 - a blob id
        for path in sorted(FOLDER.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and (data := path.read_bytes()) is not None
    }
    return read_fleet(Revision(commit="0" * 40), blobs)


def agent(name: str) -> Agent:
    return next(agent for key, agent in fleet().agents.items() if str(key) == name)


def test_the_fleet_validates_clean_and_is_what_its_readme_says() -> None:
    declared = fleet()
    assert declared.diagnostics == ()
    assert sorted(map(str, declared.agents)) == sorted(ASKED)
    assert set(declared.templates) == {"base", "assistant", "worker"}
    assert len(declared.templates["base"]) == len(ASKED)
    table = (FOLDER / "README.md").read_text()
    assert all(f"| {name} |" in table for name in ASKED)


def test_the_examples_show_overrides_by_null_and_by_name() -> None:
    assert agent("research/glossary").spec.model_config is None
    assert agent("research/glossary").spec.system_message == ""
    levels = {variable.name: variable.value for variable in agent("operations/logwatch").spec.env}
    assert levels == {"LOG": "warning", "PYTHONDONTWRITEBYTECODE": "1", "LEVELS": "ERROR,WARN"}
    assert agent("operations/scheduler").spec.recovery.attempts == 10
    assert agent("support/triage").spec.autoscaling is not None


@contextmanager
def running(name: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The agent's process as the embedded kubelet starts it: its files laid out, HOST and a free PORT given."""
    declared = agent(name)
    manifests = render(declared, (PlacedReplicas(cluster="local", replicas=1),), fleet="acme")["local"]
    data = next(manifest.body["data"] for manifest in manifests if manifest.ref.kind == "ConfigMap")
    for file, text in data.items():
        (tmp_path / file).write_text(text)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {variable.name: variable.value or "" for variable in declared.spec.env}
    env |= {"AGENT_CONFIG": str(tmp_path / "agent.json"), "AGENT_CARD": str(tmp_path / "agent-card.json")}
    env |= {"HOST": "127.0.0.1", "PORT": str(port), "PATH": os.environ["PATH"]}
    command = [sys.executable, *declared.spec.command[1:], *declared.spec.args]
    process = subprocess.Popen(command, cwd=FOLDER, env=env, text=True, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert "listens on" in process.stdout.readline()
        yield process, port
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
        return json.load(response)


def post(port: int, body: bytes) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", data=body)
    with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 - loopback, http
        return json.load(response)


def message(text: str, method: str = "message/send") -> bytes:
    params = {"message": {"role": "user", "parts": [{"kind": "text", "text": text}]}}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


@pytest.mark.parametrize("name", sorted(ASKED))
def test_a_program_serves_its_card_its_health_and_an_answer_and_ends_when_asked(name: str, tmp_path: Path) -> None:
    question, expected = ASKED[name]
    with running(name, tmp_path) as (process, port):
        assert get(port, "/healthz") == {"status": "ok"}
        card = get(port, "/.well-known/agent-card.json")
        assert (card["name"], card["description"]) == (name.partition("/")[2], agent(name).spec.description)
        assert [skill["id"] for skill in card["skills"]] == [skill.id for skill in agent(name).spec.skills]
        answer = post(port, message(question))
        assert expected in answer["result"]["parts"][0]["text"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_mistaken_calls_are_told_what_is_wrong(tmp_path: Path) -> None:
    with running("operations/calculator", tmp_path) as (_, port):
        assert post(port, b"{")["error"]["code"] == -32700
        assert post(port, b"[]")["error"]["code"] == -32600
        assert post(port, b"[" * 100_000)["error"]["code"] == -32700
        assert post(port, message("1", method="tasks/list"))["error"]["code"] == -32601
        assert post(port, b'{"jsonrpc": "2.0", "id": 1, "method": "message/send"}')["error"]["code"] == -32602
        assert "only numbers" in post(port, message("__import__('os')"))["error"]["message"]
        assert post(port, message("1 / 0"))["error"]["code"] == -32602
        assert post(port, message("2 + 2", method="SendMessage"))["result"]["message"]["parts"] == [{"text": "4"}]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(port, "/other")


async def test_no_request_is_lost_when_a_program_is_told_to_stop(tmp_path: Path) -> None:
    """Those that are being answered, and those that have connected, get their answer."""
    with running("operations/calculator", tmp_path) as (process, port):
        begun = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        body = message("6 * 7")
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        for _, writer in begun:
            writer.write(head + body[:10])
            await writer.drain()
        process.send_signal(signal.SIGTERM)
        stopped = asyncio.get_running_loop().run_in_executor(None, process.wait, 10)
        for reader, writer in begun:
            writer.write(body[10:])
            answer = await asyncio.wait_for(reader.read(), 5)
            assert b'"42"' in answer
            writer.close()
        assert await stopped == 0


def test_a_program_stays_small(tmp_path: Path) -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("the platform has no /proc to read memory from")
    with running("research/notes", tmp_path) as (process, port):
        get(port, "/healthz")
        text = Path(f"/proc/{process.pid}/status").read_text()
        resident_kib = int(text.split("VmRSS:")[1].split()[0])
        assert resident_kib < 40 * 1024
