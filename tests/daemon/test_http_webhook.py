"""The webhook: who is believed, what is refused, and that all it does is to have Git asked."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reconciler.daemon.calling import BELL
from reconciler.daemon.http.signatures import Forged, Secrets, read_secret, verified
from reconciler.daemon.http.webhook import Seen
from reconciler.model.errors import RegistryError, UsageError
from tests.daemon.serving import OLD_SECRET, SECRET, Daemon, open_daemon, serving

BODY = b'{"ref": "refs/heads/main"}'
NOW = 1_800_000_000
KEY = b"a key of thirty-two bytes in all"
WHSEC = "whsec_" + base64.b64encode(KEY).decode()
KNOWN = Secrets(keys=(SECRET, OLD_SECRET, WHSEC))


def signed(body: bytes = BODY, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def github(body: bytes = BODY, secret: str = SECRET, delivery: str = "d-1") -> dict[str, str]:
    return {"X-Hub-Signature-256": f"sha256={signed(body, secret)}", "X-GitHub-Delivery": delivery}


def standard(body: bytes = BODY, key: bytes = KEY, at: int = NOW, name: str = "m-1") -> dict[str, str]:
    made = base64.b64encode(hmac.digest(key, f"{name}.{at}.".encode() + body, "sha256")).decode()
    return {
        "Webhook-Id": name,
        "Webhook-Timestamp": str(at),
        "Webhook-Signature": f"v1,{made}",
        "X-Gitlab-Event": "Push Hook",
    }


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon = await open_daemon(tmp_path)
    async with serving(daemon):
        yield daemon
    await daemon.registry.close()


async def push(server: Daemon, headers: dict[str, str], body: bytes = BODY) -> int:
    return (await server.ask("/webhook", "POST", token="", headers=headers, data=body))[0]


@pytest.mark.parametrize(
    ("headers", "sender"),
    [
        (github(), "github"),
        (github(secret=OLD_SECRET), "github"),
        ({**github(), "X-Gitea-Delivery": "g", "X-Gitea-Signature": signed()}, "gitea"),
        ({"X-Gitea-Signature": signed(), "X-Gitea-Delivery": "g"}, "gitea"),
        ({"X-Forgejo-Signature": signed(secret=OLD_SECRET)}, "forgejo"),
        ({"X-Gitlab-Token": SECRET}, "gitlab"),
        ({"X-Gitlab-Token": OLD_SECRET, "Idempotency-Key": "k"}, "gitlab"),
        (standard(), "gitlab"),
        (standard(at=NOW - 299), "gitlab"),
        ({**standard(), "Webhook-Signature": "v1,AAAA " + standard()["Webhook-Signature"]}, "gitlab"),
    ],
)
def test_who_knows_a_secret_is_believed(headers: dict[str, str], sender: str) -> None:
    assert verified(headers, BODY, KNOWN, NOW).sender == sender


FORGED = [
    {},
    {"X-Hub-Signature": "sha1=" + "0" * 40},
    github(secret="another secret, which nobody knows"),
    github(body=b"another body"),
    {"X-Hub-Signature-256": signed()},
    {"X-Hub-Signature-256": "sha256="},
    {"X-Hub-Signature-256": "sha256=" + "z" * 64},
    {"X-Hub-Signature-256": "sha256=" + signed() + "00"},
    {"X-Hub-Signature-256": "sha1=" + signed()},
    {**github(secret="another secret, which nobody knows"), "X-Gitlab-Token": SECRET},
    {**github(body=b"x"), "X-Gitea-Signature": signed()},
    {"X-Gitea-Signature": "sha256=" + signed()},
    {"X-Gitlab-Token": ""},
    {"X-Gitlab-Token": SECRET[:-1]},
    {"X-Gitlab-Token": SECRET + "\udcff"},
    standard(key=b"another key"),
    standard(at=NOW - 301),
    standard(at=NOW + 301),
    {**standard(), "Webhook-Timestamp": "1e9"},
    {**standard(), "Webhook-Id": ""},
    {**standard(), "Webhook-Id": "m-2"},
    {**standard(), "Webhook-Signature": ""},
    {**standard(), "Webhook-Signature": "v1,AAAA " * 8 + standard()["Webhook-Signature"]},
]


@pytest.mark.parametrize("headers", FORGED)
def test_nobody_else_is(headers: dict[str, str]) -> None:
    with pytest.raises(Forged) as refused:
        verified(headers, BODY, KNOWN, NOW)
    assert SECRET not in str(refused.value)


async def test_a_delivery_has_git_asked(server: Daemon) -> None:
    assert await push(server, github()) == 202
    assert server.fetched == 1
    assert any("webhook" in line for line in server.lines)


async def test_one_that_does_not_ask_alone_rings_for_the_others_and_says_so(server: Daemon) -> None:
    server.alone = False
    status, said = await server.ask("/webhook", "POST", token="", headers=github(), data=BODY)
    assert (status, said) == (202, {"fetch": True, "detail": "the daemons that look after the fleet ask Git now"})
    assert server.fetched == 1, "it asks too when it comes to lead"
    (bell,) = await server.registry.leases(BELL)
    assert (bell.epoch, bell.holder) == (1, "")


async def test_where_the_others_cannot_be_told_the_answer_says_so(
    server: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise RegistryError("the registry cannot be reached")

    server.alone = False
    monkeypatch.setattr(server.registry, "acquire", away)
    status, said = await server.ask("/webhook", "POST", token="", headers=github(), data=BODY)
    assert (status, said["fetch"]) == (202, False)
    assert "ask Git at the end of their --poll" in said["detail"]
    assert any("not-passed-on" in line and "cannot be reached" in line for line in server.lines)


async def test_what_it_says_is_never_read(server: Daemon) -> None:
    for number, body in enumerate((b"", b"{" * 100_000, b"\xff\x00", b'{"a":' * 50_000)):
        assert await push(server, github(body, delivery=f"d-{number}"), body) == 202
    assert server.fetched == 4


@pytest.mark.parametrize("headers", [item for item in FORGED if "\udcff" not in "".join(item.values())])
async def test_what_is_not_believed_does_nothing(server: Daemon, headers: dict[str, str]) -> None:
    assert await push(server, headers) == 401
    assert server.fetched == 0
    assert not any(SECRET in line or OLD_SECRET in line for line in server.lines)


async def test_a_delivery_counts_once_whatever_id_it_is_given(server: Daemon) -> None:
    found = [await push(server, github(delivery=name)) for name in ("d-1", "d-1", "d-2", "")]
    assert (found, server.fetched) == ([202, 200, 200, 200], 1)
    assert await push(server, github(b"another", delivery="d-1"), b"another") == 200
    assert server.fetched == 1


async def test_a_day_later_it_may_count_again_and_memory_is_bounded() -> None:
    now = [0.0]
    seen = Seen(monotonic=lambda: now[0], age_s=10, most=3)
    assert not seen.before("a")
    assert seen.before("a", "b")
    now[0] = 11.0
    assert not seen.before("a")
    for key in "cdefgh":
        seen.before(key)
    assert len(seen) == 3
    assert not seen.before("a")


async def test_without_a_secret_nothing_is_taken(tmp_path: Path) -> None:
    daemon = await open_daemon(tmp_path)
    async with serving(daemon, secrets=lambda: Secrets(keys=())):
        status, body = await daemon.ask("/webhook", "POST", token="", headers=github(secret=""), data=BODY)
    await daemon.registry.close()
    assert (status, body["type"]) == (403, "urn:reconciler:problem:no-secret")
    assert "RECONCILER_WEBHOOK_SECRET" in body["hint"]


@pytest.mark.parametrize("text", ["", "guess", "whsec_%%%%%%%%%%%%%%%%%%"])
def test_a_secret_that_can_be_guessed_or_read_by_nobody_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as told:
        read_secret(text, "RECONCILER_WEBHOOK_SECRET")
    assert text == "" or text not in str(told.value)


def test_a_secret_is_taken_as_it_is_but_for_the_end_of_its_line() -> None:
    assert read_secret(" spaces are part of it \n", "f") == " spaces are part of it "
    assert SECRET not in repr(KNOWN)
