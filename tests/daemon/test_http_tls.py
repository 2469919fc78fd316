"""HTTPS, and callers that are known by their certificates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reconciler.daemon.http import certificates, server
from reconciler.daemon.http.certificates import Renewing, Tls
from reconciler.daemon.http.secretfiles import LOOK_AGAIN_S
from reconciler.model.errors import UsageError
from tests.daemon.serving import MANY, READER, Daemon, open_daemon, serving
from tests.daemon.waiting import until

FLEET = "/api/v1/fleet"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, in memory and in files."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    files: tuple[Path, Path]


def issue(folder: Path, name: str, by: Pair | None = None) -> Pair:
    """A certificate for a common name, signed by `by` or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    )
    made = builder.sign(by.key if by else key, hashes.SHA256())
    files = (folder / f"{name}.pem", folder / f"{name}.key")
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return Pair(made, key, files)


@dataclass(slots=True)
class World:
    daemon: Daemon
    folder: Path
    ca: Pair
    clients: Pair

    def tls(self) -> Tls:
        certificate, key = issue(self.folder, "server", self.ca).files
        return Tls(certificate=certificate, key=key, client_ca=self.clients.files[0])

    async def ask(self, path: str, client: Pair | None = None, *, token: str = "", method: str = "GET") -> int:
        context = ssl.create_default_context(cafile=self.ca.files[0])
        if client is not None:
            context.load_cert_chain(*client.files)
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"https://{self.daemon.address}{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, ssl=context, headers=sent) as answer,
        ):
            return answer.status


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    daemon = await open_daemon(tmp_path / "state")
    yield World(daemon, tmp_path, issue(tmp_path, "servers"), issue(tmp_path, "clients"))
    await daemon.registry.close()


async def test_who_shows_a_certificate_that_is_listed_acts_under_its_name(world: World) -> None:
    known = issue(world.folder, "cert.example", world.clients)
    async with serving(world.daemon, tls=world.tls()):
        assert await world.ask(FLEET, known) == 200
        assert await world.ask("/api/v1/agents/support/triage/suspend", known, method="POST") == 200
    (entry,) = [item async for item in world.daemon.registry.audit(since=3)]
    assert entry.fact.actor == "cert.example, over HTTP"


async def test_a_certificate_that_is_not_listed_gives_no_right_and_takes_none(world: World) -> None:
    stranger = issue(world.folder, "stranger", world.clients)
    async with serving(world.daemon, tls=world.tls()):
        assert await world.ask(FLEET, stranger) == 401
        assert await world.ask(FLEET, stranger, token=READER) == 200
        assert await world.ask(FLEET) == 401
        assert await world.ask(FLEET, token=READER) == 200
        assert await world.ask("/healthz") == 200


async def test_a_certificate_of_another_authority_ends_the_connection(world: World) -> None:
    other = issue(world.folder, "others")
    forged = issue(world.folder, "cert.example", other)
    async with serving(world.daemon, tls=world.tls()):
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await world.ask(FLEET, forged)


async def test_a_wrong_token_beside_a_good_certificate_is_refused(world: World) -> None:
    known = issue(world.folder, "cert.example", world.clients)
    async with serving(world.daemon, tls=world.tls()):
        assert await world.ask(FLEET, known, token="a guess") == 401


async def test_plain_http_is_not_spoken_there(world: World) -> None:
    async with serving(world.daemon, tls=world.tls()):
        with pytest.raises(aiohttp.ClientError):
            await world.daemon.ask("/healthz")


async def test_who_opens_connections_and_says_nothing_holds_few_and_shuts_nobody_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They count from before their handshake, which may take seconds."""
    monkeypatch.setattr(server, "HANDSHAKE_S", 600.0)
    async with serving(world.daemon, tls=world.tls(), limits=replace(MANY, connections=8, connections_each=8)):
        host, _, port = world.daemon.address.rpartition(":")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(40)]
        try:
            await until(lambda: sum(reader.at_eof() or bool(reader.exception()) for reader, _ in held) >= 32)
            assert await world.ask("/healthz") == 200
        finally:
            for _, writer in held:
                writer.close()


async def test_a_handshake_that_takes_too_long_is_broken_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_S", 0.1)
    async with serving(world.daemon, tls=world.tls()):
        host, _, port = world.daemon.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


def test_files_that_are_no_certificate_are_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("nonsense")
    for missing in (tmp_path / "x", tmp_path / "nothing"):
        with pytest.raises(UsageError, match="certificate cannot be used"):
            Tls(certificate=missing, key=missing).context()


async def test_a_certificate_that_is_renewed_is_shown_to_who_comes_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "LOOK_AGAIN_S", 0.0)
    files = world.tls()
    async with serving(world.daemon, tls=files):
        assert await world.ask("/healthz") == 200
        world.ca = issue(world.folder, "another authority")
        world.tls()
        assert await world.ask("/healthz") == 200, "it is signed by the new one"


def test_a_certificate_without_its_key_is_told_and_the_one_from_before_is_shown(tmp_path: Path) -> None:
    told: list[str] = []
    now = [0.0]
    certificate, key = issue(tmp_path, "server").files
    shown = Renewing(Tls(certificate=certificate, key=key, troubled=told.append), lambda: now[0])
    before = shown.now()
    kept = certificate.read_bytes()
    certificate.write_bytes(issue(tmp_path, "other").files[0].read_bytes())
    for _ in range(3):
        now[0] += LOOK_AGAIN_S
        assert shown.now() is before
    assert len(told) == 1, "once, however often it is looked at"
    assert "certificate cannot be used" in told[0]
    certificate.write_bytes(kept)
    now[0] += LOOK_AGAIN_S
    assert shown.now() is not before
    assert len(told) == 1
