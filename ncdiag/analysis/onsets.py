"""One row per run: when it collapsed, or why there is no onset."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd

from ncdiag.analysis.by_run import floats
from ncdiag.analysis.copies import figures_of
from ncdiag.analysis.rate_drops import after_drop
from ncdiag.analysis.trajectories import trajectories
from ncdiag.domain.onset import (
    OPEN,
    Onset,
    Reading,
    Trajectory,
    ends_near_eps,
    find_onset,
    has_relapsed,
    read_onset,
    went_on,
)
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.domain.records import RunStatus
from ncdiag.domain.statistics import BoolArray, FloatArray

# The fields of an Onset, under the names that they have beside the columns of a run.
_NAMES = {
    "epoch": "onset",
    "feature_norm": "fn_star",
    "train_accuracy": "onset_accuracy",
    "phase": "onset_phase",
    "loss": "onset_loss",
    "index": "onset_index",
}
ONSET_COLUMNS = {_NAMES.get(f.name, f.name): f.name for f in fields(Onset)}
NORM_COLUMNS = tuple(_NAMES[name] for name in Reading._fields)
# Columns of the epochs that an onset and what frames it are found from, besides the metric of the rule.
EPOCHS_OF_ONSETS = ("run", "epoch", "phase", "loss", "lr", "feature_norm", "train_accuracy", "nonfinite")
_NO_DATA = Onset(state="no_data")


def onset_table(
    runs: pd.DataFrame,
    epochs: pd.DataFrame,
    rule: OnsetRule,
    found: Mapping[str, Trajectory] | None = None,
) -> pd.DataFrame:
    """Give a row per run, in the order of `runs`: its columns, then `ONSET_COLUMNS`, then what frames the onset.

    `runs` and `epochs` are the frames of the store. `state` and the epochs are those of `ncdiag.domain.onset.Onset`,
    with `onset` its epoch and `fn_star` the feature norm there; `evaluations` and `last_epoch` count what was looked
    at, `figures` is one text for runs that are copies of each other, `stop_eps` is the eps at which the run was told to
    stop, `maybe_stopped` marks a run without an onset that may have been stopped at another one, `relapsed` one that
    collapsed and is not below eps at its end, and `after_drop` is 1 where the onset follows a drop of the learning rate
    (see `rate_drops`), NaN if unknown. A run whose training ended as diverged or dead before an onset has that state.
    How a run ended says nothing of a phase after which it went on: there neither its status nor its `stop_eps` counts.
    `found` are the `trajectories` of the epochs, if they are known already.
    """
    found = trajectories(epochs, rule.metric) if found is None else found
    names = [str(name) for name in runs["run"]]
    over = [name in found and went_on(found[name], rule) for name in names]
    onsets = [find_onset(found[name], rule) if name in found else _NO_DATA for name in names]
    onsets = [
        _ended_as(onset, status) if name in found and not past else onset
        for name, onset, past, status in zip(names, onsets, over, runs["status"], strict=True)
    ]
    columns: dict[str, Any] = {
        column: [getattr(onset, field) for onset in onsets] for column, field in ONSET_COLUMNS.items()
    }
    # The same types whether or not a run has an onset, since the tables of pairs are put together.
    columns |= {name: pd.array(columns[name], dtype="Int64") for name in ("onset_index", "onset_phase")}
    # A norm that is infinite at the onset is as good as none.
    columns["fn_star"] = [norm if math.isfinite(norm) else math.nan for norm in columns["fn_star"]]
    columns["onset_loss"] = pd.Series(columns["onset_loss"], dtype=object)
    columns["evaluations"] = [len(found[name].epoch) if name in found else 0 for name in names]
    columns["last_epoch"] = [float(found[name].epoch[-1]) if name in found else np.nan for name in names]
    columns["figures"] = pd.Series(figures_of(found, names), dtype=object)
    columns["stop_eps"] = [
        np.nan if past else _stop_eps(config) for past, config in zip(over, runs["config"], strict=True)
    ]
    kept = [
        onset.state == "censored" and early and not past
        for onset, early, past in zip(onsets, _maybe_cut(runs), over, strict=True)
    ]
    columns["maybe_stopped"] = [
        end and np.isnan(stop) and ends_near_eps(found[name], rule)
        for end, stop, name in zip(kept, columns["stop_eps"], names, strict=True)
    ]
    columns["relapsed"] = [
        onset.state == "collapsed" and has_relapsed(found[name], rule)
        for onset, name in zip(onsets, names, strict=True)
    ]
    table = pd.concat([runs.reset_index(drop=True), pd.DataFrame(columns)], axis=1)
    return table.assign(after_drop=after_drop(table, epochs))


def collapsed_by(onsets: pd.DataFrame) -> FloatArray:
    """Give the epoch by which each run had collapsed: its onset, or the first evaluation of one that was below eps.

    NaN for the others.
    """
    return np.where(onsets["state"] == "left_censored", onsets["hi"], onsets["onset"]).astype(np.float64)


def ran_to_end(runs: pd.DataFrame) -> BoolArray:
    """Mark the runs that used up their budget; of those without a known one, none."""
    return _past_plan(runs) >= 0


def ended_early(runs: pd.DataFrame) -> BoolArray:
    """Mark the runs that have fewer epochs than were planned for them; of those without a plan, none."""
    return _past_plan(runs) < 0


def says_when(onsets: pd.DataFrame) -> pd.Series:
    """Mark the runs that say of some epoch of the training whether they had collapsed by then.

    One that is below eps at epoch 0 had, and one that is below from its first evaluation on, but not for long enough,
    says nothing at all.
    """
    until = onsets["hi"].where(onsets["state"] == "left_censored", onsets["censored_at"])
    return ~(onsets["state"].isin(["left_censored", *OPEN]) & (until <= 0))


def norms_at_onset(found: Mapping[str, Trajectory], names: Sequence[str], rule: OnsetRule) -> pd.DataFrame:
    """Give a row per run, `NORM_COLUMNS`: its onset and what was read there; NaN without one, or a finite norm > 0."""
    read = [read_onset(found[name], rule) if name in found else Reading() for name in names]
    known = [each if 0 < each.feature_norm < math.inf else Reading() for each in read]
    return pd.DataFrame(known, columns=list(NORM_COLUMNS))


def _ended_as(onset: Onset, status: str) -> Onset:
    """Let the end of the training decide what the rows leave open, or do not show.

    A run that diverges in its first epoch would be dropped as one without data, and its condition be judged by those
    that went well.
    """
    if onset.state not in (*OPEN, "no_data", "diverged") or status not in (RunStatus.DIVERGED, RunStatus.DEAD):
        return onset
    until = 0.0 if onset.state == "no_data" else onset.censored_at
    return replace(onset, state="diverged" if status == RunStatus.DIVERGED else "dead", censored_at=until)


def _past_plan(runs: pd.DataFrame) -> FloatArray:
    """Give how many epochs each run has beyond those planned for it, NaN without a plan."""
    return floats(runs, "epochs_done") - floats(runs, "epochs_planned")


def _maybe_cut(runs: pd.DataFrame) -> list[bool]:
    """Mark the finished imports that did not use up their budget, or of which nobody knows what it was."""
    ended = (runs["status"] == RunStatus.DONE) & (runs["origin"] == "imported")
    early: list[bool] = (ended.to_numpy(dtype=bool) & ~ran_to_end(runs)).tolist()
    return early


def _stop_eps(config: Any) -> float:
    """Give the eps at which the configuration tells a run to stop, NaN where it does not."""
    stop = config.get("stop") if isinstance(config, Mapping) else None
    return float(stop["eps"]) if isinstance(stop, Mapping) and "eps" in stop else np.nan
