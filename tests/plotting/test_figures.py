"""What holds for every kind of figure, on runs that give each of them something to draw."""

import itertools
import re
from dataclasses import replace
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from plotting.drawn import curves_of

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.conditions import CONDITION_COLUMNS
from ncdiag.analysis.terms import Terms
from ncdiag.domain.questions import FIGURE_NAMES
from ncdiag.plotting.figures import FIGURES
from ncdiag.plotting.layout import Sheet
from ncdiag.plotting.style import PAGES, Width, figure_bytes

WIDTHS: tuple[Width, ...] = ("column", "page", "slide")
TITLE = "A line about 12 runs that is too long for a column; onset: nc1 < 0.01 for 3 evaluations"
SMALLEST = 6  # points: what journals ask of printed type


@pytest.fixture(scope="module")
def asked(make_asked, make_run) -> Asked:
    """Give runs that differ in every factor, with two seeds each, some without onset, some rescaled."""
    varied: list[dict[str, Any]] = [
        {},
        {"depth": 2},
        {"depth": 9},
        {"width": 64},
        {"width": 1024},
        {"activation": "leaky_relu"},
        {"weight_decay": 1e-3, "epochs": 70},
        {"weight_decay": 1e-5},
        {"dataset": "fashion_mnist"},
        {"arch": "resnet20"},
        {"arch": "resnet20", "dataset": "fashion_mnist"},
    ]
    runs = {}
    for number, (about, seed) in enumerate(itertools.product(varied, (0, 1))):
        run = make_run(15.0 + 5 * seed + number % 7, norm=1 + 0.1 * number, step=10, seed=seed, **about)
        runs[f"run-{number}"] = run | {"phase": [1] * 2 + [2] * (len(run["epoch"]) - 2)}
    for alpha, seed in itertools.product((3, 0.3), (0, 1)):
        run = runs[f"run-{seed}"]
        norm = [value * (1 + (alpha - 1) * 0.8**row) for row, value in enumerate(run["feature_norm"])]
        runs[f"x{alpha}-{seed}"] = run | {"feature_norm": norm, "intervention": f"{alpha}@20", "seed": seed}
    return make_asked(runs)


def draw(kind: str, asked: Asked, width: Width = "page", title: str = TITLE) -> Figure:
    table = FIGURES[kind].table(asked)
    return FIGURES[kind].draw(table, Sheet(width=width, title=title, terms=asked.terms))


def texts_of(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Give the visible texts and where the renderer puts them, in pixels; what an axis hides is not among them."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    hidden: set[Text] = set()
    for axes in figure.axes:
        for axis, limits in ((axes.xaxis, sorted(axes.get_xlim())), (axes.yaxis, sorted(axes.get_ylim()))):
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                inside = limits[0] <= tick.get_loc() <= limits[1] and axes.axison
                hidden |= {t for t in (tick.label1, tick.label2) if not (inside and t.get_visible())}
    texts = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and t not in hidden]
    return [(text, text.get_window_extent(renderer)) for text in texts]


def test_every_kind_of_the_command_line_is_drawn_here():
    assert tuple(FIGURES) == FIGURE_NAMES


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", FIGURES)
def test_no_text_is_clipped_too_small_or_upon_another(asked: Asked, kind: str, width: Width):
    figure = draw(kind, asked, width)
    texts = texts_of(figure)
    assert figure.get_size_inches()[0] == PAGES[width].inches
    assert len(texts) > 5
    for text, box in texts:
        assert text.get_fontsize() >= SMALLEST, text.get_text()
        inside = figure.bbox.padded(0.5)
        assert (inside.x0 <= box.x0, box.x1 <= inside.x1) == (True, True), text.get_text()
        assert (inside.y0 <= box.y0, box.y1 <= inside.y1) == (True, True), text.get_text()
    for (one, a), (other, b) in itertools.combinations(texts, 2):
        shared = Bbox.intersection(a, b)
        assert shared is None or min(shared.width, shared.height) < 2, (one.get_text(), other.get_text())


@pytest.mark.parametrize("kind", FIGURES)
def test_the_same_runs_give_the_same_bytes(asked: Asked, kind: str):
    svg = figure_bytes(draw(kind, asked), "svg", PAGES["page"])
    assert svg == figure_bytes(draw(kind, asked), "svg", PAGES["page"])
    assert b"<text" not in svg  # letters are outlines: no font is needed to show them
    assert not re.search(rb"\d{4}-\d{2}-\d{2}T", svg)


@pytest.mark.parametrize("kind", ["threshold", "depth"])
def test_a_pdf_has_its_fonts_and_stays_the_same(asked: Asked, kind: str):
    pdf = figure_bytes(draw(kind, asked), "pdf", PAGES["page"])
    assert pdf == figure_bytes(draw(kind, asked), "pdf", PAGES["page"])
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


@pytest.mark.parametrize("kind", FIGURES)
def test_curves_and_marks_are_told_apart_without_colour(asked: Asked, kind: str):
    """Lines of one panel that have different colours also differ in their dashes or in their width."""
    for axes in draw(kind, asked).axes:
        looks = {(curve.color, str(curve.dashes), curve.width) for curve in curves_of(axes)}
        assert len({look[1:] for look in looks}) >= min(len({look[0] for look in looks}), 4)


@pytest.mark.parametrize("kind", FIGURES)
def test_names_that_came_from_outside_are_drawn_as_they_are(make_asked, make_run, kind: str):
    r"""A dollar sign starts mathematics in matplotlib, and \frac without arguments is an error of its parser."""
    arch, data = r"$\frac$", r"C:\$data_$ 数据 " + "long" * 12
    runs = {}
    for place, seed in itertools.product(range(8), (0, 1)):
        about = {"arch": ("mlp", arch)[place % 2], "dataset": ("mnist", data)[place // 2 % 2]}
        factor = {kind.replace("-", "_"): (data, "relu") if kind == "activation" else (2, 3)}
        varied = {name: pair[place // 4] for name, pair in factor.items() if name in CONDITION_COLUMNS}
        runs[f"${place}-{seed}"] = make_run(15.0 + seed, step=10, seed=seed, **about, **varied)
    runs |= {f"^{seed}": runs[f"$2-{seed}"] | {"intervention": "3@10"} for seed in (0, 1)}
    asked = make_asked(runs)
    assert len(figure_bytes(draw(kind, asked, "column", title="$ a title $"), "png", PAGES["column"])) > 1000


@pytest.mark.parametrize("kind", FIGURES)
def test_the_table_says_of_which_runs_or_of_how_many_it_is(asked: Asked, kind: str):
    table = FIGURES[kind].table(asked)
    if "run" in table:
        assert set(table["run"].dropna()) <= set(asked.runs["run"])
    else:
        assert table.filter(["n", "n_runs"]).max().max() <= len(asked.runs)


@pytest.mark.parametrize("kind", ["trajectory", "phase-portrait"])
def test_more_runs_are_not_more_artists(make_asked, make_run, kind: str):
    """Each artist is laid out and drawn by itself, which for hundreds of runs would take seconds."""

    def artists(count: int) -> list[int]:
        runs = {f"r{n}": make_run(step=10, seed=n) for n in range(count)}
        return [len(axes.lines) + len(axes.collections) for axes in draw(kind, make_asked(runs)).axes]

    assert artists(40) == artists(4)


@pytest.mark.parametrize(
    ("where", "untouched"), [("", ["other", "whole"]), ("intervention!=none or depth=5", ["other", "up", "whole"])]
)
def test_a_figure_is_of_the_runs_that_its_answer_counts(make_asked, make_run, where: str, untouched: list[str]):
    """`short` repeats `whole`, and `up` was rescaled beside runs that were not."""
    runs = {"whole": make_run(seed=0), "short": make_run(epochs=150, seed=0), "other": make_run(22.0, seed=1)}
    everything = make_asked(runs | {"up": make_run(30.0, seed=2, intervention="3@20")})
    everything = replace(everything, terms=Terms(where=where))
    chosen = {kind: sorted(FIGURES[kind].choose(everything).runs["run"]) for kind in FIGURE_NAMES}
    shown, counted = ["other", "short", "up", "whole"], ["other", "up", "whole"]
    assert chosen["trajectory"] == chosen["phase-portrait"] == shown
    assert chosen["attractor"] == chosen["depth"] == chosen["claims"] == counted
    assert chosen["threshold"] == chosen["lead"] == chosen["calibration"] == chosen["grid"] == untouched
    kept = FIGURES["threshold"].choose(everything)
    assert sorted(kept.epochs["run"].unique()) == untouched
    assert kept.read(kept.runs["run_id"].iloc[:1].tolist(), ("epoch", "nc1"))["epoch"].is_unique
