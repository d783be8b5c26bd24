"""The figures of a report: for each question those that `ncdiag plot` draws of it, as images that a page can hold."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ncdiag.errors import AnalysisError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ncdiag.analysis.asked import Asked
    from ncdiag.plotting.style import Page
    from ncdiag.report.contents import Image, Picture

# What a question is drawn by, where it is not the figure of its own name.
_KINDS = {
    "threshold": ("threshold", "phase-portrait"),
    "additivity": ("grid",),
    "forecast": ("calibration",),
}
# A figure with more of an SVG than this holds so many points that pixels are smaller, and faster to draw.
_MOST_SVG_BYTES = 300_000


def images_of(
    question: str, everything: "Asked", counted: "Asked", *, store: str, options: Sequence[str]
) -> "tuple[list[Image], str]":
    """Give the figures of a question, and where there is none, why; `options` are those of the report."""
    from ncdiag.plotting.figures import FIGURES
    from ncdiag.plotting.layout import Sheet
    from ncdiag.report.contents import Image

    images, missing = [], []
    drawn = (name for name in _KINDS.get(question, (question,)) if name in FIGURES and not everything.epochs.empty)
    for name in drawn:
        kind = FIGURES[name]
        asked = everything if kind.repeats else counted
        try:
            table = kind.table(asked)
        except AnalysisError as error:
            missing.append(str(error))
            continue
        sheets = (Sheet(width=width, rule=asked.rule, level=asked.level) for width in ("page", "column"))
        wide, narrow = (_picture(kind.draw(table, sheet), sheet.page) for sheet in sheets)
        alt = f"{kind.shows}. The tables of this section hold its numbers."
        command = shlex.join(["ncdiag", "plot", name, "--store", store, *options])
        images.append(Image(wide=wide, narrow=narrow, alt=alt, command=command))
    return images, "" if images or not missing else f"No figure: {missing[0]}."


def _picture(figure: "Figure", page: "Page") -> "Picture":
    from ncdiag.plotting.style import figure_bytes
    from ncdiag.report.contents import Picture

    content = figure_bytes(figure, "svg", page)
    if len(content) > _MOST_SVG_BYTES:
        return Picture(content=figure_bytes(figure, "png", page), form="png")
    return Picture(content=content, form="svg")
