"""init, validate, schema, secret, config, version, completion: what needs no cluster."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.cli.main import COMMANDS

from .conftest import Edit, Program, environment

HEAVY = ("kubernetes", "arango", "sqlite3", "aiohttp", "git", "rich", "starlette", "uvicorn", "apscheduler")


def test_init_makes_a_fleet_that_is_valid_in_a_repository_with_one_commit(fleet: Program) -> None:
    assert fleet.git("status", "--porcelain") == ""
    assert fleet.git("log", "--format=%an %s").strip() == "reconciler Start the fleet"
    assert fleet.git("branch", "--show-current").strip() == "main"
    assert fleet("validate", code=0).out == "No mistakes in 3 files, 1 agent.\n"
    assert (fleet.folder / ".schemas" / "agent.json").is_file()
    assert ".reconciler/" in (fleet.folder / ".gitignore").read_text().splitlines()
    assert "metadata: {name: fleet}" in (fleet.folder / "fleet.yaml").read_text()


def test_init_takes_the_author_that_git_knows(empty: Program) -> None:
    (empty.home / "config").write_text("[user]\n\tname = Ada\n\temail = ada@example.com\n")
    empty("init", "fleet", code=0, GIT_CONFIG_GLOBAL=str(empty.home / "config"))
    assert empty.git("log", "--format=%ae", folder=empty.folder / "fleet").strip() == "ada@example.com"


def test_init_works_from_inside_a_hook_of_another_repository(fleet: Program) -> None:
    fleet("init", "other", code=0, GIT_DIR=str(fleet.folder / ".git"), GIT_INDEX_FILE="/nonexistent")
    assert (fleet.folder / "other" / ".git").is_dir()
    assert fleet.git("log", "--format=%s").count("\n") == 1


def test_init_refuses_a_folder_that_holds_something_and_touches_nothing(empty: Program) -> None:
    (empty.folder / "used").mkdir()
    (empty.folder / "used" / "mine.txt").write_text("mine")
    done = empty("init", "used", code=1)
    assert "is not empty" in done.err
    assert [path.name for path in (empty.folder / "used").iterdir()] == ["mine.txt"]


def test_init_uses_an_empty_folder_also_the_one_it_is_in(tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    Program(folder, home)("init", ".", code=0)
    assert (folder / "fleet.yaml").is_file()


@pytest.mark.parametrize("name", ["Fleet", "", "a\x01b", "-x", "x" * 300, "../Up", "a_b"])
def test_init_refuses_names_that_no_fleet_can_have(empty: Program, name: str) -> None:
    done = empty("init", name, code=1)
    assert done.err.startswith("error: ")
    assert list(empty.folder.iterdir()) == []


def test_validate_shows_a_mistake_with_its_place(fleet: Program, edit: Edit) -> None:
    edit("agents/demo/hello.yaml", "[base]", "[bsae]")
    done = fleet("validate", code=1)
    assert done.out == (
        "agents/demo/hello.yaml:6:13: error: unknown template 'bsae' [unknown-template]\n"
        "    6 |   extends: [bsae]\n"
        "      |             ^^^^ did you mean 'base'?\n"
        "1 error in 3 files.\n"
    )
    assert fleet("-C", str(fleet.folder), "validate", code=1, folder=Path("/")).out == done.out
    assert fleet("validate", folder=fleet.folder / "agents" / "demo", code=1).out == done.out


@pytest.mark.parametrize("style", ["text", "concise", "json", "github", "gitlab", "junit", "sarif"])
def test_validate_speaks_every_format(fleet: Program, edit: Edit, style: str) -> None:
    edit("agents/demo/hello.yaml", "[base]", "[bsae]")
    told = fleet("validate", "--output-format", style, code=1).out
    assert "unknown-template" in told
    assert fleet("validate", "-o", style, code=1).out == told
    edit("agents/demo/hello.yaml", "[bsae]", "[base]")
    fleet("validate", "--output-format", style, code=0)


def test_paths_for_code_scanning_count_from_the_git_root(empty: Program) -> None:
    empty("init", "fleets/eu", code=0)
    root = empty.folder / "fleets"
    (root / "eu" / ".git").rename(root / ".git")
    (root / "eu" / "agents" / "x.yaml").write_text("kind: Nothing\n")
    assert "file=eu/agents/x.yaml" in empty("validate", "--output-format", "github", code=1, folder=root / "eu").out


def test_validate_tells_only_of_the_files_asked_for(fleet: Program, edit: Edit) -> None:
    edit("agents/demo/hello.yaml", "[base]", "[bsae]")
    assert fleet("validate", "templates/base.yaml", code=0).out == (
        "No mistakes in templates/base.yaml; the fleet has 3 files.\n"
    )
    fleet("validate", "hello.yaml", code=1, folder=fleet.folder / "agents" / "demo")
    assert "there is no file" in fleet("validate", "agents/none.yaml", code=2).err
    beside = fleet("-C", "fleet", "validate", "fleet/agents", code=2, folder=fleet.folder.parent)
    assert "which -C names" in beside.err
    assert "is not in the fleet's folder" in fleet("validate", "/etc/passwd", code=2).err


@pytest.mark.parametrize("folder", [".", "agents", "./agents/demo/", "agents/demo/../"])
def test_validate_tells_of_all_files_below_a_folder(fleet: Program, edit: Edit, folder: str) -> None:
    edit("agents/demo/hello.yaml", "[base]", "[bsae]")
    assert "unknown template 'bsae'" in fleet("validate", folder, code=1).out
    fleet("validate", "templates", code=0)
    assert "unknown template" in fleet("validate", ".", code=1, folder=fleet.folder / "agents").out


@pytest.mark.parametrize("path", ["README.md", "programs", "agents/demo/hidden.yaml", "agents/demo/hello.YAML"])
def test_a_path_with_no_file_of_the_fleet_is_no_success(fleet: Program, path: str) -> None:
    (fleet.folder / ".gitignore").write_text("hidden.yaml\n")
    for name in ("hidden.yaml", "hello.YAML"):
        (fleet.folder / "agents" / "demo" / name).write_text("kind: Agnet\n")
    done = fleet("validate", path, code=2)
    assert f"no file of the fleet is in {path}" in done.err
    assert done.out == ""
    done = fleet("validate", path, "templates", code=0)
    assert f"Not looked at: {path}" in done.err
    assert done.out == "No mistakes in templates; the fleet has 3 files.\n"


def test_warnings_count_only_with_strict(fleet: Program, edit: Edit) -> None:
    edit("agents/demo/hello.yaml", "  replicas: 1\n", "  env: [{name: API_TOKEN, value: hush-hush}]\n")
    done = fleet("validate", code=0)
    assert "1 warning in 3 files" in done.out
    fleet("validate", "--strict", code=1)


def test_validate_without_a_fleet_ends_with_2(empty: Program) -> None:
    assert "there is no fleet.yaml" in empty("validate", code=2).err


def test_validate_starts_without_anything_heavy(fleet: Program) -> None:
    program = (
        "import sys; from reconciler.cli.main import main; code = main(['validate']);"
        f"print(code, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=fleet.folder,
        env=environment(fleet.home),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_secrets_are_private_files(fleet: Program) -> None:
    fleet("secret", "set", "demo/openai", "api-key", stdin="s3cret\n", code=0)
    file = fleet.folder / ".reconciler" / "secrets" / "demo" / "openai" / "api-key"
    assert file.read_text() == "s3cret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for folder in list(file.parents)[:4]:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert fleet.git("status", "--porcelain") == ""
    done = fleet("secret", "set", "demo/openai", "api-key", stdin="other", code=0)
    assert "other" not in done.out + done.err
    assert "No agent in demo names it yet." in done.err
    assert [path.name for path in file.parent.iterdir()] == ["api-key"]


def test_a_secret_that_no_agent_would_read_is_told_or_refused(fleet: Program, edit: Edit) -> None:
    edit(
        "agents/demo/hello.yaml", "  replicas: 1\n", "  env: [{name: KEY, secret: {name: openai.com, key: api-key}}]\n"
    )
    assert "names it yet" not in fleet("secret", "set", "demo/openai.com", "api-key", stdin="x", code=0).err
    assert "names it yet" in fleet("secret", "set", "demo/openai.com", "apikey", stdin="x", code=0).err
    text = (fleet.folder / "fleet.yaml").read_text()
    (fleet.folder / "fleet.yaml").write_text(text + "\n  clusters: [{name: eu, kubernetes: {context: eu}}]\n")
    done = fleet("secret", "set", "demo/openai.com", "api-key", stdin="x", code=1)
    assert "kubectl create secret generic openai.com -n demo" in done.err


def test_a_secret_is_not_written_through_a_link(fleet: Program, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    secrets = fleet.folder / ".reconciler" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "demo").symlink_to(outside)
    assert "is a link" in fleet("secret", "set", "demo/openai", "key", stdin="x", code=1).err
    assert list(outside.iterdir()) == []


def test_config_shows_where_each_setting_was_made(fleet: Program) -> None:
    (fleet.folder / "reconciler.yaml").write_text("parallelism: 3\n")
    out = fleet("--color", "never", "config", "view", "--show-origin", code=0, RECONCILER_TIMEOUT="3m").out
    origins = {line.split()[0]: line for line in out.splitlines()}
    assert "--color" in origins["color"]
    assert "reconciler.yaml:1" in origins["parallelism"]
    assert "RECONCILER_TIMEOUT" in origins["timeout"]
    assert "default" in origins["lockTimeout"]
    value = json.loads(fleet("config", "view", "-o", "json", code=0).out)
    assert value["parallelism"] == {"value": "3", "origin": "reconciler.yaml:1"}


def test_schema_is_written_and_checked(fleet: Program) -> None:
    fleet("schema", "--check", ".schemas", code=0)
    (fleet.folder / ".schemas" / "agent.json").write_text("{}")
    assert "`reconciler schema --write /" in fleet("schema", "--check", ".schemas", code=1).err
    fleet("schema", code=0)
    assert fleet.git("status", "--porcelain") == ""
    assert json.loads(fleet("schema", "agent", code=0).out)["$id"].endswith("/agent.json")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_ask_the_program(empty: Program, shell: str) -> None:
    assert "_RECONCILER_COMPLETE" in empty("completion", shell, code=0).out


def test_completion_knows_commands_and_options(empty: Program) -> None:
    done = empty(_RECONCILER_COMPLETE="complete_bash", COMP_WORDS="reconciler va", COMP_CWORD="1")
    assert done.out.split() == ["validate"]
    done = empty(_RECONCILER_COMPLETE="complete_bash", COMP_WORDS="reconciler validate --out", COMP_CWORD="2")
    assert done.out.split() == ["--output", "--output-format"]


def test_every_command_has_help_that_ends_with_examples(empty: Program) -> None:
    out = empty("--help", code=0).out
    for name in COMMANDS:
        assert f"\n  {name} " in out
        assert "Usage: reconciler" in empty(name, "--help", code=0).out


def test_help_is_asked_for_as_other_programs_take_it(empty: Program) -> None:
    assert empty("help", code=0).out == empty("-h", code=0).out == empty("--help", code=0).out
    assert empty("help", "plan", code=0).out == empty("plan", "-h", code=0).out
    assert empty("audit", "-h", code=0).out.startswith("Usage: reconciler audit [OPTIONS] COMMAND")


@pytest.mark.parametrize(
    "arguments", [("plan", "-out=next.plan"), ("get", "agents", "-namespace", "demo"), ("apply", "-auto-approve")]
)
def test_long_options_with_one_dash_are_refused_and_not_read_as_another(
    empty: Program, arguments: tuple[str, ...]
) -> None:
    assert "long options take two dashes: --" in empty(*arguments, code=1).err


def test_colour_is_used_only_where_it_is_wanted(fleet: Program, edit: Edit) -> None:
    edit("agents/demo/hello.yaml", "[base]", "[bsae]")
    assert "\x1b[" not in fleet("validate", code=1).out
    assert "\x1b[" in fleet("validate", "--color", "always", code=1, NO_COLOR="1").out
    assert "\x1b[" in fleet("validate", code=1, FORCE_COLOR="1").out


def test_a_folder_that_is_not_there_is_no_fleet_to_look_at(empty: Program) -> None:
    assert "is not a folder" in empty("validate", "-C", "/nonexistent", code=2).err
