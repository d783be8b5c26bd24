import math

import numpy as np
import pytest
from scipy import stats

from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.regularities import regularity_results
from ncdiag.analysis.terms import Terms
from ncdiag.cli.page_text import text_of
from ncdiag.cli.regularity_page import regularity_page
from ncdiag.domain.onset_rule import OnsetRule

RULE = OnsetRule()
# NC1 = exp(-epoch / rate): rates of the widths 64, 128, 256 in three groups that differ in their depth.
RATES = {3: [30.0, 24.0, 20.0], 5: [28.0, 25.0, 19.0], 7: [33.0, 26.0, 27.0]}


def over_blocks(make_frames, make_run, rates, factor="width", other="depth"):
    runs = {
        f"{block}-{value}-{seed}": make_run(rate + 0.1 * seed, **{other: block, factor: value})
        for block, line in rates.items()
        for value, rate in zip((64, 128, 256) if factor == "width" else (3, 5, 7), line, strict=True)
        for seed in range(2)
    }
    results = regularity_results(onset_table(*make_frames(runs), RULE), Terms(rule=RULE))
    return results, [r for r in results if r.quantity == "trend_over_blocks" and r.question == factor]


def test_blocks_are_ranked_by_their_mean_log_onsets(make_frames, make_run):
    _, (found,) = over_blocks(make_frames, make_run, RATES)
    expected = stats.page_trend_test(np.array(list(RATES.values()))[:, ::-1], method="exact")
    assert (found.question, found.estimate) == ("width", expected.statistic)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.extra["levels"], found.extra["direction"]) == ([64.0, 128.0, 256.0], "earlier")
    assert (found.extra["n_blocks"], found.n_runs) == (3, 18)


def test_a_trend_over_depth_is_looked_for_both_ways(make_frames, make_run):
    rising = {width: line[::-1] for width, line in zip((64, 128, 256), RATES.values(), strict=True)}
    _, (depth,) = over_blocks(make_frames, make_run, rising, factor="depth", other="width")
    expected = stats.page_trend_test(np.array(list(rising.values())), method="exact")
    assert depth.extra["direction"] == "later"
    assert depth.p == pytest.approx(min(1, 2 * expected.pvalue))


def test_one_group_or_two_values_are_no_blocks(make_frames, make_run):
    assert over_blocks(make_frames, make_run, {3: RATES[3]})[1] == []


def test_it_belongs_to_no_family_and_is_said_on_the_page(make_frames, make_run):
    results, (found,) = over_blocks(make_frames, make_run, RATES)
    assert "p_holm" not in found.extra
    assert not math.isnan(found.p)
    of_width = [result for result in results if result.question == "width"]
    text = " ".join(text_of(regularity_page(of_width, "width", Terms(rule=RULE))).split())
    assert "All 3 groups together, each ranking the values 64, 128, 256" in text
    assert "(Page's test, exploratory)" in text
