import math

import numpy as np
import pytest

from ncdiag.domain.scatter import onset_scatter


@pytest.mark.parametrize(("noise", "fall", "patience"), [(0.07, 0.07, 1), (0.07, 0.02, 1), (0.1, 0.05, 3)])
def test_scatter_equals_that_of_simulated_runs(noise, fall, patience):
    rng, onsets = np.random.default_rng(0), []
    line = -fall * np.arange(-80, 100)
    for _ in range(4000):
        below = line + noise * rng.normal(size=len(line)) < 0
        rows = np.convolve(below, np.ones(patience), "valid") == patience
        onsets.append(int(np.argmax(rows)))
    onsets = np.array(onsets)
    expected = np.abs(onsets - np.median(onsets)).mean()
    assert onset_scatter(noise, fall, patience, between=False) == pytest.approx(expected, rel=0.05)


def interpolated(noise, fall, patience, at, rng):
    """Simulate onsets on the line from the last evaluation above eps, whose course is at eps a share after row 0."""
    line = fall * (at - np.arange(-60, 90))
    found = []
    for _ in range(3000):
        y = line + noise * rng.normal(size=len(line))
        row = int(np.argmax(np.convolve(y < 0, np.ones(patience), "valid") == patience))
        found.append(row - 1 + y[row - 1] / (y[row - 1] - y[row]))
    return np.array(found)


@pytest.mark.parametrize(
    ("noise", "fall", "patience"), [(0.02, 0.2, 3), (0.1, 0.2, 1), (0.2, 0.2, 3), (0.3, 0.1, 3), (0.2, 0.04, 5)]
)
def test_scatter_of_interpolated_onsets_equals_that_of_simulated_runs(noise, fall, patience):
    rng = np.random.default_rng(1)
    scatters = []
    for at in (0.1, 0.3, 0.5, 0.7, 0.9):
        onsets = interpolated(noise, fall, patience, at, rng)
        scatters.append(np.abs(onsets - np.median(onsets)).mean())
    found = onset_scatter(noise, fall, patience, between=True)
    assert found == pytest.approx(np.mean(scatters), rel=0.04)


def test_little_noise_moves_an_interpolated_onset_by_its_share_of_the_slope():
    # T errs by the mean of the wavers of the two evaluations, each weighted by how near it is, over the slope; the mean
    # of |z| is sqrt(2 / pi).
    place = np.linspace(0, 1, 1001)
    expected = 0.01 * np.sqrt(place**2 + (1 - place) ** 2).mean() * math.sqrt(2 / math.pi) / 0.2
    assert onset_scatter(0.01, 0.2, 3, between=True) == pytest.approx(expected, rel=0.06)


def test_without_noise_there_is_no_scatter():
    assert onset_scatter(0.0, 0.1, 3, between=False) == onset_scatter(0.0, 0.1, 3, between=True) == 0
    assert onset_scatter(1e-6, 0.1, 1, between=False) == pytest.approx(0.5, abs=0.51)
    assert onset_scatter(1e-6, 0.1, 1, between=True) < 1e-4


@pytest.mark.parametrize("fall", [0.0, -0.1, math.nan, 1e-17])  # the last one: a slope of 0, but for rounding
def test_a_metric_that_does_not_fall_has_no_scatter_that_could_be_said(fall):
    assert math.isnan(onset_scatter(0.1, fall, 1, between=True))
