"""The course of each run: every stored observable that says how far the run has come."""

import pandas as pd

from ncdiag.analysis.curves import observable_curves
from ncdiag.domain.course import Course
from ncdiag.domain.records import OBSERVED

COURSES = (*OBSERVED, "train_loss", "train_accuracy")


def run_courses(epochs: pd.DataFrame, metric: str) -> dict[str, Course]:
    """Give the course of each run in the frame of the store, with the observables that were measured in it.

    The `metric` that decides the onset is one of them, also where it is none otherwise, as that of a test set.
    """
    names = dict.fromkeys((*COURSES, metric))
    measured = [name for name in names if name in epochs and epochs[name].notna().any()]
    curves = observable_curves(epochs, measured)
    return {
        str(run): Course(curves={name: curves[name][run] for name in measured if len(curves[name][run].epoch)})
        for run in epochs["run"].unique()
    }
