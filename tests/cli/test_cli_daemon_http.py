"""What `reconciler daemon --listen` serves, as people run it: the webhook, the API, and whom it knows."""

from __future__ import annotations

import hashlib
import hmac
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.conftest import Edit, Program
from tests.cli.test_cli_daemon import started

SECRET, TOKEN = "a secret of thirty characters..", "a token that nobody guesses"


def ask(
    address: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    request = urllib.request.Request(f"http://{address}{path}", data=body, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_push_is_seen_at_once_and_who_is_known_reads_of_it(fleet: Program, edit: Edit, tmp_path: Path) -> None:
    access, secret = tmp_path / "access", tmp_path / "secret"
    access.write_text(f"alice read sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
    secret.write_text(SECRET + "\n")
    options = ("--poll", "1h", "--resync", "1h", "--listen", "127.0.0.1:0", "--access", str(access))
    with started(fleet, *options, RECONCILER_WEBHOOK_SECRET_FILE=str(secret)) as daemon:
        address = daemon.until("listens")["address"]
        daemon.until("change-ended", agent="demo/hello", action="create", outcome="applied")
        edit("agents/demo/hello.yaml", "replicas: 1", "replicas: 2")
        fleet.commit()
        signature = hmac.new(SECRET.encode(), b"{}", hashlib.sha256).hexdigest()
        assert ask(address, "/webhook", b"{}", {"X-Hub-Signature-256": "sha256=" + "0" * 64})[0] == 401
        assert ask(address, "/webhook", b"{}", {"X-Hub-Signature-256": f"sha256={signature}"})[0] == 202
        daemon.until("change-ended", agent="demo/hello", action="scale", outcome="applied", ready="2/2")
        assert ask(address, "/api/v1/agents/demo/hello")[0] == 401
        for _ in range(3):
            status, text = ask(address, "/api/v1/agents/demo/hello", headers={"Authorization": f"Bearer {TOKEN}"})
            assert (status, json.loads(text)["placement"]) == (200, {"local": 2})
        measured = ask(address, "/metrics")[1]
        assert 'reconciler_registry_cache_total{cache="records",outcome="hit"}' in measured, "it was kept"
        assert daemon.end() == 0
    said = json.dumps(daemon.said)
    assert SECRET not in said
    assert TOKEN not in said


def test_one_that_only_plans_is_measured_as_no_leader_that_is_missing(fleet: Program) -> None:
    with started(fleet, "--mode", "plan-only", "--listen", "127.0.0.1:0") as daemon:
        address = daemon.until("listens")["address"]
        daemon.until("planned")
        measured = ask(address, "/metrics")[1]
        assert "reconciler_agents " in measured
        assert "reconciler_leader" not in measured
        assert daemon.end() == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--anonymous-read"], "without --listen"),
        (["--access", "nothing"], "without --listen"),
        (["--trusted-proxies", "10.0.0.7"], "without --listen"),
        (["--listen", "127.0.0.1:0", "--trusted-proxies", "proxy.example"], "does not appear to be an IPv4 or IPv6"),
        (["--listen", "127.0.0.1:0", "--access", "nothing"], "nothing: No such file"),
        (["--listen", "0.0.0.0:0", "--anonymous-read"], "without being known"),
        (["--listen", "127.0.0.1:0", "--tls-cert", "a.pem"], "go together"),
        (["--listen", "127.0.0.1:0", "--client-ca", "a.pem"], "goes with --tls-cert"),
        (
            ["--listen", "127.0.0.1:0", "--tls-cert", "fleet.yaml", "--tls-key", "fleet.yaml"],
            "certificate cannot be used",
        ),
    ],
)
def test_what_cannot_be_served_is_told(fleet: Program, options: list[str], said: str) -> None:
    assert said in fleet("daemon", *options, code=1).err


def test_a_secret_that_can_be_guessed_is_refused_and_not_shown(fleet: Program) -> None:
    done = fleet("daemon", "--listen", "127.0.0.1:0", code=1, RECONCILER_WEBHOOK_SECRET="hunter2")
    assert "RECONCILER_WEBHOOK_SECRET: the secret of the webhook is too short" in done.err
    assert "hunter2" not in done.err
