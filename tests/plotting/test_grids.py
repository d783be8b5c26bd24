import math
from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from ncdiag.analysis.terms import Terms
from ncdiag.errors import AnalysisError
from ncdiag.plotting.grids import draw_grid, grid_table
from ncdiag.plotting.layout import Sheet
from ncdiag.plotting.style import line_style

NORMS = {("mlp", "mnist"): 1.0, ("mlp", "cifar10"): 2.0, ("cnn", "mnist"): 3.0, ("cnn", "cifar10"): 12.0}


@pytest.fixture
def make_grid(make_run):
    """Give two runs a cell, 10 % above and below its norm."""

    def make(**of_cell):
        return {
            f"{arch} {dataset} {factor}": make_run(norm=norm * factor, arch=arch, dataset=dataset)
            | of_cell.get(f"{arch}_{dataset}", {})
            for (arch, dataset), norm in NORMS.items()
            for factor in (1.1, 1 / 1.1)
        }

    return make


def test_the_ratio_of_ratios_is_one_where_the_factors_multiply(make_asked, make_grid):
    table = grid_table(make_asked(make_grid()))
    (ratio,) = table[table["of"] == "ratio_of_ratios"].to_dict("records")
    assert (ratio["row"], ratio["column"]) == ("cnn / mlp", "mnist / cifar10")
    assert ratio["estimate"] == pytest.approx((3 / 1) / (12 / 2))
    assert ratio["lo"] < 0.5 < ratio["hi"]
    cells = table[table["of"] == "cell"]
    assert cells.groupby(["row", "column"])["estimate"].first().to_dict() == pytest.approx(NORMS)
    assert cells["feature_norm"].tolist()[:2] == pytest.approx([1.1, 1 / 1.1])


def marks(figure: Figure, marker: str) -> list[float]:
    lines = [line for line in figure.axes[0].lines if line.get_marker() == marker and line.get_zorder() == 5]
    return [float(line.get_ydata()[0]) for line in lines]


@pytest.mark.parametrize("width", ["column", "page", "slide"])
def test_what_is_drawn_is_the_table(make_asked, make_grid, width):
    figure = draw_grid(grid_table(make_asked(make_grid())), Sheet(width=width))
    assert marks(figure, "o") == pytest.approx([1, 2])
    assert marks(figure, "s") == pytest.approx([3, 12])
    joins = [
        list(line.get_ydata())
        for line in figure.axes[0].lines
        if line.get_zorder() == 2 and line.get_marker() == "None"
    ]
    assert joins == [pytest.approx([1, 2]), pytest.approx([3, 12])]
    dots = [y for line in figure.axes[0].lines if line.get_alpha() == 0.6 for y in line.get_ydata()]
    assert sorted(dots) == pytest.approx(sorted(n * f for n in NORMS.values() for f in (1.1, 1 / 1.1)))
    (ratio,) = [line for line in figure.axes[1].lines if line.get_marker() == "D"]
    assert ratio.get_xdata()[0] == pytest.approx(0.5)
    assert [text.get_text() for text in figure.axes[1].get_yticklabels()] == ["cnn / mlp\n× mnist / cifar10"]


def test_a_ratio_is_named_in_the_words_of_its_cells(make_asked, make_run):
    decays, sizes = (1e-5, 2e-5), (None, 500)
    runs = {
        f"{decay} {size} {factor}": make_run(norm=factor, weight_decay=decay, train_size=size)
        for decay in decays
        for size in sizes
        for factor in (1.1, 1 / 1.1)
    }
    table = grid_table(make_asked(runs, by=("weight_decay", "train_size")))
    (ratio,) = table[table["of"] == "ratio_of_ratios"].to_dict("records")
    assert (ratio["row"], ratio["column"]) == ("wd 2e-5 / 1e-5", "all / 500 samples")
    cells = table[table["of"] == "cell"]
    assert (list(cells["row"].unique()), list(cells["column"].unique())) == (
        ["wd 1e-5", "wd 2e-5"],
        ["all samples", "500 samples"],
    )


def test_cells_under_two_losses_are_marked_and_not_compared(make_asked, make_grid):
    table = grid_table(make_asked(make_grid(cnn_mnist={"loss": ["ce"] * 200})))
    (ratio,) = table[table["of"] == "ratio_of_ratios"].to_dict("records")
    assert math.isnan(ratio["estimate"])
    assert (ratio["row"], ratio["column"]) == (None, None)
    assert ratio["reason"].startswith("onsets under different losses")
    figure = draw_grid(table, Sheet())
    faces = {
        float(line.get_ydata()[0]): line.get_markerfacecolor()
        for line in figure.axes[0].lines
        if line.get_zorder() == 5
    }
    assert {round(norm): face == "white" for norm, face in faces.items()} == {1: False, 2: False, 3: True, 12: False}
    assert "not computed: onsets" in figure.axes[1].texts[0].get_text()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"onset under cross-entropy", "onset under mse"} < set(legend)


def test_a_cell_without_onset_is_marked_at_the_foot_of_its_column(make_asked, make_grid, make_run):
    runs = make_grid()
    runs = {name: run if "cnn cifar10" not in name else run | make_run(epochs=40) for name, run in runs.items()}
    figure = draw_grid(grid_table(make_asked(runs)), Sheet())
    (mark,) = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert mark.get_color() == line_style(1)[0]
    assert round(float(mark.get_xdata()[0])) == 1  # cifar10
    assert "runs without any onset" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_values_of_a_factor_stand_in_their_order_and_are_named_once(make_asked, make_run):
    runs = {
        f"{decay}-{depth}-{seed}": make_run(norm=1 + 0.1 * seed, weight_decay=decay, depth=depth, seed=seed)
        for decay in (1e-3, 0.0, 1e-4)
        for depth in (10, 2)
        for seed in (0, 1)
    }
    axes = draw_grid(grid_table(make_asked(runs, by=("depth", "weight_decay"))), Sheet()).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1e-4", "0.001"]
    assert axes.get_xlabel() == "weight decay"
    legend = axes.get_figure().legends[0].get_texts()
    assert [text.get_text() for text in legend][:2] == ["depth 2", "depth 10"]


def test_cells_in_different_phases_are_compared_where_that_is_accepted(make_asked, make_grid):
    asked = make_asked(make_grid(cnn_mnist={"loss": ["ce"] * 200}))
    table = grid_table(replace(asked, terms=Terms(mix_phases=True)))
    (ratio,) = table[table["of"] == "ratio_of_ratios"].to_dict("records")
    assert ratio["estimate"] == pytest.approx((3 / 1) / (12 / 2))


@pytest.mark.parametrize(
    ("by", "message"),
    [(("arch",), "a grid has two factors"), (("arch", "depth"), r"all runs have one depth \(depth 5\)")],
)
def test_what_is_no_grid_is_said(make_asked, make_grid, by, message):
    with pytest.raises(AnalysisError, match=message):
        grid_table(make_asked(make_grid(), by=by))


def test_a_grid_without_any_onset_is_said(make_asked, make_run):
    runs = {arch + data: make_run(epochs=30, arch=arch, dataset=data) for arch, data in NORMS}
    with pytest.raises(AnalysisError, match="no cell to draw"):
        grid_table(make_asked(runs))
