"""What came of a soak, as Markdown, and whether it is well."""

from __future__ import annotations

import platform
from typing import Any

from benchmarks.soaking.samples import Verdict, percentile

PERCENTILES = (50, 90, 99, 100)


def report(result: dict[str, Any]) -> tuple[str, bool]:
    """The report, and whether nothing was stuck, nothing grew and the daemon ended as asked."""
    verdicts: list[Verdict] = result["verdicts"]
    stuck: list[str] = result["stuck"]
    head = (
        f"{result['minutes']:g} minutes on {result['says']}: {result['agents']} agents. Git is asked every second, "
        f"health is swept every 5 s. Python {platform.python_version()}, load {result['load']:.0f} at the end, the "
        "work of others on the machine included."
    )
    lines = [
        head,
        "",
        "| Seconds | times | " + " | ".join("most" if one == 100 else f"p{one}" for one in PERCENTILES) + " |",
        "|---|---:|" + "---:|" * len(PERCENTILES),
    ]
    for what, lags in sorted(result["lags"].items()):
        cells = " | ".join(f"{percentile(lags, one):.1f}" for one in PERCENTILES)
        lines.append(f"| {what} | {len(lags)} | {cells} |")
    lines += [
        "",
        "| Process | memory, MB: first, median, last | slope, MB an hour | open files | threads | of a processor | |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for one in verdicts:
        memory = ", ".join(f"{value:.0f}" for value in one.rss_mb)
        files, threads = (f"{before} -> {after}" for before, after in (one.files, one.threads))
        verdict = f"grows: {one.grows}" if one.grows else "flat"
        cells = f"{memory} | {one.slope:+.1f} | {files} | {threads} | {one.cpu_part:.0%} | {verdict}"
        lines.append(f"| {one.name} | {cells} |")
    told = ", ".join(f"{count} {what}" for what, count in result["events"].items()) or "none"
    end = "; ".join(stuck) if stuck else "nothing stuck, a plan finds nothing to do, all agents ready"
    after = (
        f"Afterwards everything was at rest within {result['rested_s']:.0f} s (scalings by hand had to end first): "
        f"{end}. SIGTERM ended the daemon within {result['ended_s']:.1f} s, exit code {result['exit']}. Warnings and "
        f"errors that it told: {told}."
    )
    lines += ["", after]
    well = not stuck and result["exit"] == 0 and bool(verdicts) and not any(one.grows for one in verdicts)
    return "\n".join(lines), well
