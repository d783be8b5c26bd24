import math

import numpy as np
import pytest
from matplotlib.axes import Axes

from ncdiag.errors import AnalysisError
from ncdiag.plotting.layout import Sheet
from ncdiag.plotting.regularities import draw_regularity, regularity_table

ONSET = math.log(100)  # times the rate


@pytest.fixture
def runs(make_run):
    """Give two seeds at three weight decays; the largest keeps one of them from its onset within 100 epochs."""
    rates = {1e-5: (20.0, 21.0), 1e-4: (10.0, 12.0), 1e-3: (18.0, 200.0)}
    return {
        f"{decay}-{seed}": make_run(rate, norm=1 + seed, weight_decay=decay, epochs=100, seed=seed)
        for decay, pair in rates.items()
        for seed, rate in enumerate(pair)
    }


@pytest.fixture
def table(make_asked, runs):
    return regularity_table(make_asked(runs), "weight_decay")


def test_a_run_has_its_onset_or_the_budget(table):
    by_run = table.set_index("run")
    assert by_run.loc["1e-05-1", "time"] == pytest.approx(21 * ONSET)
    assert by_run.loc["0.001-1", ["time", "collapsed", "state"]].tolist() == [100, False, "censored"]
    assert math.isnan(by_run.loc["0.001-1", "fn_star"])
    assert by_run.loc["1e-05-1", "fn_star"] == pytest.approx(2)
    assert set(table["budget"]) == {100}


def test_a_value_has_the_mean_and_the_share_of_its_runs(table):
    of_value = table.groupby("value").first()
    assert of_value["share"].tolist() == [1, 1, 0.5]
    means = [ONSET * math.sqrt(20 * 21), ONSET * math.sqrt(10 * 12), math.sqrt(18 * ONSET * 100)]
    assert of_value["onset_mean"].tolist() == pytest.approx(means)
    assert of_value["fn_mean"].tolist() == pytest.approx([math.sqrt(2), math.sqrt(2), 1])
    # Clopper and Pearson's limits for two of two: 0.025 ** (1 / 2) and 1.
    assert of_value.loc[1e-5, ["share_lo", "share_hi"]].tolist() == pytest.approx([math.sqrt(0.025), 1])


def points_of(axes: Axes, marker: str, face: str | None = None) -> list[tuple[float, float]]:
    found = [line for line in axes.lines if line.get_marker() == marker]
    kept = [line for line in found if face is None or (line.get_markerfacecolor() == "white") == (face == "white")]
    return [(float(x), float(y)) for line in kept for x, y in zip(*line.get_data(), strict=True)]


def test_a_panel_without_a_norm_says_so_and_has_no_scale(table):
    none = table.assign(fn_star=math.nan, fn_mean=math.nan, fn_mean_lo=math.nan, fn_mean_hi=math.nan)
    norms = draw_regularity(none, Sheet()).axes[2]
    assert norms.get_yticks().tolist() == []
    assert "no fn* is known" in [text.get_text() for text in norms.texts]
    assert draw_regularity(table, Sheet()).axes[2].get_yticks().size > 1


def same(found: list[tuple[float, float]], expected: list[tuple[float, float]]) -> bool:
    """Say whether the points are the same, in whatever order they were drawn."""
    return np.array(sorted(found)) == pytest.approx(np.array(sorted(expected)))


@pytest.mark.parametrize("width", ["column", "page", "slide"])
def test_what_is_drawn_is_the_table(table, width):
    onsets, shares, norms = draw_regularity(table, Sheet(width=width)).axes
    of_value = table.groupby("value").first()
    places = [-5, -4, -3]  # the decimal logarithms of the weight decays
    means = list(zip(places, of_value["onset_mean"], strict=True))
    early = table[table["collapsed"]]
    runs = [(math.log10(value), time) for value, time in zip(early["value"], early["time"], strict=True)]
    late = (-3, 100)  # one mark for all runs without an onset
    assert same(rounded(points_of(onsets, "o")), [*means, *runs, late])
    assert same(rounded(points_of(onsets, "o", "white")), [means[2], late])
    assert same(points_of(shares, "o"), list(zip(places, [1, 1, 0.5], strict=True)))
    assert len(points_of(norms, "o")) == 3 + 5
    # Arrows: the runs that collapse later, or never, and what is not known of the mean that they enter with the budget.
    assert same(rounded(points_of(onsets, "^")), [late, (-3, onsets.get_ylim()[1])])
    assert [text.get_text() for text in onsets.get_xticklabels()] == ["1e-5", "1e-4", "0.001"]
    assert shares.get_title(loc="left") == "Collapsed by epoch 100"


def rounded(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Put each point at the value that it is of; it stands beside it."""
    return [(round(x), y) for x, y in points]


def test_runs_without_an_onset_are_counted(make_asked, make_run):
    runs = {
        f"{depth}-{seed}": make_run(20.0, depth=depth, epochs=90, seed=seed) for depth in (2, 3) for seed in range(4)
    }
    runs |= {f"early{seed}": make_run(10.0, depth=4, epochs=90, seed=seed) for seed in (0, 1)}
    axes = draw_regularity(regularity_table(make_asked(runs), "depth"), Sheet()).axes[0]
    assert [text.get_text() for text in axes.texts] == ["4", "4"]
    assert len([line for line in axes.lines if line.get_marker() == "^"]) == 2


@pytest.mark.parametrize("width", ["column", "page", "slide"])
@pytest.mark.parametrize(
    "decays", [(1e-5, 1e-4, 1e-3), (0.0, 1e-5, 3e-5, 1e-4, 1.5e-4, 2e-4, 3e-4, 1e-3)], ids=["few", "many"]
)
@pytest.mark.parametrize("depths", [(5,), (2, 3, 5, 7, 9)], ids=["one group", "five groups"])
def test_no_mark_leaves_the_room_of_its_value(make_asked, make_run, width, decays, depths):
    """Ten seeds that nearly agree stand side by side, and still within half of the way to the next value."""
    runs = {
        f"{depth}-{decay}-{seed}": make_run(
            20 + depth + seed / 50, norm=1 + seed / 1e3, weight_decay=decay, depth=depth, step=10, seed=seed
        )
        for depth in depths
        for decay in decays
        for seed in range(10)
    }
    figure = draw_regularity(regularity_table(make_asked(runs), "weight_decay"), Sheet(width=width))
    figure.draw_without_rendering()
    for axes in (figure.axes[0], figure.axes[2]):
        ticks = axes.transData.transform([(tick, 1) for tick in axes.get_xticks()])[:, 0]
        edges = (ticks[1:] + ticks[:-1]) / 2
        drawn = 0
        for line in axes.lines:
            if line.get_marker() == "None":
                continue
            reach = line.get_markersize() / 2 * figure.dpi / 72
            at = line.get_transform().transform(line.get_xydata())[:, 0]
            assert (np.searchsorted(edges, at - reach) == np.searchsorted(edges, at + reach)).all()
            assert (at - reach > axes.bbox.x0).all()
            assert (at + reach < axes.bbox.x1).all()
            drawn += len(at)
        assert drawn == len(runs) + len(decays) * len(depths)


def test_values_that_are_too_close_stand_at_equal_distances_and_that_is_said(make_asked, make_run):
    decays = (1e-5, 1e-4, 1.1e-4, 1.2e-4, 1e-3)
    runs = {f"{decay}-{seed}": make_run(weight_decay=decay, seed=seed) for decay in decays for seed in (0, 1)}
    axes = draw_regularity(regularity_table(make_asked(runs), "weight_decay"), Sheet()).axes[0]
    assert np.diff(axes.get_xticks()).tolist() == [1, 1, 1, 1]
    assert axes.get_xlabel() == "weight decay, not to scale"


@pytest.mark.parametrize(("names", "rotation"), [(("gelu", "relu", "tanh"), 0), (("leaky_relu", "relu", "tanh"), 45)])
def test_values_are_written_aslant_only_where_they_would_touch(make_asked, make_run, names, rotation):
    runs = {f"{name}-{seed}": make_run(activation=name, seed=seed) for name in names for seed in (0, 1)}
    axes = draw_regularity(regularity_table(make_asked(runs), "activation"), Sheet()).axes[0]
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {rotation}


def test_a_weight_decay_of_zero_stands_a_step_before_the_others(make_asked, runs):
    runs = {name: run | {"weight_decay": 0.0} if name.startswith("1e-05") else run for name, run in runs.items()}
    axes = draw_regularity(regularity_table(make_asked(runs), "weight_decay"), Sheet()).axes[0]
    assert axes.get_xticks().tolist() == pytest.approx([-5, -4, -3])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1e-4", "0.001"]


def test_words_stand_side_by_side(make_asked, make_run):
    runs = {f"{name}-{seed}": make_run(activation=name, seed=seed) for name in ("tanh", "relu") for seed in (0, 1)}
    axes = draw_regularity(regularity_table(make_asked(runs), "activation"), Sheet()).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["relu", "tanh"]


def test_runs_that_differ_in_more_are_groups_of_their_own(make_asked, make_run):
    runs = {
        f"{depth}-{data}-{seed}": make_run(20.0 + seed, depth=depth, dataset=data, seed=seed)
        for depth in (2, 3)
        for data in ("mnist", "cifar10")
        for seed in (0, 1)
    }
    table = regularity_table(make_asked(runs), "depth")
    figure = draw_regularity(table, Sheet())
    assert table["group"].unique().tolist() == ["mnist", "cifar10"]
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["mnist", "cifar10"]


def test_without_a_value_to_compare_with_it_is_said(make_asked, make_run):
    with pytest.raises(
        AnalysisError, match=r"all runs have one depth \(5\)(.|\n)*`ncdiag analyze claims` says what to train"
    ):
        regularity_table(make_asked({"a": make_run(), "b": make_run()}), "depth")


def test_where_all_runs_collapsed_the_budget_is_a_whole_epoch(make_asked, make_run):
    last = 12.3 * ONSET  # 56.64..
    runs = {"a": make_run(10.0, weight_decay=1e-4), "b": make_run(12.3, weight_decay=1e-3)}
    table = regularity_table(make_asked(runs), "weight_decay")
    assert table["budget"].tolist() == pytest.approx([last, last])
    assert draw_regularity(table, Sheet()).axes[1].get_title(loc="left") == "Collapsed by epoch 57"
