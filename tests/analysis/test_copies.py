"""Runs that were taken in twice, under names, seeds or settings that hide it."""

import numpy as np
import pytest

from ncdiag.analysis.additivity import additivity_results
from ncdiag.analysis.cautions import list_cautions, list_disqualifiers
from ncdiag.analysis.copies import list_copies
from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.terms import Terms
from ncdiag.domain.onset_rule import OnsetRule


def table(make_frames, runs):
    return onset_table(*make_frames(runs), OnsetRule())


def test_a_run_under_another_name_seed_or_setting_is_a_copy(make_frames, make_run):
    runs = {"a": make_run(20.0), "b": make_run(25.0), "c": make_run(20.0), "d": make_run(20.0, weight_decay=1.0)}
    onsets = table(make_frames, runs)
    assert list_copies(onsets) == {"c": "a", "d": "a"}
    said = "2 runs have the figures of another at every evaluation (c those of a, d those of a)"
    assert f"{said}: copies of one run are not further runs; choose others with --where" in list_cautions(
        onsets, OnsetRule()
    )
    assert said in list_disqualifiers(onsets)


def test_a_copy_may_have_been_written_with_fewer_digits(make_frames, make_run):
    """Of six runs, each as float32 and with six digits as well: 12 copies, whichever of them comes first."""
    runs = {f"r{seed}": make_run(20.0 + seed / 50, norm=1 + seed / 100) for seed in range(6)}
    for name, run in list(runs.items()):
        for kind, write in (("single", lambda v: float(np.float32(v))), ("six", lambda v: float(f"{v:.6g}"))):
            runs[f"{name}-{kind}"] = run | {key: list(map(write, run[key])) for key in ("nc1", "feature_norm")}
    for order in (sorted(runs), sorted(runs, reverse=True)):
        copies = list_copies(table(make_frames, {name: runs[name] for name in order}))
        assert len(copies) == 12
        assert all(copy[:2] == other[:2] for copy, other in copies.items())


@pytest.mark.parametrize("column", ["epoch", "nc1", "feature_norm"])
def test_what_differs_once_in_its_fourth_digit_is_no_copy(make_frames, make_run, column):
    other = make_run(20.0)
    other[column] = [*other[column][:-1], other[column][-1] * (1 + 1e-4) if column != "epoch" else 1000]
    assert list_copies(table(make_frames, {"a": make_run(20.0), "b": other})) == {}


def test_a_few_figures_may_agree_by_chance(make_frames, make_run):
    for epochs, copies in ((2, {}), (3, {"b": "a"})):
        runs = {name: make_run(20.0, epochs=epochs) for name in "ab"}
        assert list_copies(table(make_frames, runs)) == copies


def test_runs_without_figures_are_no_copies(make_frames):
    assert list_copies(table(make_frames, {"a": {}, "b": {}})) == {}


def test_copies_without_an_onset_forbid_a_verdict_as_well(make_frames, make_run):
    """One run that does not collapse, stored under five seeds, would show that its depth prevents collapse."""
    runs = {
        f"{depth}-{seed}": make_run(20.0 + seed + 4 * depth, depth=depth, seed=seed)
        for depth in (2, 3)
        for seed in range(4)
    }
    runs |= {f"9-{seed}": make_run(200.0, depth=9, seed=seed) for seed in range(5)}
    onsets = table(make_frames, runs)
    assert set(onsets["state"]) == {"collapsed", "censored"}
    said = "4 runs have the figures of another at every evaluation (9-1 those of 9-0, "
    assert any(reason.startswith(said) for reason in list_disqualifiers(onsets))
    assert any(caution.startswith(said) for caution in list_cautions(onsets, OnsetRule()))


def test_a_grid_of_copies_gets_no_verdict(make_frames, make_run):
    runs = {
        f"{arch}-{data}-{seed}": make_run(20.0 + seed + 5 * (data == "cifar10"), arch=arch, dataset=data, seed=seed)
        for arch in ("mlp", "cnn")
        for data in ("mnist", "cifar10")
        for seed in range(3)
    }
    results = additivity_results(table(make_frames, runs), Terms())
    (verdict,) = [result for result in results if result.quantity == "verdict"]
    assert any(reason.startswith("6 runs have the figures of another") for reason in verdict.extra["blocked"])
