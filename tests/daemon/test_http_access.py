"""Who may ask a daemon for what: by token, by certificate, by nothing at all; and from which pages."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reconciler.daemon.http.access import Callers, Right, read_callers
from reconciler.daemon.http.limits import Limits
from reconciler.daemon.http.secretfiles import LOOK_AGAIN_S, FromFile
from reconciler.model.errors import UsageError
from tests.daemon.serving import READER, WRITER, Daemon, hashed, open_daemon, serving

FLEET = "/api/v1/fleet"
NONE = Callers(certificates={})


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = await open_daemon(tmp_path)
    yield made
    await made.registry.close()


async def test_a_token_that_is_known_may_read(daemon: Daemon) -> None:
    async with serving(daemon):
        for token in (READER, WRITER):
            assert (await daemon.ask(FLEET, token=token))[0] == 200


@pytest.mark.parametrize(
    "given",
    [
        {}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {READER}x"}, {"Authorization": f"Basic {READER}"},
        {"Authorization": "Bearer " + "x" * 3000}, {"Authorization": READER}, {"Authorization": "Bearer \xff\xfe"},
        {"Cookie": f"token={READER}"}, {"X-Api-Key": READER},
    ],
)  # fmt: skip
async def test_nobody_else_may(daemon: Daemon, given: dict[str, str]) -> None:
    async with serving(daemon):
        status, body, headers = await daemon.whole(FLEET, token="", headers=given)
    assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="reconciler"')
    assert READER not in str(body)


async def test_a_token_in_the_address_is_none(daemon: Daemon) -> None:
    async with serving(daemon):
        assert (await daemon.ask(f"{FLEET}?access_token={READER}", token=""))[0] == 401


async def test_without_callers_nothing_is_told_and_the_reason_is(daemon: Daemon) -> None:
    async with serving(daemon, known=NONE):
        status, body = await daemon.ask(FLEET)
    assert (status, body["type"]) == (403, "urn:reconciler:problem:no-callers")
    assert "--access" in body["hint"]


async def test_who_is_on_this_machine_may_read_where_that_is_wished(daemon: Daemon) -> None:
    async with serving(daemon, known=NONE, anonymous=True):
        assert (await daemon.ask(FLEET, token=""))[0] == 200
        assert (await daemon.ask(FLEET, token="a wrong one"))[0] == 401


async def test_it_is_not_wished_where_others_could(daemon: Daemon) -> None:
    with pytest.raises(UsageError, match="without being known"):
        async with serving(daemon, known=NONE, anonymous=True, address="0.0.0.0:0"):
            pass


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "169.254.169.254"])
async def test_a_name_of_somebody_else_that_leads_here_is_refused(daemon: Daemon, host: str) -> None:
    async with serving(daemon, anonymous=True):
        for path in (FLEET, "/metrics", "/healthz"):
            assert (await daemon.ask(path, token="", headers={"Host": host}))[0] == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9", "[::1]:80", "localhost."])
async def test_the_names_of_this_machine_are_ours(daemon: Daemon, host: str) -> None:
    async with serving(daemon):
        assert (await daemon.ask("/healthz", headers={"Host": host}))[0] == 200


async def test_no_page_of_another_origin_is_invited(daemon: Daemon) -> None:
    async with serving(daemon):
        sent = {"Origin": "http://evil.example", "Access-Control-Request-Method": "GET"}
        status, _, headers = await daemon.whole(FLEET, "OPTIONS", headers=sent)
        assert status == 405
        _, _, read = await daemon.whole(FLEET, headers=sent)
    assert not any(name.lower().startswith("access-control-") for name in (*headers, *read))
    assert (read["X-Content-Type-Options"], read["Server"]) == ("nosniff", "reconciler")


async def test_who_guesses_is_slowed_down(daemon: Daemon) -> None:
    async with serving(daemon, limits=Limits(rate=0.001)):
        found = [(await daemon.ask(FLEET, token=f"guess {i}"))[0] for i in range(12)]
    assert found == [401] * 10 + [429] * 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rita read", "NAME RIGHTS HOW"), ("rita read secret", "no hash"), ("rita write,fly certificate", "no rights"),
        ("../etc read certificate", "no name"), ("rita read sha256:abc", "no hash"),
        ("a read certificate\na read certificate", "already"), ("\n".join(["a read " + hashed("x")] * 1001), "1000"),
    ],
)  # fmt: skip
def test_a_list_of_callers_that_cannot_be_meant_is_told(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        read_callers(text, "callers")


def test_a_list_of_callers_holds_no_secret_and_says_who_may_what() -> None:
    known = read_callers(
        f"# people\nrita read {hashed('t1')} # on call\n\nwalt read,write {hashed('t2')};x read certificate", "x"
    )
    rita, walt = known.by_token("t1"), known.by_token("t2")
    assert rita is not None
    assert walt is not None
    assert (rita.name, rita.rights) == ("rita", frozenset({Right.READ}))
    assert (walt.name, walt.rights) == ("walt", frozenset({Right.READ, Right.WRITE}))
    assert known.by_token("t3") is None
    assert "t1" not in repr(known)


def test_a_certificate_is_known_by_its_one_common_name() -> None:
    known = read_callers("x read certificate", "x")
    assert known.by_certificate({"subject": ((("organizationName", "x"),), (("commonName", "x"),))}) is not None
    for subject in ((), ((("commonName", "y"),),), ((("commonName", "y"),), (("commonName", "x"),))):
        assert known.by_certificate({"subject": subject}) is None
    assert known.by_certificate(None) is None


def test_a_file_is_read_again_when_it_changes_and_lets_nobody_in_when_it_cannot_be_used(tmp_path: Path) -> None:
    path, told, now = tmp_path / "callers", list[str](), [0.0]
    path.write_text(f"rita read {hashed('t1')}\n")
    file = FromFile(path=path, read=read_callers, none=NONE, monotonic=lambda: now[0], troubled=told.append)
    assert file.first().by_token("t1") is not None
    path.write_text(f"rita read {hashed('token 2')} # changed\n")
    now[0] += LOOK_AGAIN_S
    assert file.now().by_token("t1") is None
    assert file.now().by_token("token 2") is not None
    path.write_text("nonsense\n")
    now[0] += LOOK_AGAIN_S
    assert not file.now().anybody
    assert len(told) == 1
    path.unlink()
    now[0] += LOOK_AGAIN_S
    assert not file.now().anybody


def test_a_file_that_could_not_be_read_for_a_moment_counts_again_when_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For want of files, or of a right that is given back: nothing of that shows in when it was changed."""
    path, told, now = tmp_path / "callers", list[str](), [0.0]
    path.write_text(f"rita read {hashed('t1')}\n")
    file = FromFile(path=path, read=read_callers, none=NONE, monotonic=lambda: now[0], troubled=told.append)
    file.first()
    path.write_text(f"rita read {hashed('t1')} # changed\n")

    def out_of_files(*_mode: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", out_of_files)
        for _ in range(3):
            now[0] += LOOK_AGAIN_S
            assert not file.now().anybody
    assert [line.rpartition(": ")[2] for line in told] == ["Too many open files"]
    now[0] += LOOK_AGAIN_S
    assert file.now().by_token("t1") is not None


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a read certificate\n" * 20_000])
def test_a_file_that_is_no_such_list_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "callers"
    path.write_bytes(content)
    file = FromFile(path=path, read=read_callers, none=NONE, monotonic=lambda: 0.0)
    with pytest.raises(UsageError):
        file.first()
