"""Findings for people and programs: which formats there are, and the two plain ones, text and concise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module

from reconciler.cli.output import clean, few, paint, width
from reconciler.model.plan import Masked
from reconciler.model.source import Diagnostic, Severity

FORMATS = ("text", "concise", "json", "github", "gitlab", "junit", "sarif")
MAX_SHOWN_WIDTH = 120
ALIKE_SHOWN = 3
CONSEQUENCES = frozenset({"bad-template", "template-chain", "template-cycle", "unknown-template"})
"""What one mistake in a template makes of every agent that extends it."""
SECRET_CODE = "literal-secret"  # noqa: S105 - the code of a finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All findings of one reading, secrets masked.

    `prefix` leads from the Git root to the fleet's folder: what CI systems count from. `asked` are the files and
    folders that were asked for; empty for all.
    """

    findings: Sequence[Diagnostic]
    files: int
    agents: int = 0
    prefix: str = ""
    asked: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", masked(self.findings))

    def count(self, severity: Severity) -> int:
        return sum(finding.severity is severity for finding in self.findings)

    def repository_path(self, finding: Diagnostic) -> str:
        """The finding's path from the Git root."""
        return f"{self.prefix}/{finding.position.path}" if self.prefix else finding.position.path


def masked(findings: Sequence[Diagnostic]) -> tuple[Diagnostic, ...]:
    """The findings with literals that look secret masked in the source lines that they, or others, quote."""
    secret: dict[tuple[str, int], int] = {}
    for finding in findings:
        if finding.code == SECRET_CODE:
            key = finding.position.path, finding.position.line
            secret[key] = min(finding.position.column, secret.get(key, finding.position.column))
    return tuple(_masked(finding, secret.get((finding.position.path, finding.position.line))) for finding in findings)


def _masked(finding: Diagnostic, column: int | None) -> Diagnostic:
    if column is None or not finding.snippet:
        return finding
    return replace(finding, snippet=finding.snippet[: column - 1] + str(Masked.SENSITIVE))


def render(report: Report, style: str, *, color: bool = False) -> str:
    """`report` in one of FORMATS. Raises KeyError for another one."""
    match style:
        case "text":
            return text(report, color=color)
        case "concise":
            return concise(report)
        case _ if style in FORMATS:
            view: Callable[[Report], str] = import_module(f"reconciler.cli.views.diagnostics_{style}").render
            return view(report)
    raise KeyError(style)


def text(report: Report, *, color: bool) -> str:
    """Each finding with its line, a caret below what is meant and what to do, and a count at the end.

    Of agents that suffer from the same template a few are shown, and the others counted.
    """
    alike: dict[tuple[str, str], list[Diagnostic]] = {}
    shown: list[Diagnostic | list[Diagnostic]] = []
    for finding in report.findings:
        same = alike.setdefault((finding.code, finding.message), [])
        same.append(finding)
        if finding.code not in CONSEQUENCES or len(same) <= ALIKE_SHOWN:
            shown.append(finding)
        elif len(same) == ALIKE_SHOWN + 1:
            shown.append(same)
    blocks = [_others(item) if isinstance(item, list) else finding_text(item, color=color) for item in shown]
    return "\n".join([*blocks, summary(report)])


def _others(alike: Sequence[Diagnostic]) -> str:
    places = few(alike[ALIKE_SHOWN:], ALIKE_SHOWN, lambda finding: clean(str(finding.position)))
    return f"        the same at {places} (all: --output-format concise)"


def finding_text(finding: Diagnostic, *, color: bool) -> str:
    """One finding, as compilers print them."""
    tint = "red" if finding.severity is Severity.ERROR else "yellow"
    head = (
        f"{paint(clean(str(finding.position)), 'bold', color=color)}: "
        f"{paint(str(finding.severity), tint, 'bold', color=color)}: "
        f"{flat(finding.message)} [{finding.code}]"
    )
    lines = [head]
    if finding.snippet.strip():
        line, column = _window(finding.snippet, finding.position.column)
        gutter = f"{finding.position.line:5d} | "
        before, meant = line[: column - 1], line[column - 1 : column - 1 + finding.position.length]
        caret = paint("^" * max(1, width(meant)), tint, color=color)
        lines += [gutter + line, " " * (len(gutter) - 2) + "| " + " " * width(before) + caret + _after(finding.hint)]
    elif finding.hint:
        lines.append(f"        {flat(finding.hint)}")
    lines += [f"        {flat(link)}" for link in finding.chain]
    return "\n".join(lines)


def concise(report: Report) -> str:
    """One finding a line, without the source."""
    lines = [
        f"{clean(str(finding.position))}: {finding.severity}: {flat(finding.message)} [{finding.code}]"
        + (f" ({flat(finding.hint)})" if finding.hint else "")
        for finding in report.findings
    ]
    return "\n".join([*lines, summary(report)])


def summary(report: Report) -> str:
    """The last line: how many findings in how many files."""
    files = plural(report.files, "file")
    if report.asked:
        return _of_a_part(report, files)
    if not report.findings:
        return f"No mistakes in {files}, {plural(report.agents, 'agent')}."
    told = f"{_counts(report)} in {files}."
    fleet = any(
        f.position.path in ("fleet.yaml", "fleet.yml") and f.severity is Severity.ERROR for f in report.findings
    )
    return (
        told
        if fleet or not report.count(Severity.ERROR) or not report.agents
        else f"{told} Other agents are not affected."
    )


def _counts(report: Report) -> str:
    counts = ((report.count(Severity.ERROR), "error"), (report.count(Severity.WARNING), "warning"))
    return ", ".join(plural(count, word) for count, word in counts if count)


def _of_a_part(report: Report, files: str) -> str:
    asked = few(report.asked, ALIKE_SHOWN, clean)
    return f"{_counts(report) or 'No mistakes'} in {asked}; the fleet has {files}."


def plural(count: int, word: str, many: str = "") -> str:
    """`1 file`, `2 files`; `many` where the plural is not made with an s."""
    return f"{count} {word if count == 1 else many or f'{word}s'}"


def flat(text: str) -> str:
    """Text of a finding on one line, with nothing in it that a terminal would obey."""
    return clean(" ".join(text.split()))


def _after(hint: str) -> str:
    return f" {flat(hint)}" if hint else ""


def _window(snippet: str, column: int) -> tuple[str, int]:
    """The part of a long line round `column`, and the column in it; controls and tabs become one character each."""
    line = "".join(" " if char == "\t" else char if clean(char) == char else "?" for char in snippet.rstrip("\r\n"))
    column = max(1, min(column, len(line) + 1))
    if len(line) <= MAX_SHOWN_WIDTH:
        return line, column
    start = max(0, min(column - 1 - MAX_SHOWN_WIDTH // 3, len(line) - MAX_SHOWN_WIDTH))
    return line[start : start + MAX_SHOWN_WIDTH], column - start
