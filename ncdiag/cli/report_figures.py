"""The figures of a report: for each question those that `ncdiag plot` draws of it, as images that a page can hold."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ncdiag.errors import AnalysisError

if TYPE_CHECKING:
    from ncdiag.analysis.asked import Asked
    from ncdiag.plotting.style import ImageFormat, Width
    from ncdiag.report.contents import Image

# What a question is drawn by, where it is not the figure of its own name.
_KINDS = {
    "threshold": ("threshold", "phase-portrait"),
    "additivity": ("grid",),
    "forecast": ("calibration",),
}
# A figure of more rows than this holds so many points that pixels are smaller than shapes, and faster to draw.
_MOST_SVG_ROWS = 5000


def images_of(
    question: str,
    asked: "Asked",
    *,
    store: str,
    options: Sequence[str],
) -> "tuple[list[Image], str]":
    """Give the figures of a question, and where there is none, why, and what would help, as the figure says it.

    `options` are those of the report.
    """
    from ncdiag.plotting.figures import FIGURES
    from ncdiag.plotting.layout import Sheet
    from ncdiag.plotting.style import figure_bytes
    from ncdiag.report.contents import Image, Picture

    widths: tuple[Width, Width] = ("page", "column")
    images, missing = [], []
    drawn = (name for name in _KINDS.get(question, (question,)) if name in FIGURES and not asked.epochs.empty)
    for name in drawn:
        kind = FIGURES[name]
        try:
            table = kind.table(kind.choose(asked))
        except AnalysisError as error:
            missing.append(str(error))
            continue
        sheets = (Sheet(width=width, terms=asked.terms) for width in widths)
        form: ImageFormat = "svg" if len(table) <= _MOST_SVG_ROWS else "png"
        wide, narrow = (
            Picture(content=figure_bytes(kind.draw(table, sheet), form, sheet.page), form=form) for sheet in sheets
        )
        alt = f"{kind.shows}. The tables of this section hold its numbers."
        command = shlex.join(["ncdiag", "plot", name, "--store", store, *options])
        images.append(Image(wide=wide, narrow=narrow, alt=alt, command=command))
    return images, "" if images or not missing else missing[0]
