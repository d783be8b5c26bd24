"""Simulated pairs of runs whose truth is known."""

import math

import numpy as np

from ncdiag.domain.course import Course
from ncdiag.domain.crossing import Curve
from ncdiag.domain.landmark import CalibrationRun, Landmark, folds_of_all

EPS = 0.01
EMPTY = Course(curves={})


def curve(epoch, values, switched=None):
    marks = np.zeros(len(epoch), dtype=bool) if switched is None else np.asarray(switched)
    return Curve(epoch=np.asarray(epoch, dtype=float), log=np.log(values), switched=marks)


def course(epoch, **observables):
    return Course(curves={name: curve(epoch, values) for name, values in observables.items()})


def exponential(rate, *, epoch=None, condition=0, norm=1.0):
    """NC1 = exp(-t / rate) with its onset at rate ln 100, and a feature norm that falls to `norm` there."""
    t = np.arange(1, 601.0) if epoch is None else epoch
    onset = rate * math.log(100)
    found = course(t, nc1=np.exp(-t / rate), feature_norm=norm * np.exp(1 - t / onset))
    return CalibrationRun(course=found, condition=condition, onset=onset, feature_norm=norm)


def landmark(runs, now, *, units=None, target=None):
    units = np.arange(len(runs)) if units is None else np.asarray(units)
    return Landmark(runs=runs, fold=folds_of_all(units), now=now, metric="nc1", log_eps=math.log(EPS), target=target)


def world(rng, kind, conditions, *, step=5.0, end=600.0):
    """Give runs of a world: onset near 200 epochs, 20 % apart between conditions and again between seeds.

    `nc1`: NC1 falls towards its onset, and fn by a clock of its own. `fn`: fn falls to fn*, and NC1 only jumps.
    `clock`: nothing that is seen depends on the onset. `shapes`: conditions are far more apart (Student's t with three
    degrees of freedom), and each has its own way down, ln NC1 as a power of the epoch.
    """
    t = np.arange(step, end + 1, step)
    apart = (lambda: 0.3 * rng.standard_t(3)) if kind == "shapes" else (lambda: 0.2 * rng.normal())
    effect = {condition: apart() for condition in sorted(set(conditions))}
    power = {condition: math.exp(0.4 * rng.normal()) if kind == "shapes" else 1.0 for condition in effect}
    runs = []
    for condition in conditions:
        onset = 200 * math.exp(effect[condition] + 0.2 * rng.normal())
        own, other = onset, 200 * math.exp(0.3 * rng.normal())
        sees = {"nc1": (own, other), "shapes": (own, other), "fn": (None, own), "clock": (None, other)}
        nc1_clock, fn_clock = sees[kind]
        down = None if nc1_clock is None else np.maximum(EPS ** ((t / nc1_clock) ** power[condition]), 1e-30)
        nc1 = np.where(t < onset, 0.2, 0.005) if down is None else down
        norm = 1 + 4 * np.exp(-t / (fn_clock / 3))
        noise = np.exp(0.05 * rng.normal(size=(2, len(t))))
        at_onset = float(np.interp(onset, t, norm))
        runs.append(
            CalibrationRun(
                course=course(t, nc1=nc1 * noise[0], feature_norm=norm * noise[1]),
                condition=condition,
                onset=onset,
                feature_norm=at_onset,
            )
        )
    return runs
