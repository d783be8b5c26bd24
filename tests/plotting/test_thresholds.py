import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from ncdiag.errors import AnalysisError
from ncdiag.plotting.layout import Sheet
from ncdiag.plotting.thresholds import draw_thresholds, threshold_table

SLOW, FAST = 30 * math.log(100), 20 * math.log(100)  # onsets of the rates 30 and 20
EPOCH = (SLOW + FAST) / 2


@pytest.fixture
def table(make_asked, make_run):
    runs = {"fast": make_run(20.0, norm=1.2), "slow": make_run(30.0, norm=1 / 1.2)}
    runs["never"] = make_run(20.0, epochs=50, dataset="cifar10")
    return threshold_table(make_asked(runs))


def test_each_run_is_at_its_onset_and_at_the_median_onset(table):
    mnist = table[table["pair"] == "mlp mnist"].set_index(["at", "run"])
    assert mnist.loc["onset", "feature_norm"].tolist() == pytest.approx([1.2, 1 / 1.2])
    assert mnist.loc["onset", "epoch"].tolist() == pytest.approx([FAST, SLOW])
    # fn falls as exp(-t / 400) through its value at onset.
    there = [1.2 * math.exp(-(EPOCH - FAST) / 400), math.exp(-(EPOCH - SLOW) / 400) / 1.2]
    assert mnist.loc["fixed_epoch", "feature_norm"].tolist() == pytest.approx(there)
    assert mnist.loc["fixed_epoch", "epoch"].tolist() == pytest.approx([EPOCH, EPOCH])


def test_runs_that_stop_at_their_onset_are_compared_where_the_first_one_stopped(make_asked, make_run):
    stopped = {"fast": make_run(20.0, epochs=95), "slow": make_run(30.0, epochs=141)}
    table = threshold_table(make_asked(stopped))
    assert table.loc[table["at"] == "fixed_epoch", "epoch"].tolist() == [95, 95]  # before the median onset, EPOCH
    legend = [text.get_text() for text in draw_thresholds(table, Sheet()).legends[0].get_texts()]
    assert legend[:2] == ["a run at its onset", "a run at one epoch for all"]


def test_the_spread_is_that_of_the_logarithms(table):
    mnist = table[table["pair"] == "mlp mnist"].set_index(["at", "run"])
    for at, low, high in (("onset", 1 / 1.2, 1.2), ("fixed_epoch", *sorted(mnist.loc["fixed_epoch", "feature_norm"]))):
        sd = math.log(high / low) / math.sqrt(2)
        assert mnist.loc[at, "cv"].tolist() == pytest.approx([math.sqrt(math.expm1(sd**2))] * 2)
        assert mnist.loc[at, "estimate"].tolist() == pytest.approx([math.sqrt(low * high)] * 2)
    # Student's t with one degree of freedom: 12.7062 standard errors, which are ln 1.2.
    assert mnist.loc["onset", "hi"].iloc[0] == pytest.approx(math.exp(12.7062047 * math.log(1.2)))


def test_the_spread_ends_at_its_one_sided_bounds(table):
    mnist = table[table["pair"] == "mlp mnist"].set_index(["at", "run"])
    # Two values: a variance of d^2 / 2 with one degree of freedom, and the 5 % and 95 % quantiles of chi-square.
    variance = math.log(1.2 * 1.2) ** 2 / 2
    bounds = [math.sqrt(math.expm1(variance / quantile)) for quantile in (3.84145882, 0.00393214)]
    assert mnist.loc["onset", ["cv_lower", "cv_upper"]].iloc[0].tolist() == pytest.approx(bounds, rel=1e-4)
    assert "95 % bounds" in draw_thresholds(table, Sheet()).axes[1].get_xlabel()


def test_pairs_that_are_nearly_the_same_have_each_an_fn_star_of_its_own(make_asked, make_run):
    near = {0.001000001: 1, 0.001000002: 5}
    runs = {f"{lr} {seed}": make_run(norm=norm, lr=lr) for lr, norm in near.items() for seed in range(2)}
    table = threshold_table(make_asked(runs, by=("lr",)))
    found = table[table["at"] == "onset"].groupby("pair")["estimate"].first().to_dict()
    assert found == pytest.approx({f"lr {lr}": norm for lr, norm in near.items()})


def test_a_run_without_onset_has_rows_without_a_norm(table):
    never = table[table["run"] == "never"]
    assert never["state"].tolist() == ["censored", "censored"]
    assert never["feature_norm"].isna().all()


def drawn(figure: Figure, marker: str, panel: int = 0) -> list[float]:
    return [float(x) for line in figure.axes[panel].lines if line.get_marker() == marker for x in line.get_xdata()]


@pytest.mark.parametrize("width", ["column", "page", "slide"])
def test_what_is_drawn_is_the_table(table, width):
    figure = draw_thresholds(table, Sheet(width=width))
    mnist = table[table["pair"] == "mlp mnist"]
    norms = {at: own["feature_norm"].tolist() for at, own in mnist.groupby("at")}
    assert drawn(figure, "o") == norms["onset"]
    assert drawn(figure, "s") == norms["fixed_epoch"]
    assert drawn(figure, "D") == pytest.approx([1.0])
    cvs = {at: own["cv"].iloc[0] for at, own in mnist.groupby("at")}
    assert drawn(figure, "o", 1) == [cvs["onset"]]
    assert drawn(figure, "s", 1) == [cvs["fixed_epoch"]]


@pytest.mark.parametrize(("factor", "edge"), [(1.0001, 0), (30.0, 1)])
def test_a_spread_beyond_the_axis_is_drawn_at_its_edge(make_asked, make_run, factor: float, edge: int):
    runs = {f"{seed}": make_run(20.0, norm=factor**seed, seed=seed) for seed in range(4)}
    table = threshold_table(make_asked(runs))
    spread = draw_thresholds(table, Sheet()).axes[1]
    at_onset = table.loc[table["at"] == "onset", "cv"].iloc[0]
    limit = spread.get_xlim()[edge]
    assert at_onset < limit if edge == 0 else at_onset > limit
    marks = [line for line in spread.lines if line.get_marker() in "os"]
    assert limit in [float(line.get_xdata()[0]) for line in marks]


def test_a_pair_without_onset_says_so(table):
    figure = draw_thresholds(table, Sheet())
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "mlp mnist\n2 of 2 runs",
        "mlp cifar10\n0 of 1 run",
    ]
    assert "no onset" in [text.get_text() for text in figure.axes[0].texts]


def test_one_run_is_a_point_without_an_interval(make_asked, make_run):
    table = threshold_table(make_asked({"a": make_run(norm=1.3)}))
    figure = draw_thresholds(table, Sheet())
    assert drawn(figure, "o") == pytest.approx([1.3])
    assert drawn(figure, "o", 1) == []
    (said,) = figure.axes[1].texts
    assert said.get_text() == "one run"
    assert said.get_window_extent().x0 > figure.axes[1].lines[0].get_window_extent().x1  # beside the published bound
    assert np.isnan(table["lo"]).all()


@pytest.mark.parametrize("width", ["column", "page"])
def test_many_runs_make_room_for_themselves_and_leave_no_gap_beside_their_mean(make_asked, make_run, width):
    def points(count: int) -> list[float]:
        runs = {f"r{n}": make_run(norm=1 + n / 1e4 if n else 2, seed=n) for n in range(count)}
        table = threshold_table(make_asked(runs))
        figure = draw_thresholds(table, Sheet(width=width))
        figure.draw_without_rendering()
        norms, spreads = figure.axes
        (dots,) = (line for line in norms.lines if line.get_marker() == "o")
        nearest = norms.transData.transform([(1, float(np.abs(dots.get_ydata()).min())), (1, 0)])
        return [abs(float(np.diff(nearest[:, 1])[0])), norms.bbox.height, spreads.bbox.height]

    (few_gap, few_norms, few_spreads), (gap, norms, spreads) = points(4), points(60)
    assert norms > 2 * few_norms
    assert gap == pytest.approx(few_gap, rel=0.25)
    if width == "column":  # a panel of its own, in which nothing is crowded
        assert spreads == pytest.approx(few_spreads, rel=0.25)


def test_without_any_onset_there_is_nothing_to_draw(make_asked, make_run):
    with pytest.raises(AnalysisError, match=r"no onset \(nc1 < 0.01 for 3 evaluations\) in 1 run, so"):
        threshold_table(make_asked({"a": make_run(epochs=40)}))


def test_runs_without_the_metric_are_not_told_to_train_for_longer(make_asked, make_run):
    blind = make_run(epochs=40)
    del blind["nc1"]
    with pytest.raises(AnalysisError, match="nc1 was not measured in the runs") as error:
        threshold_table(make_asked({"a": blind}))
    assert "--metric" in str(error.value)
    assert "Train" not in str(error.value)
