"""Where an answer says how many runs it needs, it comes with that many, and not with one less."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ncdiag.analysis.stored import forecast_stored, survey_store
from ncdiag.analysis.terms import Terms
from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.domain.result import Result
from ncdiag.domain.statistics import log_sd
from ncdiag.domain.threshold import CV_CLAIM, estimate_threshold
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs

EPOCHS, STEP = 200, 5
LIKE_ALL = {"arch": "mlp", "dataset": "mnist", "depth": 5, "width": 64.0, "activation": "relu", "weight_decay": 1e-4}

Settings = Mapping[str, Any]


def collapsing(name: str, number: int, settings: Settings) -> ImportedRun:
    """Give a run that is like no other: onset, norm there and slope of fn follow from its number."""
    draw = np.random.default_rng(number)
    onset = 100 * math.exp(draw.normal(0, 0.1))
    star, slope = math.exp(draw.normal(0, 0.02)), math.exp(draw.normal(0, 0.1)) / 50
    t = np.arange(STEP, EPOCHS + 1, STEP)
    loss, weights = np.exp(-t / 30 + draw.normal(0, 0.05, len(t))), 10 - t / 40 + draw.normal(0, 0.05, len(t))
    return ImportedRun(
        name=name,
        config={**LIKE_ALL, "seed": number, **settings},
        epochs=tuple(
            EpochRecord(
                epoch=int(epoch),
                phase=1,
                loss="mse",
                train_loss=float(loss[row]),
                train_accuracy=1.0,
                weight_norm=float(weights[row]),
                feature_norm=star * math.exp(-slope * (epoch - onset)),
                nc1=0.01 ** (epoch / onset),
            )
            for row, epoch in enumerate(t.tolist())
        ),
        source=f"{name}.csv",
    )


def grid(sizes: Sequence[int], name: str, values: Sequence[Any]) -> list[ImportedRun]:
    """Give so many runs of each value of a setting."""
    every = [{name: value} for value, size in zip(values, sizes, strict=True) for _ in range(size)]
    return [collapsing(f"r{number}", number, settings) for number, settings in enumerate(every)]


def decays(*sizes: int) -> list[ImportedRun]:
    return grid(sizes, "weight_decay", [1e-5 * 2**place for place in range(len(sizes))])


def depths(*sizes: int) -> list[ImportedRun]:
    return grid(sizes, "depth", [2 + place for place in range(len(sizes))])


def widths(*sizes: int) -> list[ImportedRun]:
    return grid(sizes, "width", [32.0 * 2**place for place in range(len(sizes))])


def activations(*sizes: int) -> list[ImportedRun]:
    return grid(sizes, "activation", ["relu", "gelu", "tanh"][: len(sizes)])


def cells(archs: int, datasets: int, each: int) -> list[ImportedRun]:
    every = [
        {"arch": arch, "dataset": dataset, "seed": seed}
        for arch in ("mlp", "cnn")[:archs]
        for dataset in ("mnist", "digits")[:datasets]
        for seed in range(each)
    ]
    return [collapsing(f"r{number}", number, settings) for number, settings in enumerate(every)]


def rescaled(seeds: int) -> list[ImportedRun]:
    """Give runs with both arms, whose norms are those of a run of its own."""
    arms = (None, "0.3@20", "3@20")
    every = [{"seed": seed, "intervention": arm} for seed in range(seeds) for arm in arms]
    return [collapsing(f"r{number}", number, settings) for number, settings in enumerate(every)]


Ask = Callable[[Sequence[ImportedRun], str], list[Result]]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Ask a question of a store with these runs."""

    def answers(runs: Sequence[ImportedRun], question: str) -> list[Result]:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.db"
        with open_store(str(path), write=True) as store:
            import_runs(store, runs)
            return survey_store(store, Terms(), (question,)).results[question]

    return answers


def texts(results: Sequence[Result]) -> Iterator[str]:
    for result in results:
        yield from result.warnings
        yield str(result.extra.get("lacks", ""))
        yield from (part["lacking"] for part in result.extra.get("parts", ()) if not part["shown"])


def has_p(quantity: str, **said: Any) -> Callable[[Sequence[Result]], bool]:
    """Tell whether a test was made."""

    def made(results: Sequence[Result]) -> bool:
        own = [r for r in results if r.quantity == quantity and all(r.extra.get(k) == v for k, v in said.items())]
        return bool(own) and not math.isnan(own[0].p)

    return made


def shows(claim: str, part: str) -> Callable[[Sequence[Result]], bool]:
    """Tell whether a part of a claim could be tested."""

    def tested(results: Sequence[Result]) -> bool:
        (own,) = (r for r in results if r.quantity == f"claim_{claim}")
        return any(one["name"] == part and one["shown"] is not None for one in own.extra["parts"])

    return tested


def limits(quantity: str) -> Callable[[Sequence[Result]], bool]:
    """Tell whether a figure has an upper limit."""
    return lambda results: any(r.quantity == quantity and not math.isnan(r.hi) for r in results)


def judges_the_cv(results: Sequence[Result]) -> bool:
    return any(r.quantity == "cv" and r.extra["verdict"] != "not testable" for r in results)


def has_a_winner(results: Sequence[Result]) -> bool:
    return any(r.extra.get("rule") == "winner" and not math.isnan(r.estimate) for r in results)


def over_conditions(results: Sequence[Result]) -> bool:
    return "condition means" in results[0].method


PRIMARY = {"held_out": "run", "margin": 0.25, "baseline": "median"}
GUESSING, PRECEDES = "a better forecast than the median onset", "the alarm comes before the onset"
BEATS_ALARMS, NEW = "a better forecast than every other alarm", "judged on conditions not learned from"
SLOW = "slow_when_low"
SHIFT = "fn* moves by less than 13%"
CLOCK = "rescaling fn moves the onset, and fn at onset stays"
PLACEBO, RATE = "fn varies less at onset than at a fixed epoch", "conditions change the onset"
NEEDS: list[tuple[str, str, list[ImportedRun], list[ImportedRun], Callable[[Sequence[Result]], bool]]] = [
    ("threshold", "cannot be claimed with 2 runs of 1 condition (needs 3)", decays(2), decays(3), judges_the_cv),
    ("threshold", "a fixed epoch needs 4 runs to be tested, not 3", decays(3), decays(4), has_p("placebo_cv")),
    ("threshold", "a fixed epoch needs 4 runs to be tested, not 3", decays(2, 1), decays(2, 2), has_p("placebo_cv")),
    ("threshold", "a further condition; that takes 3", decays(2, 2), decays(1, 1, 1), over_conditions),
    ("threshold", "two seeds in one would do", decays(1, 1), decays(2, 1), has_p("invariance")),
    ("claims", "2 runs with an onset: the spread needs 3", decays(2), decays(3), shows("1", "CV below 8%")),
    ("claims", "3 runs with an onset: to compare with fn", decays(3), decays(4), shows("1", PLACEBO)),
    ("claims", "2 eps to eps/2, and 2 are needed", decays(1), decays(2), shows("1", "fn* does not depend on eps")),
    ("claims", "takes two of two runs each", decays(2, 1), decays(2, 2), shows("2", RATE)),
    ("claims", "takes two seeds that collapsed as they were", rescaled(1), rescaled(2), shows("1", CLOCK)),
    ("claims", "fewer than 3 conditions", decays(2, 2), decays(1, 1, 1), shows("3", NEW)),
    ("claims", "2 runs with an onset; a lead needs 3", decays(2), decays(3), shows("3", PRECEDES)),
    (
        "claims",
        "3 alarms: to compare the forecast with guessing",
        decays(3),
        decays(4),
        shows("3", GUESSING),
    ),
    ("claims", "the alarm of fn with others: that takes 4", decays(3), decays(4), shows("3", BEATS_ALARMS)),
    (
        "claims",
        "takes two onsets at every width",
        widths(2, 2, 1),
        widths(2, 2, 2),
        shows("6d", SHIFT),
    ),
    ("lead", "2 runs with an onset; a lead needs 3", decays(2), decays(3), limits("lead")),
    (
        "lead",
        "skill needs 4 runs that can be compared, not 3",
        decays(3),
        decays(4),
        has_p("skill", **PRIMARY),
    ),
    ("forecast", "2 runs with an onset; a contest of rules needs 3", decays(2), decays(3), has_a_winner),
    ("depth", "needs 3 values with two runs each", depths(2, 2, 1), depths(2, 2, 2), has_p("non_monotone")),
    ("width", "needs 3 values", widths(3, 3), widths(1, 1, 1), has_p("trend")),
    ("width", "takes two onsets at every width", widths(2, 1), widths(2, 2), limits("fn_shift")),
    ("activation", "needs two values with two runs each", activations(2, 1), activations(2, 2), has_p("speed")),
    ("activation", "needs two values with two onsets each", activations(2, 1), activations(2, 2), has_p("joint")),
    ("weight-decay", "two runs at the smallest value", decays(1, 2, 1, 2), decays(2, 2, 1, 1), has_p(SLOW)),
    ("weight-decay", "and at another below the largest", decays(3, 1, 1, 2), decays(2, 1, 2, 1), has_p(SLOW)),
    (
        "additivity",
        "two values of arch and two of dataset",
        cells(2, 1, 2),
        cells(2, 2, 2),
        has_p("interaction_log"),
    ),
    ("additivity", "two runs in each cell make it testable", cells(2, 2, 1), cells(2, 2, 2), has_p("interaction_raw")),
    (
        "attractor",
        "1 seed with every arm; two are the least",
        rescaled(1),
        rescaled(2),
        has_p("log_ratio"),
    ),
]


@pytest.mark.parametrize(
    ("question", "says", "few", "enough", "answers"), NEEDS, ids=[f"{question}: {says}" for question, says, *_ in NEEDS]
)
def test_what_is_needed_is_what_it_takes(
    ask: Ask,
    question: str,
    says: str,
    few: list[ImportedRun],
    enough: list[ImportedRun],
    answers: Callable[[Sequence[Result]], bool],
) -> None:
    before, after = (ask(runs, question) for runs in (few, enough))
    assert any(says in text for text in texts(before)), list(texts(before))
    assert not answers(before)
    assert not any(says in text for text in texts(after))
    assert answers(after)


SHAPES = ((3,), (9,), (2, 2), (3, 1, 2), (1, 1, 1, 1), (5, 5, 5))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("less", "verdict"), [(0.999, "supported"), (1.001, "inconclusive")])
def test_a_sample_as_even_as_needed_shows_a_small_cv(shape: tuple[int, ...], less: float, verdict: str) -> None:
    """The same runs, with their norms drawn together or apart until their CV is the one that was asked for."""
    conditions = np.repeat(np.arange(len(shape)), shape)
    logs = np.random.default_rng(sum(shape)).normal(0, 0.05, len(conditions))
    loud = estimate_threshold(np.exp(logs), conditions, 0.95)
    draw_together = log_sd(less * loud.cv_needed) / log_sd(loud.cv.estimate)
    found = estimate_threshold(np.exp(draw_together * logs), conditions, 0.95)
    assert found.cv.estimate == pytest.approx(less * loud.cv_needed)
    assert found.cv_needed == pytest.approx(loud.cv_needed)
    assert (found.cv_upper < CV_CLAIM) == (found.p_below <= 0.05) == (verdict == "supported")


@pytest.mark.parametrize(
    ("others", "says", "status"),
    [
        ((1,), "1 other run of the pair collapsed after epoch 40; a forecast needs 2", "insufficient"),
        (
            (2,),
            "no other run of this condition collapsed later, and 1 other condition: how much",
            "forecast",
        ),
        (
            (1, 1),
            "no other run of this condition collapsed later, and 2 other conditions: how much",
            "forecast",
        ),
        ((1, 1), "there is no interval (it takes 3 conditions", "forecast"),
        ((1, 1, 1), None, "forecast"),
    ],
)
def test_a_forecast_has_the_runs_and_conditions_that_it_needs(
    tmp_path: Path, others: tuple[int, ...], says: str | None, status: str
) -> None:
    asked = collapsing("asked", 99, {"weight_decay": 1e-3})
    asked = replace(asked, epochs=asked.epochs[: 40 // STEP])
    with open_store(str(tmp_path / "a.db"), write=True) as store:
        import_runs(store, [*decays(*others), asked])
        found = forecast_stored(store, "asked", Terms())
    assert found.status == status
    said = " ".join([found.message, *found.warnings])
    assert says in said if says else "there is no interval" not in said
