import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from scipy import stats

from ncdiag.analysis.claims import CLAIMS
from ncdiag.analysis.terms import Terms
from ncdiag.plotting.claims import MEASURES, claims_table, draw_claims
from ncdiag.plotting.layout import Sheet


@pytest.fixture(scope="module")
def table(make_asked, make_run):
    """Give four seeds at three weight decays, whose norms at onset are 1, 1.1 and 1.2 times what the seed gives."""
    runs = {
        f"{decay}-{seed}": make_run(20.0 + seed + 3 * n, norm=(1 + 0.1 * n) * 1.05**seed, weight_decay=decay, seed=seed)
        for n, decay in enumerate((1e-5, 1e-4, 1e-3))
        for seed in range(4)
    }
    return claims_table(make_asked(runs))


def test_every_claim_has_a_measure():
    assert list(MEASURES) == [claim.number for claim in CLAIMS]


def test_every_claim_has_a_row_with_its_verdict_and_its_reason(table):
    assert table["claim"].tolist() == list(MEASURES)
    assert set(table["verdict"]) <= {"supported", "refuted", "inconclusive", "not testable"}
    assert table["reason"].str.len().min() > 5
    assert table.set_index("claim").loc["1", "published"] == "CV < 8%"


def test_figures_are_in_the_units_that_are_named(table):
    by_claim = table.set_index("claim")
    # The published reading of the CV would be sd / mean; ours is over conditions, so it is no less than half of that.
    norms = pd.Series([(1 + 0.1 * n) * 1.05**seed for n in range(3) for seed in range(4)])
    assert by_claim.loc["1", "quantity"] == "CV of fn*, %"
    assert by_claim.loc["1", "estimate"] == pytest.approx(100 * norms.std() / norms.mean(), rel=0.15)
    assert by_claim.loc["1", "published_value"] == 8
    assert by_claim.loc["5", "published_value"] == pytest.approx((1 + 4.58) / (1 + 0.68))
    assert math.isnan(by_claim.loc["6a", "estimate"])


def test_a_grid_under_two_losses_is_compared_where_that_is_asked_for(make_asked, make_run):
    runs = {
        f"{arch}-{dataset}-{seed}": make_run(
            20.0, norm=1.02**seed, arch=arch, dataset=dataset, seed=seed, loss=[loss] * 200
        )
        for arch, loss in (("mlp", "ce"), ("cnn", "mse"))
        for dataset in ("mnist", "digits")
        for seed in range(3)
    }
    asked = make_asked(runs)
    refused, mixed = (
        claims_table(some).set_index("claim") for some in (asked, replace(asked, terms=Terms(mix_phases=True)))
    )
    assert math.isnan(refused.loc["5", "estimate"])
    assert mixed.loc["5", "estimate"] == pytest.approx(1)


def test_limits_are_those_that_decide_and_their_confidence_is_named(table):
    # Claim 1 is decided by one-sided bounds; Graybill and Wang's for k = 3 conditions of m = 4 seeds, by their formula.
    logs = np.array([[math.log(1 + 0.1 * n) + seed * math.log(1.05) for seed in range(4)] for n in range(3)])
    of_means, within = logs.mean(1).var(ddof=1), logs.var(axis=1, ddof=1).mean()
    total = of_means + 3 / 4 * within
    h_means, h_within = (df / stats.chi2.ppf(0.05, df) - 1 for df in (2, 9))
    upper = total + math.hypot(h_means * of_means, h_within * 3 / 4 * within)
    by_claim = table.set_index("claim")
    assert by_claim.loc["1", "hi"] == pytest.approx(100 * math.sqrt(math.expm1(upper)))
    assert by_claim.loc["1", "ours"].endswith(f"(< {by_claim.loc['1', 'hi']:.3g}%)")
    assert by_claim.loc[["1", "2", "3"], "limits"].tolist() == ["95% bounds", "95% bounds", "about 93% interval"]
    assert MEASURES["4"].limits(0.9) == "90% interval"


def strips(axes_list: list[Axes]) -> dict[str, Axes]:
    return {axes.get_title(loc="left").split()[0]: axes for axes in axes_list if axes.get_title(loc="left")}


@pytest.mark.parametrize("width", ["column", "page", "slide"])
def test_what_is_drawn_is_the_table(table, width):
    figure = draw_claims(table, Sheet(width=width))
    shown = strips(figure.axes)
    assert list(shown) == list(MEASURES)
    for _, row in table.iterrows():
        axes = shown[row["claim"]]
        assert axes.texts[0].get_text() == row["overall"]
        marks = [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() in "oXDs"]
        assert marks == ([] if math.isnan(row["estimate"]) else [row["estimate"]])
        if marks:
            assert axes.lines[0].get_xdata()[0] == row["published_value"]
            level = row["limits"].rpartition(" ")[0]  # without the word, where there is no room
            assert axes.get_xlabel() in {f"{row['quantity']} ({said})" for said in (row["limits"], level)}
        else:
            assert axes.texts[1].get_text().split()[0] == row["reason"].split()[0]


def test_a_claim_has_a_line_for_each_group(make_asked, make_run):
    runs = {
        f"{data}-{seed}": make_run(20.0 + seed, norm=1.05**seed, dataset=data, seed=seed)
        for data in ("mnist", "cifar10")
        for seed in range(3)
    }
    table = claims_table(make_asked(runs))
    assert table.loc[table["claim"] == "1", "group"].tolist() == ["mnist", "cifar10"]
    axes = strips(draw_claims(table, Sheet()).axes)["1"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["mnist", "cifar10"]


@pytest.mark.parametrize(
    ("estimate", "lo", "said"),
    [(0.6, 0.4, True), (31.0, 0.4, True), (31.0, 12.0, False)],  # a bar across the published figure refutes nothing
)
def test_a_mark_that_would_look_like_a_pass_names_what_refutes(table, estimate, lo, said):
    """A CV of 0.6 % passes the published 8 %; where the claim is refuted it is by the figure beside the mark."""
    refuted = table.copy()
    row = refuted.index[refuted["claim"] == "1"][0]
    told = {"ours": "fn* -17% with eps", "estimate": estimate, "lo": lo, "hi": 40.0}
    refuted.loc[row, [*told, "verdict", "overall"]] = [*told.values(), "refuted", "refuted"]
    texts = [text.get_text() for text in strips(draw_claims(refuted, Sheet()).axes)["1"].texts]
    assert ("by fn* -17% with eps" in texts) == said


@pytest.fixture(scope="module")
def censored(make_asked, make_run):
    """Give four seeds of three widths, depths and weight decays; runs of the smallest of each have no onset."""
    rates = {"width": (128, 256, 512), "depth": (2, 5, 9), "weight_decay": (1e-5, 1e-4, 1e-3)}
    runs = {
        f"{factor}-{value}-{seed}": make_run(
            (80.0 if n == 0 else 22.0 - 2 * n) + seed / 2, dataset=factor, seed=seed, **{factor: value}
        )
        for factor, values in rates.items()
        for n, value in enumerate(values)
        for seed in range(4)
    }
    return claims_table(make_asked(runs))


def test_a_bound_has_a_limit_on_one_side_only(censored):
    """With runs without an onset among the narrow ones, each doubling brings the onset forward at least so much."""
    by_claim = censored[np.isfinite(censored["estimate"])].set_index("claim")
    assert by_claim.loc[["6c", "6d"], "bound"].tolist() == ["at least", "at least"]
    assert np.isinf(by_claim.loc[["6c", "6d"], "hi"]).all()
    assert np.isfinite(by_claim.loc[["6c", "6d"], "lo"]).all()
    assert by_claim.loc["6d", "ours"].startswith("<=-")
    figure = draw_claims(censored, Sheet())
    for claim in ("6c", "6d"):
        axes = strips(figure.axes)[claim]
        (arrow,) = (line for line in axes.lines if line.get_marker() in "<>")
        assert (arrow.get_marker(), arrow.get_xdata()[0]) == (">", axes.get_xlim()[1])
    assert "limit not known on this side" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_reason_of_a_claim_without_figures_is_that_of_the_group_with_its_verdict(table):
    """Of two groups, one that cannot be tested and one that shows the claim, the reason of the first would deny it."""
    row = table.loc[table["claim"] == "6b"].assign(estimate=math.nan, lo=math.nan, hi=math.nan, ours="-")
    untested = row.assign(group="lr 0.001", verdict="not testable", reason="too few", overall="supported")
    shown = row.assign(group="lr 0.01", verdict="supported", reason="both differ", ours="x3", overall="supported")
    both = pd.concat([table[table["claim"] < "6b"], untested, shown], ignore_index=True)
    texts = [text.get_text() for text in strips(draw_claims(both, Sheet()).axes)["6b"].texts]
    assert "lr 0.01: x3: both differ" in texts
    assert not any("too few" in text for text in texts)


def test_where_nothing_is_drawn_nothing_is_explained(table):
    assert not draw_claims(table.assign(estimate=math.nan), Sheet()).legends
