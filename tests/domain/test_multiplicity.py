import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from ncdiag.domain.multiplicity import holm


def test_the_analytic_cases():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = holm(np.array([0.01, np.nan, 0.03]))
    assert found[[0, 2]] == pytest.approx([0.02, 0.03])
    assert np.isnan(found[1])


def test_holm_agrees_with_statsmodels():
    p = np.random.default_rng(1).uniform(0, 0.4, 20)
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_an_empty_family():
    assert len(holm(np.array([]))) == 0
    assert np.isnan(holm(np.array([np.nan]))).all()
