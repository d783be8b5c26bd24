"""How every figure is laid out: its sheet, the line above it, the legend below, panels in a grid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

from ncdiag.analysis.terms import Terms
from ncdiag.domain.shares import counted
from ncdiag.plotting.axes import MARKERS
from ncdiag.plotting.style import FAINT, INK, PAGES, Page, Width, line_style, new_figure

MOST_NAMED = 10  # a legend of more entries is a list to search; what it would name is told apart more coarsely
_LEGEND_SAMPLE = 4.6  # width of a legend's sample and its gaps, in letters


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What a figure is told besides its table: the place it is for, the line above, and on what terms it was asked."""

    width: Width = "page"
    title: str = ""
    terms: Terms = field(default_factory=Terms)

    @property
    def page(self) -> Page:
        """The sizes of the place."""
        return PAGES[self.width]

    @property
    def sure(self) -> str:
        """The level as text: 95 %."""
        return f"{100 * self.terms.level:.3g} %"


def start_figure(sheet: Sheet, inches: float, handles: Sequence[Artist] = ()) -> Figure:
    """Make a figure whose panels have this height together; the line above and the legend below come on top of it.

    To be called, like everything here, within `figure_style`.
    """
    page = sheet.page
    lines = balance(sheet.title, page.points * 0.95, page.inches * 0.97 - 0.1)
    for handle in handles:
        room = page.inches * 0.97 - _LEGEND_SAMPLE * page.points / 72
        handle.set_label(squeeze(str(handle.get_label()), page.points * 0.95, room))
    across = _legend_columns(handles, page)
    rows = math.ceil(len(handles) / across)
    letters = 1.35 * len(lines) + (1.55 * rows + 1 if handles else 0)
    figure = new_figure(page.inches, inches + letters * page.points / 72)
    if lines:
        figure.suptitle("\n".join(lines), x=0.008, ha="left", fontsize=page.points * 0.95, color=FAINT)
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=across, handlelength=2.6, columnspacing=1.4)
    return figure


def wrap(text: str, points: float, inches: float) -> list[str]:
    """Break a line between words so that each part fits; a single word that does not is broken where it must be."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_inches(f"{lines[-1]} {word}", points) <= inches:
            lines[-1] += f" {word}"
        else:
            lines += _pieces(word, points, inches)
    return lines


def balance(text: str, points: float, inches: float) -> list[str]:
    """Break a line into as few parts as fit, of about the same length, so that no word is left alone."""
    lines = wrap(text, points, inches)
    while len(lines) > 1 and inches > 0:
        inches -= points / 72
        narrower = wrap(text, points, inches)
        if len(narrower) > len(lines):
            break
        lines = narrower
    return lines


def _pieces(word: str, points: float, inches: float) -> list[str]:
    pieces = [""]
    for letter in word:
        if pieces[-1] and text_inches(pieces[-1] + letter, points) > inches:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def shorten(text: str, points: float, inches: float) -> str:
    """Give a text as far as it fits, with an ellipsis where it does not."""
    if text_inches(text, points) <= inches:
        return text
    while text and text_inches(f"{text}…", points) > inches:
        text = text[:-1]
    return f"{text}…"


def squeeze(name: str, points: float, inches: float) -> str:
    """Give a name as far as it fits, with an ellipsis in its middle: names that stand together differ at either end."""
    kept = len(name)
    text = name
    while kept and text_inches(text, points) > inches:
        kept -= 1
        text = f"{name[: (kept + 1) // 2]}…{name[len(name) - kept // 2 :]}"
    return text


def text_inches(text: str, points: float) -> float:
    """Measure the width of a text in the figures' type."""
    width: float = text_to_path.get_text_width_height_descent(text, FontProperties(size=points), ismath=False)[0]
    return width / 72


def _legend_columns(handles: Sequence[Artist], page: Page) -> int:
    """Say how many columns fit side by side; a column is filled from above, and as wide as its longest entry."""
    points = page.points * 0.95
    room = page.inches * 0.98
    wide = [text_inches(str(handle.get_label()), points) + _LEGEND_SAMPLE * points / 72 for handle in handles]
    for across in range(len(wide), 1, -1):
        if sum(max(column) for column in np.array_split(wide, across)) <= room:
            return across
    return 1


def panel_grid(count: int, across: int) -> tuple[int, int]:
    """Give rows and columns for panels, at most `across` side by side, in rows as equal as can be."""
    rows = math.ceil(count / across)
    return rows, math.ceil(count / rows)


def label_panels(grid: NDArray[Any], shown: int, x: str, y: str) -> None:
    """Name the axes on the left and below the lowest panel of each column; empty the places that no panel needs."""
    panels = list(grid.flat)
    for axes in panels[shown:]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel(y)
    for axes in panels[max(shown - grid.shape[1], 0) : shown]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(x)


def join_titles(named: Sequence[tuple[str, str]], between: str, points: float, inches: float) -> list[str]:
    """Give titles of two parts each in one line, or all of them in two lines where one has no room."""
    if all(text_inches(between.join(parts), points) <= inches for parts in named):
        return [between.join(parts) for parts in named]
    return ["\n".join(squeeze(part, points, inches) for part in parts) for parts in named]


def note_handles(left_out: int, what: str) -> list[Line2D]:
    """Give the entry of a legend that says how much is not drawn; none where nothing is left out."""
    label = f"{counted(left_out, f'more {what}')}: --where, --data"
    return [Line2D([], [], linestyle="none", label=label)] if left_out else []


def mark_handle(marker: str, label: str, points: float, *, color: str = INK, filled: bool | None = None) -> Line2D:
    """Explain a mark in a legend; a circle is empty unless it is to be `filled`."""
    inside = color if (marker != "o" if filled is None else filled) else "white"
    handle = Line2D([], [], marker=marker, linestyle="none", color=color, markerfacecolor=inside, label=label)
    handle.set_markersize(points / 1.9)
    return handle


def series_handle(place: int, label: str, points: float) -> Line2D:
    """Explain the line and the mark of the series at a place (from 0) in a legend."""
    (color, style), marker = line_style(place), MARKERS[place % len(MARKERS)]
    return Line2D([], [], color=color, linestyle=style, marker=marker, markersize=points / 1.7, label=label)
