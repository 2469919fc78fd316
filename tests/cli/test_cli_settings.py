"""Settings: precedence, origins, and hostile files."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli.settings import FILE_NAME, SETTINGS, resolve
from reconciler.model.errors import UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    (tmp_path / "repo" / "deep" / "er").mkdir(parents=True)
    return tmp_path / "repo"


def test_flag_then_environment_then_file_then_default(root: Path) -> None:
    (root / FILE_NAME).write_text("# ours\nparallelism: 3\nlockTimeout: 5s\ncolor: never\n")
    settings = resolve(
        {"parallelism": "7", "color": None}, {"RECONCILER_PARALLELISM": "5", "RECONCILER_LOCK_TIMEOUT": "9s"}, root
    )
    assert (settings.number("parallelism"), settings.values["parallelism"].origin) == (7, "--parallelism")
    assert (settings.seconds("lockTimeout"), settings.values["lockTimeout"].origin) == (9, "RECONCILER_LOCK_TIMEOUT")
    assert settings.text("color") == "never"
    assert settings.values["color"].origin.endswith(f"{FILE_NAME}:4")
    assert settings.values["timeout"].origin == "default"


def test_the_file_is_looked_for_up_to_the_git_root_and_no_further(root: Path) -> None:
    (root.parent / FILE_NAME).write_text("color: always\n")
    assert resolve({}, {}, root / "deep" / "er").text("color") == "auto"
    (root / FILE_NAME).write_text("color: never\n")
    assert resolve({}, {}, root / "deep" / "er").text("color") == "never"
    (root / "deep" / FILE_NAME).write_text("color: always\n")
    assert resolve({}, {}, root / "deep" / "er").text("color") == "always"


def test_outside_of_git_only_the_folder_itself_counts(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / FILE_NAME).write_text("color: never\n")
    assert resolve({}, {}, tmp_path).text("color") == "never"
    assert resolve({}, {}, tmp_path / "below").text("color") == "auto"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("colour: never\n", "reconciler.yaml:1: unknown setting 'colour'"),
        ("\n\nparallelism: many\n", "reconciler.yaml:3: 'many': must be a number"),
        ("parallelism: 0\n", "must be a number from 1"),
        ("color: {a: b}\n", "nothing nested"),
        ("- color\n", "nothing nested"),
        ("color\n", "nothing nested"),
        ("a: &a never\ncolor: *a\n", "reconciler.yaml:2: settings are"),
        ("color: never\ncolor: always\n", "'color' is set twice"),
        ("color: 'never\n", "not YAML"),
        ("color: \x00\n", "not YAML"),
        ("[" * 60_000, "nothing nested"),
        ("#" * 70_000, "larger than 64 KiB"),
        ("timeout: soon\n", "is not a duration"),
        ("maxDeletes: 200%\n", "must be a number like 5"),
        ("namespace: Bad_Name\n", "must be a namespace"),
    ],
)
def test_a_bad_file_is_told_with_its_place(root: Path, text: str, told: str) -> None:
    (root / FILE_NAME).write_text(text)
    with pytest.raises(UsageError) as caught:
        resolve({}, {}, root)
    assert told in caught.value.message


def test_an_empty_file_sets_nothing(root: Path) -> None:
    (root / FILE_NAME).write_text("# nothing\n")
    assert {value.origin for value in resolve({}, {}, root).values.values()} == {"default"}


def test_bytes_that_are_no_text_are_told(root: Path) -> None:
    (root / FILE_NAME).write_bytes(b"color: \xfa")
    with pytest.raises(UsageError, match="not YAML"):
        resolve({}, {}, root)


def test_names_of_flags_and_variables_follow_from_the_key() -> None:
    assert SETTINGS["lockTimeout"].flag == "--lock-timeout"
    assert SETTINGS["lockTimeout"].variable == "RECONCILER_LOCK_TIMEOUT"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("poll: 10ms\n", "must be at least 1s"),
        ("resync: soon\n", "is not a duration"),
        ("shards: 65\n", "must be a number from 1 to 64"),
        ("mode: both\n", "must be apply or plan-only"),
        ("logLevel: loud\n", "must be debug, info, warning or error"),
    ],
)
def test_what_a_daemon_is_told_in_a_file_is_checked_as_its_options_are(root: Path, text: str, told: str) -> None:
    (root / FILE_NAME).write_text(text)
    with pytest.raises(UsageError) as caught:
        resolve({}, {}, root)
    assert told in caught.value.message


def test_a_daemon_is_configured_by_flag_environment_and_file(root: Path) -> None:
    (root / FILE_NAME).write_text("poll: 20s\nsweep: 1m\nshards: 8\n")
    found = resolve({"poll": "5s"}, {"RECONCILER_SWEEP": "2m", "RECONCILER_LOG_LEVEL": "debug"}, root)
    assert [found.text(key) for key in ("poll", "sweep", "shards", "logLevel", "mode")] == [
        "5s", "2m", "8", "debug", "apply",
    ]  # fmt: skip
    origins = [found.values[key].origin for key in ("poll", "sweep", "logLevel", "mode")]
    assert origins == ["--poll", "RECONCILER_SWEEP", "RECONCILER_LOG_LEVEL", "default"]
    assert found.values["shards"].origin.endswith(f"{FILE_NAME}:3")
