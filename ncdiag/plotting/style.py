"""How every figure looks and how it is saved: sizes, colours, line styles, bytes that do not change.

Figures are made without pyplot and without the user's matplotlibrc: nothing is shown, no state is left behind, and
the same table gives the same picture everywhere.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ncdiag import __version__
from ncdiag.plotting.svg import shrink_svg

Width = Literal["column", "page", "slide"]
ImageFormat = Literal["png", "svg", "pdf"]

# Okabe and Ito's palette, told apart with every common form of colour blindness; without its yellow, which is too
# pale for a line on white, and with its black last.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Four styles and seven colours have no common factor: 28 curves differ, and any four neighbours differ in grey.
LineStyle = Literal["solid"] | tuple[float, tuple[float, ...]]
LINE_STYLES: tuple[LineStyle, ...] = (
    "solid",
    (0, (5, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1.2, 1, 1.2)),
)
INK, FAINT, PALE, SHADE = "#222222", "#767676", "#ADADAD", "#EFEFEF"
DASHED: LineStyle = (0, (6, 3))  # of what is given, such as eps or a published bound
BAND: dict[str, Any] = {"color": INK, "alpha": 0.12, "linewidth": 0}  # of what counts as one value, over curves


@dataclass(frozen=True, kw_only=True)
class Page:
    """A place for a figure: its width in inches, panels side by side, panel height in inches, type size, resolution."""

    inches: float
    columns: int
    panel_inches: float
    points: float
    dpi: int


# A column and a page as journals set them (89 and 183 mm), and a 16:9 slide.
PAGES: dict[Width, Page] = {
    "column": Page(inches=3.5, columns=1, panel_inches=1.1, points=7, dpi=300),
    "page": Page(inches=7.2, columns=2, panel_inches=1.55, points=8, dpi=300),
    "slide": Page(inches=13.33, columns=3, panel_inches=3.2, points=15, dpi=150),
}


@contextmanager
def figure_style(page: Page) -> Iterator[None]:
    """Draw and save in ncdiag's style, whatever matplotlib was told before, and leave no trace."""
    points = page.points
    with mpl.rc_context(), warnings.catch_warnings():
        # A letter that the type lacks, in a name that came from outside, is drawn as a box; nobody can mend that here.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from")
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "font.size": points,
                "axes.titlesize": points,
                "axes.titleweight": "bold",
                "axes.titlelocation": "left",
                "axes.labelsize": points,
                "axes.edgecolor": FAINT,
                "axes.labelcolor": INK,
                "axes.linewidth": points / 12,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.grid": True,
                "axes.axisbelow": True,
                "grid.color": "#DDDDDD",
                "grid.linewidth": points / 20,
                "lines.linewidth": points / 7,
                "lines.solid_capstyle": "round",
                "legend.fontsize": points * 0.95,
                "legend.frameon": False,
                "text.color": INK,
                "text.parse_math": False,  # a dollar sign in the name of a run is a dollar sign
                "xtick.color": FAINT,
                "ytick.color": FAINT,
                "xtick.labelcolor": INK,
                "ytick.labelcolor": INK,
                "xtick.labelsize": points * 0.9,
                "ytick.labelsize": points * 0.9,
                "xtick.major.width": points / 12,
                "ytick.major.width": points / 12,
                "ytick.minor.width": points / 20,
                "savefig.dpi": page.dpi,
                "figure.dpi": page.dpi,
                "svg.hashsalt": "ncdiag",  # otherwise the names inside an SVG are random
                "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
            }
        )
        yield


def new_figure(width_inches: float, height_inches: float) -> Figure:
    """Make an empty figure that no window ever shows."""
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_bytes(figure: Figure, form: ImageFormat, page: Page) -> bytes:
    """Give the image file of a figure; the same figure gives the same bytes."""
    made_by, title = f"ncdiag {__version__}", figure.get_suptitle().replace("\n", " ")
    named = {"Title": title} if title else {}
    metadata: dict[ImageFormat, dict[str, str | None]] = {
        "png": {"Software": made_by},
        "svg": {"Creator": made_by, "Date": None, **named},
        "pdf": {"Creator": made_by, "CreationDate": None, **named},
    }
    buffer = io.BytesIO()
    with figure_style(page):
        figure.savefig(buffer, format=form, metadata=metadata[form])
    return shrink_svg(buffer.getvalue().decode()).encode() if form == "svg" else buffer.getvalue()


def line_style(place: int) -> tuple[str, LineStyle]:
    """Give colour and line style of the condition at a place (from 0) in the legend."""
    return PALETTE[place % len(PALETTE)], LINE_STYLES[place % len(LINE_STYLES)]
