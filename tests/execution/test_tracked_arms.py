"""Rescaled runs of one's own are arms of the attractor: the excess fades with a known half-life."""

import math
from pathlib import Path

import numpy as np
import pytest

import ncdiag

FADES = 15.0  # epochs by which an excess of ln fn falls by e


def test_rescaled_runs_of_ones_own_are_paired_by_seed(tmp_path: Path) -> None:
    store = str(tmp_path / "own.db")
    for seed in range(3):
        for change, factor in ((None, 1.0), ("3@20", 3.0), ("0.3@20", 0.3)):
            noise = np.random.default_rng([seed, int(10 * factor)])
            said = {"arch": "net", "dataset": "flowers", "seed": seed, "intervention": change}
            with ncdiag.track(store=store, **said) as run:
                for epoch in range(1, 121):
                    left = math.log(factor) * math.exp((20 - epoch) / FADES) if epoch > 20 else 0.0
                    norm = 2 * math.exp(left + noise.normal(0, 0.001))
                    run.log(nc1=3 * math.exp(-epoch / 12), feature_norm=norm, train_accuracy=1.0)
    found = ncdiag.analyze("attractor", store=store)
    halves = found[found["quantity"] == "half_life"]
    assert len(halves) == 2
    assert halves["estimate"].tolist() == pytest.approx([FADES * math.log(2)] * 2, rel=0.02)
