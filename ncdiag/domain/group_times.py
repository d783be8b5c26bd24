"""Whether groups of runs collapse at different times, be some of them without an onset, or more alike than others."""

import numpy as np

from ncdiag.domain.group_tests import one_way
from ncdiag.domain.permutations import generator_of
from ncdiag.domain.statistics import BoolArray, FloatArray, IntArray, has_company
from ncdiag.domain.survival import logrank_of_groups


def differ_in_time(time: FloatArray, event: BoolArray, group: IntArray) -> tuple[float, str]:
    """Give the p that groups differ in when their runs collapse, and the statistic; NaN where no test can be made.

    `time` (runs,) is the onset, or the end of a run without one (`event` is False), infinite of one that never
    collapses. A group of one run takes no part. Where all others have an onset, the statistic is Welch's F of ln T,
    else it is the logrank scores, by relabelling. That takes the runs of all groups for alike: where one varies three
    times as much as the others, and a budget cuts a few of its runs, it errs in 12 to 24 %. So the p of Welch's F, with
    the end of a run for its onset (the last time of any for one that never collapses), counts if it is larger.
    """
    taken = has_company(group)
    time, event, group = time[taken], event[taken], group[taken]
    if event.all():
        logs = np.log(time)
        return one_way(logs, group, generator_of(logs)).p, "Welch's F of ln onset over conditions"
    p, named = logrank_of_groups(time, event, group, generator_of(time)), "logrank scores of all runs over conditions"
    if np.isnan(p):
        return p, named
    logs = np.log(np.minimum(time, time[np.isfinite(time)].max()))
    return float(np.fmax(p, one_way(logs, group, generator_of(logs)).p)), f"{named}, or Welch's F if its p is larger"


def sizes_of_several(group: IntArray) -> IntArray:
    """Give the number of runs of each group of several, in the order of their numbers; the others take no part."""
    sizes: IntArray = np.bincount(group)
    return sizes[sizes > 1]
