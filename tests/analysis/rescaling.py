"""Runs whose features were rescaled after epoch 20, and what `analyze attractor` finds in them."""

import math

import numpy as np

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.attractor import attractor_family, attractor_results
from ncdiag.analysis.families import with_holm
from ncdiag.analysis.terms import Terms

START, HALF_LIFE = 20, 8.0


def attractor(frames, level=0.95):
    found = attractor_results(Asked(runs=frames[0], epochs=frames[1], terms=Terms(level=level)))
    return with_holm(found, attractor_family)


def branch(make_run, seed, log_alpha, *, offset=0.0, level=1.0, suffix="", half_life=HALF_LIFE, **about):
    """A run whose ln fn was shifted by ln alpha after epoch 20, and decays to `offset` above its undisturbed curve."""
    run = make_run(15.0 + seed / 10, epochs=300, seed=seed, **about)
    t = np.array(run["epoch"])
    log = math.log(level) + 0.5 * np.exp(-t / 15)
    after = t > START
    log[after] += offset + (log_alpha - offset) * 2.0 ** (-(t[after] - START) / half_life)
    run["feature_norm"] = np.exp(log).tolist()
    if log_alpha:
        run["intervention"] = f"{math.exp(log_alpha):.6g}@{START}{suffix}"
    return run


def experiment(make_run, offsets, *, back=True, first=0, **about):
    """Controls and both arms for each seed from `first` on, with the shifts that stay in up and down."""
    runs = {}
    for seed, (up, down) in enumerate(offsets, start=first):
        half_life = HALF_LIFE * (0.9 + 0.05 * seed) if back else 1e9
        for name, shift, stays in (("c", 0.0, 0.0), ("u", math.log(3), up), ("d", -math.log(3), down)):
            level = 1 + 0.02 * seed + (0 if back or name == "c" else 0.01 * seed**2)
            runs[f"{name}{seed}"] = branch(
                make_run, seed, shift, offset=stays, level=level, half_life=half_life, **about
            )
    return runs


BACK = [(0.01, -0.01), (-0.01, 0.015), (0.012, 0.004), (-0.004, -0.012), (0.003, 0.008)]
