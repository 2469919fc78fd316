"""Signatures by ssh-keygen: good for one key, one content and one purpose, and errors that say what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from reconciler.adapters.signing import SshSigner
from reconciler.model.errors import ReconcilerError

needs_openssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "ada", "-f", str(path)], check=True)
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_key(tmp_path / "key")


@needs_openssh
def test_a_signature_is_good_for_its_key_content_and_purpose_alone(key: Path, tmp_path: Path) -> None:
    signer = SshSigner()
    signature = signer.sign(b"content", key, purpose="tests")
    public = key.with_suffix(".pub")
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(public)], capture_output=True, text=True, check=True).stdout
    assert signer.verify(b"content", signature, public, purpose="tests") == shown.split()[1]
    other = make_key(tmp_path / "other").with_suffix(".pub")
    for data, whose, purpose in (
        (b"contenT", public, "tests"),
        (b"content", other, "tests"),
        (b"content", public, "x"),
    ):
        with pytest.raises(ReconcilerError, match="was not made of this with the key"):
            signer.verify(data, signature, whose, purpose=purpose)


@needs_openssh
@pytest.mark.parametrize(
    "signature", ["", "x", "-----BEGIN SSH SIGNATURE-----\nU1NI\n-----END SSH SIGNATURE-----\n", "ü\x00"]
)
def test_what_is_no_signature_is_refused(key: Path, signature: str) -> None:
    with pytest.raises(ReconcilerError, match="was not made of this"):
        SshSigner().verify(b"content", signature, key.with_suffix(".pub"), purpose="tests")


@needs_openssh
def test_only_ed25519_keys_are_used(tmp_path: Path) -> None:
    key = make_key(tmp_path / "ecdsa", "ecdsa")
    with pytest.raises(ReconcilerError, match="only Ed25519") as caught:
        SshSigner().sign(b"content", key, purpose="tests")
    assert "ssh-keygen -t ed25519" in caught.value.hint
    with pytest.raises(ReconcilerError, match="not a public Ed25519 key"):
        SshSigner().verify(b"content", "", key.with_suffix(".pub"), purpose="tests")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "-----BEGIN OPENSSH PRIVATE KEY-----\n",
        "ssh-ed25519 !!!! ada",
        'ssh-ed25519 AAAA ada\n* namespaces="*" ssh-ed25519 BBBB',
    ],
)
def test_a_public_key_is_one_line_of_one(tmp_path: Path, text: str) -> None:
    public = tmp_path / "key.pub"
    public.write_text(text)
    with pytest.raises(ReconcilerError, match="not a public Ed25519 key") as caught:
        SshSigner().verify(b"content", "", public, purpose="tests")
    assert ".pub" in caught.value.hint


@needs_openssh
def test_a_comment_of_a_public_key_is_nothing_but_one(key: Path) -> None:
    signature = SshSigner().sign(b"content", key, purpose="tests")
    public = key.with_suffix(".pub")
    public.write_text(public.read_text().strip() + ' ," cert-authority ; \u00fc\n')
    assert SshSigner().verify(b"content", signature, public, purpose="tests").startswith("SHA256:")


@needs_openssh
def test_keys_that_cannot_be_used_are_said_to_be(key: Path, tmp_path: Path) -> None:
    signer = SshSigner()
    with pytest.raises(ReconcilerError, match="there is no key") as caught:
        signer.sign(b"content", tmp_path / "none", purpose="tests")
    assert "ssh-keygen -t ed25519" in caught.value.hint
    with pytest.raises(ReconcilerError, match="cannot be read"):
        signer.verify(b"content", "", tmp_path / "none", purpose="tests")
    (tmp_path / "text").write_text("no key")
    with pytest.raises(ReconcilerError, match="cannot be signed with"):
        signer.sign(b"content", tmp_path / "text", purpose="tests")
    key.chmod(0o644)
    if os.access(key, os.R_OK):
        with pytest.raises(ReconcilerError) as caught:
            signer.sign(b"content", key, purpose="tests")
        assert "chmod 600" in caught.value.hint


@needs_openssh
def test_without_anybody_to_ask_a_passphrase_of_it_fails_at_once(tmp_path: Path, monkeypatch) -> None:
    """The terminal of whoever runs these tests is nobody to ask either: the child gets a session of its own."""
    key = make_key(tmp_path / "closed", passphrase="secret")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("SSH_ASKPASS", raising=False)
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: real(*a, **k, start_new_session=True))
    with pytest.raises(ReconcilerError, match="cannot be signed with"):
        SshSigner().sign(b"content", key, purpose="tests")


def test_without_openssh_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "key").write_text("x")
    with pytest.raises(ReconcilerError, match="there is no ssh-keygen") as caught:
        SshSigner().sign(b"content", tmp_path / "key", purpose="tests")
    assert "openssh-client" in caught.value.hint
