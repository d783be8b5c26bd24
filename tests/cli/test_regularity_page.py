import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clihelp import Cli

from ncdiag.analysis.terms import Terms
from ncdiag.cli.page_text import text_of
from ncdiag.cli.regularity_page import regularity_page
from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.domain.result import Result
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs

RATES = {
    "depth": {2: (30, 31, 32), 5: (20, 20.5, 21), 8: (30, 31, 33)},
    "width": {64: (36, 35), 128: (31, 30.5), 256: (26, 27), 512: (22, 23)},
    "activation": {"relu": (20, 21, 20.5, 20.2), "gelu": (26, 27, 26.5, 26.2)},
    "weight_decay": {1e-5: (30, 31, 32), 1e-4: (20, 20.5, 21), 5e-4: (22, 22.5, 23), 1e-2: (90, 90, 90)},
}


def run(factor: str, value: Any, seed: int, rate: float) -> ImportedRun:
    """NC1 = exp(-epoch / rate); each factor has a data set of its own, so that each is varied alone."""
    known = {"arch": "mlp", "depth": 5, "width": 128.0, "activation": "relu", "weight_decay": 1e-4}
    return ImportedRun(
        name=f"{factor}-{value}-{seed}",
        config={**known, "dataset": list(RATES).index(factor) * "x" + "set", "seed": seed, factor: value},
        epochs=tuple(
            EpochRecord(
                epoch=epoch,
                phase=1,
                loss="mse",
                train_accuracy=1.0,
                feature_norm=(2.0 if value == "gelu" else 1.0) + 0.01 * seed,
                nc1=math.exp(-epoch / rate),
            )
            for epoch in range(10, 201, 10)
        ),
        source="synthetic.csv",
    )


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("varied") / "runs.db"
    runs = [
        run(factor, value, seed, rate)
        for factor, levels in RATES.items()
        for value, rates in levels.items()
        for seed, rate in enumerate(rates)
    ]
    with open_store(str(path), write=True) as store:
        import_runs(store, runs)
    return path


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (
            "depth",
            [
                "up to depth 5 collapse comes earlier, beyond it later: more than noise on both sides",
                "from depth 2 to 5 the onset is multiplied by 0.66",
                "Not ruled out as the fastest, pair by pair: 5.",
                "one family: 6 of its tests",
            ],
        ),
        (
            "width",
            [
                "a falling trend: wider networks collapse earlier. That each step does is not tested",
                "Each doubling of the width: 14.",
                "Shift of fn*: the largest from width 512 is 0%",
                "The claim of at most 13% holds.",
            ],
        ),
        (
            "activation",
            ["makes a difference both to the onset and to fn*", "at best .029", "relu / gelu: 0.7"],
        ),
        (
            "weight-decay",
            [
                "three regimes",
                "At 0.01 0 of 3 runs collapsed within 200 epochs, at 0.0001 3 of 3",
                "edge lies between 0.0005 and 0.01",
                "with the turn near 0.0001",
            ],
        ),
    ],
)
def test_the_pages_say_what_the_runs_show(cli: Cli, varied: Path, question: str, says: list[str]):
    answer = cli("analyze", question, "--store", varied)
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(answer.out.split())
    for said in says:
        assert said in text


def test_json_has_the_levels_and_the_family(cli: Cli, varied: Path):
    answer = cli("analyze", "depth", "--store", varied, "--format", "json")
    (found,) = json.loads(answer.out)["results"]
    assert (found["question"], found["quantity"], found["verdict"]) == ("depth", "non_monotone", "supported")
    assert [level["level"] for level in found["levels"]] == [2, 5, 8]
    assert found["family"] == 6
    assert found["p"] <= found["p_holm"]
    assert cli("analyze", "width", "--store", varied, "--format", "csv").out.startswith("question,")


@pytest.mark.parametrize("question", ["depth", "width", "activation", "weight-decay"])
def test_a_factor_that_does_not_vary_says_what_it_takes(cli: Cli, store: Path, question: str):
    answer = cli("analyze", question)
    assert answer.code == 0
    assert "In short: not tested: " in answer.out
    assert "p: how often" not in answer.out  # there is no p on this page
    assert max(map(len, answer.out.splitlines())) <= 80


def claim(quantity: str, verdict: str, **extra: Any) -> Result:
    question = {"trend": "width", "joint": "activation", "non_monotone": "depth"}.get(quantity, "weight-decay")
    judged = {"verdict": verdict, "p_holm": 0.4, "p_min": 0.01, "family": 3, "alpha": 0.05, **extra}
    p = math.nan if verdict == "not testable" else 0.2
    warnings = ("needs more runs",) if verdict == "not testable" else ()
    return Result(question=question, quantity=quantity, group={}, p=p, warnings=warnings, extra=judged)


DECAY = {"low": 1e-5, "fastest": 1e-4, "collapsed_high": [0, 3], "collapsed_reference": [3, 3], "budget": 100.0}
DECAY |= {"high": 1e-2, "reference": 1e-4, "edge": [1e-4, None], "turn": 1e-4}


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (("inconclusive",) * 3, "none of the three regimes is shown"),
        (
            ("supported", "inconclusive", "supported"),
            "shown: too little slows, there is a fastest range between. Not shown: too much prevents.",
        ),
        (("supported", "not testable", "inconclusive"), "(b) too much prevents: not tested: needs more runs."),
        (("not testable",) * 3, "In short: not tested: needs more runs."),
    ],
)
def test_the_regimes_are_told_apart(verdicts: tuple[str, ...], said: str):
    names = ("slow_when_low", "fails_when_high", "valley")
    results = [
        claim(name, verdict, **{**DECAY, "fastest": [1e-4] if name == "valley" else 1e-4})
        for name, verdict in zip(names, verdicts, strict=True)
    ]
    assert said in " ".join(text_of(regularity_page(results, "weight-decay", Terms())).split())


def test_tests_of_two_values_are_called_exploratory_and_have_no_corrected_p():
    few = "two values cannot show three regimes"
    pair = [claim(name, "not testable", **DECAY, exploratory=True) for name in ("slow_when_low", "fails_when_high")]
    pair = [replace(r, p=0.2, warnings=(few,), extra={**r.extra, "p_holm": math.nan}) for r in pair]
    page = text_of(regularity_page([*pair, claim("valley", "not testable")], "weight-decay", Terms()))
    said = " ".join(page.split())
    assert f"In short: {few}. (a) too little slows: exploratory. From 0.0001 down to 1e-05" in said
    assert "(b) too much prevents: exploratory. At 0.01 0 of 3 runs collapsed" in said
    assert "p = .2, at best .01." in said
    assert "(c) a fastest range between: not tested: needs more runs." in said
    assert said.count(few) == 1
    assert "corrected 0" not in said


def level(value: str, collapsed: int) -> dict[str, Any]:
    known = {"n_runs": 5, "n_collapsed": collapsed, "onset": 80.0, "onset_lo": 60.0, "onset_hi": 100.0}
    return {"level": value, **known, "fn_star": 1.5, "fn_star_lo": 1.2, "fn_star_hi": 1.8}


def test_the_mean_of_values_with_runs_that_never_collapsed_is_a_lower_bound():
    described = {"factor": "activation", "budget": 100.0, "levels": [level("relu", 5), level("tanh", 4)]}
    page = text_of(regularity_page([claim("joint", "inconclusive", **described)], "activation", Terms()))
    rows = [" ".join(line.split()) for line in page.splitlines()]
    assert "relu 5/5 80 60 to 100 1.500 1.20 to 1.80" in rows
    assert "tanh 4/5 >=80 >=60 1.500 1.20 to 1.80" in rows


def test_limits_past_one_beside_a_claim_that_is_shown_are_explained():
    def page(lo: float, verdict: str) -> str:
        low = replace(claim("slow_when_low", verdict, **DECAY), lo=lo, hi=1.9)
        others = [claim(name, "not testable") for name in ("fails_when_high", "valley")]
        return " ".join(text_of(regularity_page([low, *others], "weight-decay", Terms())).split())

    assert "The limits reach past 1" in page(0.9, "supported")
    assert "The limits reach past 1" not in page(1.1, "supported")
    assert "The limits reach past 1" not in page(0.9, "inconclusive")


def test_a_least_p_that_limits_nothing_is_not_said():
    speed = Result(question="activation", quantity="speed", group={}, p=0.01, extra={"p_min": 1e-9, "pairs": []})
    page = text_of(regularity_page([claim("joint", "inconclusive"), speed], "activation", Terms()))
    assert "p = .01." in page


def test_pairs_without_a_test_are_not_counted():
    pair = {"of": ["relu", "gelu"], "ratio": 0.5, "lo": 0.4, "hi": 0.6, "p": 0.01, "p_holm": 0.02}
    pairs = [pair, {**pair, "of": ["tanh", "relu"]}, {**pair, "of": ["tanh", "gelu"], "p": None, "p_holm": None}]
    speed = Result(question="activation", quantity="speed", group={}, p=0.01, extra={"p_min": 0.001, "pairs": pairs})
    page = text_of(regularity_page([claim("joint", "inconclusive"), speed], "activation", Terms()))
    assert "relu / gelu: 0.5 (0.4 to 0.6), p = .02, corrected for 2 pairs" in page
    assert "tanh / gelu" not in page


def test_what_could_not_be_tested_is_left_out():
    speed = Result(question="activation", quantity="speed", group={}, extra={"p_min": None, "pairs": []})
    page = text_of(regularity_page([claim("joint", "not testable"), speed], "activation", Terms()))
    assert "Onset:" not in page


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        ("at least", "relu / gelu: at least 0.5 (lower limit 0.4), p"),
        ("at most", "relu / gelu: at most 0.5 (upper limit 0.6), p"),
        ("within the budget", "relu / gelu: 0.5 (0.4 to 0.6) within 100 epochs, p"),
    ],
)
def test_a_ratio_with_runs_that_never_collapsed_has_one_limit(bound: str, said: str):
    pair = {"of": ["relu", "gelu"], "ratio": 0.5, "lo": 0.4, "hi": 0.6, "p": 0.01, "p_holm": 0.02, "bound": bound}
    speed = Result(question="activation", quantity="speed", group={}, p=0.01, extra={"p_min": 0.001, "pairs": [pair]})
    results = [claim("joint", "inconclusive", budget=100.0), speed]
    page = " ".join(text_of(regularity_page(results, "activation", Terms())).split())
    assert said in page
    assert "corrected for" not in page


@pytest.mark.parametrize(
    ("later", "said"),
    [
        (1.31, "Of the larger values, 0.0001 is the one most clearly faster"),
        (0.9, "Of the larger values, 0.0001 is the one least clearly slower, none is faster"),
    ],
)
def test_the_value_that_was_picked_is_not_called_the_fastest(later: float, said: str):
    names = ("slow_when_low", "fails_when_high", "valley")
    results = [
        claim(name, "inconclusive", **{**DECAY, "fastest": [1e-4] if name == "valley" else 1e-4}) for name in names
    ]
    results[0] = replace(results[0], estimate=later, lo=1.1, hi=1.5)
    page = " ".join(text_of(regularity_page(results, "weight-decay", Terms())).split())
    assert f"From 0.0001 down to 1e-05 the onset is multiplied by {later} (1.1 to 1.5)" in page
    assert said in page


def test_groups_are_told_apart_by_their_rescaling():
    groups = ({"arch": "mlp", "lr": 0.1}, {"arch": "mlp", "lr": 0.1, "intervention": "3@20"})
    results = [replace(claim("joint", "inconclusive"), group=group) for group in groups]
    page = text_of(regularity_page(results, "activation", Terms()))
    assert "\nmlp intervention=none\n" in page
    assert "\nmlp intervention=3@20\n" in page


def test_groups_that_are_not_shown_are_counted():
    results = [replace(claim("joint", "inconclusive"), group={"arch": "mlp", "lr": float(rate)}) for rate in range(50)]
    page = text_of(regularity_page(results, "activation", Terms()))
    assert f"\nand {50 - page.count('In short: ')} more groups (--format json)\n" in page


def test_a_refuted_trend_says_where_the_onset_rises():
    trend = claim("trend", "refuted")
    bent = replace(trend, extra={**trend.extra, "p_rise": 0.003, "rise": [128, 256]})
    said = "wider networks do not collapse steadily earlier: from 128 to 256 the onset comes later (p = .003)."
    assert said in " ".join(text_of(regularity_page([bent], "width", Terms())).split())
