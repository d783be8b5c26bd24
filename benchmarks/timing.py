"""Measuring: ways of doing one thing, in turn, round after round, so that whatever else happens hits them all."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table: what was done, against what, how much faster it should be and was."""

    work: str
    against: str
    goal: str
    seconds: float
    other: float | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    met: bool | None = None

    def cells(self) -> list[str]:
        ratio = "-"
        if self.ratio is not None:
            low, high = self.spread or (self.ratio, self.ratio)
            ratio = f"{self.ratio:.2f} ({low:.2f} to {high:.2f})"
        other = "-" if self.other is None else f"{self.other:.4g}"
        met = {True: "yes", False: "no", None: "-"}[self.met]
        return [self.work, self.against, f"{self.seconds:.4g}", other, ratio, self.goal, met]


def in_turn(ways: Mapping[str, Callable[[], float | None]], rounds: int) -> dict[str, list[float]]:
    """Give the seconds of each way in every round but a first one that warms up; a way may time itself."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            own = way()
            if number:
                times[name].append(time.perf_counter() - started if own is None else own)
    return times


def compare(work: str, against: str, ours: list[float], theirs: list[float], *, at_least: float) -> Row:
    """Give the row of a ratio: the median over rounds of theirs / ours, which should be `at_least` so large."""
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    return Row(
        work=work,
        against=against,
        goal=f">= {at_least:g}",
        seconds=statistics.median(ours),
        other=statistics.median(theirs),
        ratio=ratio,
        spread=(min(ratios), max(ratios)),
        met=ratio >= at_least,
    )


HEADINGS = ["work", "against", "s", "s of the other", "ratio (range of the rounds)", "goal", "met"]


def table(headings: list[str], rows: list[list[str]]) -> str:
    """Give a table in Markdown that can be read as it is, too."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = [headings, ["-" * width for width in widths], *rows]
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in padded)
