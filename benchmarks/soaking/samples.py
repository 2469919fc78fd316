"""What processes take over time, and whether that grows: memory, open files, threads; lines by least squares."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

WARM = 0.25
"""Of the time: what a process needs to come to itself, and does not count."""
GROWN_MB, GROWN_PART = 4.0, 0.05
"""More than both, over the time that counts, is growth: less is what an allocator keeps or gives back."""
GROWN_COUNT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One process at one moment (seconds since the start)."""

    at: float
    rss_mb: float
    files: int
    threads: int
    cpu_s: float


@dataclass(slots=True)
class Watched:
    """One process by name. A supervisor that another one follows is another process."""

    name: str
    pid: int
    samples: list[Sample] = field(default_factory=list)

    def sample(self, at: float) -> None:
        """Look once; a process that is gone is not looked at any more."""
        folder = Path("/proc") / str(self.pid)
        try:
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
            files = sum(1 for _ in (folder / "fd").iterdir())
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            rss = int(status["VmRSS"].split()[0]) / 1024
        except (OSError, KeyError, IndexError):
            return
        cpu = (int(fields[11]) + int(fields[12])) / 100
        self.samples.append(Sample(at=at, rss_mb=rss, files=files, threads=int(status["Threads"]), cpu_s=cpu))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a process. `slope` is in MB an hour; `grows` says what does, "" when nothing."""

    name: str
    rss_mb: tuple[float, float, float]
    """First, median and last of what counts."""
    slope: float
    files: tuple[int, int]
    """The most in the first and in the second half of what counts."""
    threads: tuple[int, int]
    cpu_part: float
    """Of one processor."""
    grows: str


def judge(watched: Watched) -> Verdict | None:
    """None for what was there too shortly to say."""
    samples = watched.samples
    counted = samples[int(len(samples) * WARM) :]
    if len(counted) < 8:
        return None
    at, rss = [item.at for item in counted], [item.rss_mb for item in counted]
    per_s = slope(at, rss)
    grown = per_s * (at[-1] - at[0])
    files, threads = _halves([item.files for item in counted]), _halves([item.threads for item in counted])
    middle = statistics.median(rss)
    said = []
    if grown > max(GROWN_MB, GROWN_PART * middle):
        said.append(f"memory by {grown:.1f} MB")
    said += [
        f"{what} from {before} to {after}"
        for what, (before, after) in (("open files", files), ("threads", threads))
        if after > before + GROWN_COUNT
    ]
    return Verdict(
        name=watched.name,
        rss_mb=(rss[0], middle, rss[-1]),
        slope=per_s * 3600,
        files=files,
        threads=threads,
        cpu_part=(counted[-1].cpu_s - counted[0].cpu_s) / (at[-1] - at[0]),
        grows=", ".join(said),
    )


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the line that fits best by least squares; 0 where all is at one place."""
    if len(set(x)) < 2:
        return 0.0
    return statistics.linear_regression(x, y).slope


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which so many lie, the nearest rank; not a number where there is none."""
    if not values:
        return float("nan")
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, round(percent / 100 * len(ranked) + 0.5) - 1))]


def _halves(values: Sequence[int]) -> tuple[int, int]:
    half = len(values) // 2
    return max(values[:half]), max(values[half:])
