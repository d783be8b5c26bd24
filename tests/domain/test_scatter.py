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
    assert onset_scatter(noise, fall, patience) == pytest.approx(expected, rel=0.05)


def test_without_noise_there_is_no_scatter():
    assert onset_scatter(0.0, 0.1, 3) == 0
    assert onset_scatter(1e-6, 0.1, 1) == pytest.approx(0.5, abs=0.51)


@pytest.mark.parametrize("fall", [0.0, -0.1, math.nan])
def test_a_metric_that_does_not_fall_has_no_scatter_that_could_be_said(fall):
    assert math.isnan(onset_scatter(0.1, fall, 1))
