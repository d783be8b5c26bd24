import io
import itertools

import matplotlib as mpl
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from ncdiag import __version__
from ncdiag.plotting.style import (
    LINE_STYLES,
    PAGES,
    PALETTE,
    ImageFormat,
    figure_bytes,
    figure_style,
    line_style,
    new_figure,
)

PAGE = PAGES["column"]


def draw(form: ImageFormat) -> bytes:
    with figure_style(PAGE):
        figure = new_figure(3.5, 2)
        figure.subplots().plot([1, 2], [3, 4])
    return figure_bytes(figure, form, PAGE)


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_the_same_figure_gives_the_same_bytes_whatever_matplotlib_was_told(form: ImageFormat):
    before = draw(form)
    with mpl.rc_context({"lines.linewidth": 9, "axes.facecolor": "red", "svg.hashsalt": None, "font.size": 30}):
        assert draw(form) == before


def test_matplotlib_is_left_as_it_was():
    before = dict(mpl.rcParams)
    draw("png")
    assert dict(mpl.rcParams) == before


def test_a_file_says_who_made_it_and_not_when():
    assert Image.open(io.BytesIO(draw("png"))).text["Software"] == f"ncdiag {__version__}"  # type: ignore[attr-defined]
    svg, pdf = draw("svg").decode(), draw("pdf")
    assert f"ncdiag {__version__}" in svg
    assert "<dc:date>" not in svg
    assert b"CreationDate" not in pdf


def test_text_in_a_pdf_stays_text():
    """Type 3 fonts, matplotlib's default, are refused by journals."""
    assert b"/Type3" not in draw("pdf")


def test_twenty_eight_conditions_look_different():
    assert len({line_style(place) for place in range(28)}) == 28
    assert len(PALETTE) * len(LINE_STYLES) == 28


def test_neighbours_differ_without_colour():
    for a, b in itertools.combinations(range(4), 2):
        assert line_style(a)[1] != line_style(b)[1]


def test_every_colour_stands_out_from_white():
    """WCAG 2 asks for a contrast of 3 for graphics; the palette's paler colours reach 2 and have thick lines."""

    def luminance(color: str) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    assert min(1.05 / (luminance(color) + 0.05) for color in PALETTE) > 2
