import math

import numpy as np
import pytest

from ncdiag.analysis.additivity import additivity_results
from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.terms import Terms
from ncdiag.domain.additivity import tukey_one_df
from ncdiag.domain.interaction import estimate_interaction
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.errors import AnalysisError

ARCHS, DATASETS = ("mlp", "resnet20", "cnn"), ("mnist", "cifar10", "digits")


def grid(make_run, norms, **about):
    """Runs of a grid [row][column] of norms per run; `about` may map a cell to what is special there."""
    return {
        f"{r}{c}{i}": make_run(
            20.0,
            **{"norm": norm, "arch": ARCHS[r], "dataset": DATASETS[c], **about.get(f"cell{r}{c}", {})},
        )
        for r, line in enumerate(norms)
        for c, cell in enumerate(line)
        for i, norm in enumerate(cell)
    }


def answers(frames, **options):
    found = additivity_results(onset_table(*frames, OnsetRule()), Terms(**options))
    return {result.quantity: result for result in found}, found


PUBLISHED = [[(1.0, 1.05, 0.95), (1.0, 1.04, 0.96)], [(5.58, 5.3, 5.9), (1.68, 1.6, 1.75)]]


def test_the_figures_are_those_of_the_domain(make_frames, make_run):
    named, _ = answers(make_frames(grid(make_run, PUBLISHED)))
    values = np.array(PUBLISHED).reshape(-1)
    row, column = (np.repeat(places, 3) for places in np.divmod(np.arange(4), 2))
    for quantity, scale in (("interaction_raw", values), ("interaction_log", np.log(values))):
        expected = estimate_interaction(scale, row, column)
        found = named[quantity]
        assert found.p == pytest.approx(expected.p)
        assert (found.extra["df1"], found.extra["df2"]) == (1, 8)
        assert found.extra["statistic"] == pytest.approx(expected.statistic)
        assert found.extra["eta2p"] == found.estimate == pytest.approx(expected.eta2p.estimate)
        assert found.extra["p_permutation"] < 0.05
        assert found.extra["n_permutations"] == 9999
        deciding = {"p": found.p, "p_robust": found.extra["p_robust"]}[found.extra["decided_by"]]
        assert deciding == named["verdict"].extra[f"p_{quantity.removeprefix('interaction_')}"]
    means = np.log(np.array(PUBLISHED)).mean(2)
    ratio = named["ratio_of_ratios"]
    assert ratio.estimate == pytest.approx(math.exp(means[1, 0] - means[0, 0] - means[1, 1] + means[0, 1]))
    assert 1 < ratio.lo < ratio.estimate < ratio.hi
    assert ratio.extra["of_rows"] == ["resnet20", "mlp"]
    assert ratio.extra["of_columns"] == ["mnist", "cifar10"]
    assert named["verdict"].extra["verdict"] == "removable"
    assert (named["verdict"].n_runs, named["verdict"].n_conditions) == (12, 4)


def test_rows_that_are_nearly_the_same_are_two(make_frames, make_run):
    near = {f"cell{r}{c}": {"arch": "mlp", "lr": lr} for r, lr in enumerate((1.000001e-3, 1.000002e-3)) for c in (0, 1)}
    named, _ = answers(make_frames(grid(make_run, PUBLISHED, **near)), by=("lr", "dataset"))
    assert named["ratio_of_ratios"].extra["of_rows"] == ["0.001000002", "0.001000001"]
    norms = {(cell["row"], cell["column"]): cell["fn_star"] for cell in named["verdict"].extra["cells"]}
    assert norms["0.001000002", "mnist"] == pytest.approx(np.exp(np.log(PUBLISHED[1][0]).mean()))


def test_the_answer_is_the_same_every_time(make_frames, make_run):
    frames = make_frames(grid(make_run, PUBLISHED))
    first, second = (answers(frames)[0]["interaction_log"].extra["p_permutation"] for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("special", "says"),
    [
        ({"loss": ["ce"] * 200}, "under different losses (mlp mnist: mse; mlp cifar10: mse; resnet20 mnist: ce"),
        ({"phase": [2] * 200}, "in different phases"),
    ],
)
def test_cells_of_different_phases_are_refused_unless_asked_for(make_frames, make_run, special, says):
    frames = make_frames(grid(make_run, PUBLISHED, cell10=special))
    named, found = answers(frames)
    for result in found:
        assert result.status == "not_testable"
        assert says in result.warnings[0]
        assert "--mix-phases" in result.warnings[0]
        assert math.isnan(result.p)
        assert math.isnan(result.estimate)
        assert result.extra["refused"] == "mixed_phases"
    assert named["verdict"].extra["verdict"] == "not testable"
    mixed, _ = answers(frames, mix_phases=True)
    assert mixed["interaction_log"].p < 0.05
    assert any("the loss alone" in warning for warning in mixed["verdict"].warnings)


def test_conditions_are_the_sample_where_cells_have_several(make_frames, make_run):
    runs = grid(make_run, PUBLISHED)
    for name, run in runs.items():
        run["weight_decay"] = 1e-4 if name.endswith(("0", "1")) else 1e-3
    named, _ = answers(make_frames(runs))
    logs = np.log(np.array(PUBLISHED))
    units = np.stack([logs[..., :2].mean(-1), logs[..., 2]], -1).reshape(-1)
    row, column = (np.repeat(places, 2) for places in np.divmod(np.arange(4), 2))
    assert named["interaction_log"].p == pytest.approx(estimate_interaction(units, row, column).p)
    norms = np.array(PUBLISHED)
    means = np.stack([norms[..., :2].mean(-1), norms[..., 2]], -1).reshape(-1)  # of the norms, not of their logs
    assert named["interaction_raw"].p == pytest.approx(estimate_interaction(means, row, column).p)
    assert (named["interaction_log"].extra["over"], named["interaction_log"].extra["n_units"]) == ("conditions", 8)


def test_the_cells_are_those_of_the_test(make_frames, make_run):
    # A condition of two runs and one of a single run: sqrt(sqrt(1 x 4) x 16), not the cube root of 64.
    runs = grid(make_run, [[(1.0, 4.0, 16.0), (1.0, 1.0, 1.0)], [(1.0, 1.0, 1.0), (1.0, 1.0, 1.0)]])
    for name, run in runs.items():
        run["weight_decay"] = 1e-4 if name.endswith(("0", "1")) else 1e-3
    named, _ = answers(make_frames(runs))
    norms = [cell["fn_star"] for cell in named["verdict"].extra["cells"]]
    assert norms == pytest.approx([math.sqrt(32), 1, 1, 1])
    # The ratio of ratios sets the second row beside the first.
    ratio = norms[2] / norms[0] / (norms[3] / norms[1])
    assert named["ratio_of_ratios"].estimate == pytest.approx(ratio) == pytest.approx(1 / math.sqrt(32))


def test_a_cell_says_when_and_how_many_collapsed(make_frames, make_run):
    runs = grid(make_run, PUBLISHED)
    for i, rate in enumerate((20.0, 21.0, 25.0)):
        runs[f"00{i}"] = make_run(rate, arch="mlp", dataset="mnist", weight_decay=1e-3 if i else 1e-4)
    runs["003"] = make_run(90.0, arch="mlp", dataset="mnist")
    cell = answers(make_frames(runs))[0]["verdict"].extra["cells"][0]
    assert (cell["row"], cell["column"]) == ("mlp", "mnist")
    assert cell["t_median"] == pytest.approx(21 * math.log(100))
    assert (cell["n_runs"], cell["n_collapsed"], cell["n_conditions"]) == (4, 3, 2)
    assert (cell["losses"], cell["phases"]) == ({"mse": 3}, {"1": 3})


def test_cells_are_listed_by_the_values_of_numbers(make_frames, make_run):
    depths, datasets = (9, 2, None, 5), ("mnist", "cifar10")
    runs = {f"{d}{c}": make_run(20.0, depth=d, dataset=c) for d in depths for c in datasets}
    cells = answers(make_frames(runs), by=("depth", "dataset"))[0]["verdict"].extra["cells"]
    listed = [(cell["row"], cell["column"]) for cell in cells]
    assert listed == [(row, column) for row in ("2", "5", "9", "?") for column in datasets]


def test_one_condition_per_cell_speaks_of_these_conditions_only(make_frames, make_run):
    named, _ = answers(make_frames(grid(make_run, PUBLISHED)))
    assert any("one condition per cell" in warning for warning in named["verdict"].warnings)


def test_a_cell_of_one_run_among_others_is_named(make_frames, make_run):
    runs = {name: run for name, run in grid(make_run, PUBLISHED).items() if name not in ("000", "001")}
    named, _ = answers(make_frames(runs))
    assert named["verdict"].warnings == (
        "one condition per cell: the figures are over seeds, and speak of these conditions only",
        "1 of 4 cells has a single value, so how much it varies there is not known",
    )
    assert named["verdict"].warnings[1] in named["verdict"].extra["blocked"]
    for name, run in runs.items():
        run["weight_decay"] = 1e-4 if name.endswith("2") else 1e-3
    named, _ = answers(make_frames(runs))
    assert named["verdict"].warnings == (
        "the conditions of 3 of 4 cells measure the noise of all of them; the others have one condition",
        "1 of 4 cells has a single value, so how much it varies there is not known",
        "7 conditions in 4 cells: choose comparable ones with --where",
    )


def test_single_values_are_tested_by_tukey_from_two_by_three_on(make_frames, make_run):
    table = np.array([[1.7, 1.9, 2.0], [4.4, 4.5, 5.7], [6.6, 7.4, 10.5]])
    named, found = answers(make_frames(grid(make_run, table[..., None])))
    assert named["interaction_raw"].p == pytest.approx(0.00400457, abs=1e-7)
    assert named["interaction_log"].p == pytest.approx(tukey_one_df(np.log(table)).p)
    assert (named["interaction_raw"].extra["df1"], named["interaction_raw"].extra["df2"]) == (1, 3)
    assert len([result for result in found if result.quantity == "ratio_of_ratios"]) == 4
    for quantity, scale in (("interaction_raw", table), ("interaction_log", np.log(table))):
        residuals = scale - scale.mean(1, keepdims=True) - scale.mean(0) + scale.mean()
        roots = np.linalg.svd(residuals, compute_uv=False) ** 2
        assert named[quantity].extra["johnson_graybill"] == pytest.approx(roots[0] / roots.sum())


def test_a_single_two_by_two_table_tests_nothing(make_frames, make_run):
    named, _ = answers(make_frames(grid(make_run, np.array([[1.0, 1.0], [5.0, 2.0]])[..., None])))
    assert {named[name].status for name in ("interaction_raw", "interaction_log", "verdict")} == {"not_testable"}
    assert math.isnan(named["interaction_log"].p)
    assert named["ratio_of_ratios"].estimate == pytest.approx(2.5)
    assert math.isnan(named["ratio_of_ratios"].lo)
    assert any("two runs in each cell" in warning for warning in named["interaction_log"].warnings)


def test_cells_of_equal_runs_have_a_ratio_and_no_interval(make_frames, make_run):
    named, _ = answers(make_frames(grid(make_run, [[(1.0,) * 2, (1.0,) * 2], [(5.0,) * 2, (2.0,) * 2]])))
    ratio = named["ratio_of_ratios"]
    assert (ratio.status, ratio.estimate) == ("zero_variance", pytest.approx(2.5))
    assert math.isnan(ratio.lo)


def test_a_product_of_factors_is_exactly_additive_on_logs(make_frames, make_run):
    table = np.outer((1.0, 2.0, 4.0), (1.0, 3.0, 9.0))[..., None]
    named, _ = answers(make_frames(grid(make_run, table)))
    assert named["interaction_log"].status == "exactly_additive"
    assert named["verdict"].extra["verdict"] == "multiplicative"


def test_an_empty_cell_is_named(make_frames, make_run):
    runs = grid(make_run, PUBLISHED)
    for name in ("010", "011", "012"):
        runs[name] |= make_run(90.0)
    named, _ = answers(make_frames(runs))
    assert named["verdict"].status == "not_testable"
    assert named["verdict"].warnings == (
        "no onset in mlp cifar10 (at a larger --eps there may be one): without it nothing can be compared",
    )
    assert named["verdict"].n_censored == 3


def test_a_cell_that_nobody_trained_is_no_cell_without_an_onset(make_frames, make_run):
    runs = {name: run for name, run in grid(make_run, PUBLISHED).items() if not name.startswith("01")}
    named, _ = answers(make_frames(runs))
    assert named["verdict"].warnings == ("no run of mlp cifar10: without it nothing can be compared",)


def test_a_larger_grid_without_a_cell_still_has_an_interaction(make_frames, make_run):
    rng = np.random.default_rng(1)
    runs = grid(make_run, rng.lognormal(0, 0.3, (3, 3, 3)))
    for name in ("000", "001", "002"):
        del runs[name]
    named, found = answers(make_frames(runs))
    assert named["interaction_log"].extra["df1"] == 3
    ratios = [result.estimate for result in found if result.quantity == "ratio_of_ratios"]
    assert [math.isnan(ratio) for ratio in ratios].count(True) == 1  # set beside a row and a column that are whole


def test_what_is_no_grid_says_so(make_frames, make_run):
    frames = make_frames({"a": make_run(), "b": make_run(dataset="cifar10")})
    assert "two values of arch" in answers(frames)[0]["verdict"].warnings[0]
    assert "--by names 1" in answers(frames, by=("arch",))[0]["verdict"].warnings[0]
    with pytest.raises(AnalysisError):
        answers(frames, by=("colour", "arch"))


def test_without_an_onset_all_is_censored(make_frames, make_run):
    runs = {f"{a}{d}": make_run(90.0, arch=a, dataset=d) for a in ("mlp", "cnn") for d in ("mnist", "digits")}
    assert {result.status for result in answers(make_frames(runs))[1]} == {"all_censored"}
    assert {result.status for result in answers(make_frames({}))[1]} == {"not_testable"}


def test_a_condition_that_spans_cells_counts_in_each(make_frames, make_run):
    """The device is no part of a condition: each of the four cells holds the means of its own runs at two depths."""
    norms = {
        (device, activation, depth): 1 + 0.1 * depth + (device == "cuda") * (0.5 + (activation == "tanh"))
        for device in ("cpu", "cuda")
        for activation in ("relu", "tanh")
        for depth in (2, 3)
    }
    runs = {
        f"{device}{activation}{depth}": make_run(20.0, norm=norm, device=device, activation=activation, depth=depth)
        for (device, activation, depth), norm in norms.items()
    }
    named, _ = answers(make_frames(runs), by=("device", "activation"))
    values = np.array(list(norms.values()))
    expected = estimate_interaction(values, *(np.arange(8) // step % 2 for step in (4, 2)))
    assert named["interaction_raw"].extra["over"] == "conditions"
    assert named["interaction_raw"].extra["n_units"] == 8
    assert named["interaction_raw"].p == pytest.approx(expected.p, rel=1e-3)


@pytest.mark.parametrize(("loss", "warned"), [(None, True), ("mse", False)])
def test_a_grid_of_unknown_losses_may_be_one_of_two(make_frames, make_run, loss, warned):
    cells = {f"cell{r}{c}": {"loss": [loss] * 200} for r in range(2) for c in range(2)}
    named, _ = answers(make_frames(grid(make_run, PUBLISHED, **cells)))
    warnings = named["interaction_raw"].warnings
    assert ("the loss at onset is not known of any run; cells may differ by the loss alone" in warnings) == warned
