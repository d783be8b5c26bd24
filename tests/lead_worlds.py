"""Runs whose fn falls steadily, each on its own clock, and what `analyze lead` finds of them."""

import math

import numpy as np

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.leads import lead_results
from ncdiag.analysis.terms import Terms
from ncdiag.domain.onset_rule import OnsetRule


def leads(frames, rule=None):
    return lead_results(Asked(runs=frames[0], epochs=frames[1], terms=Terms(rule=rule or OnsetRule())))


def world(make_run, rates, slopes, norms=None, **about):
    """Runs with onset rate x ln 100 and ln fn = ln norm - slope (t - onset): each run's own clock and fall."""
    runs = {}
    for i, (rate, slope) in enumerate(zip(rates, slopes, strict=True)):
        run = make_run(rate, **{key: value[i] for key, value in about.items()})
        t, onset = np.array(run["epoch"]), rate * math.log(100)
        run["feature_norm"] = ((1 if norms is None else norms[i]) * np.exp(-slope * (t - onset))).tolist()
        runs[str(i)] = run
    return runs


RATES = np.array([16.0, 18, 20, 22, 24, 26])
