"""Questions put to a store: which of its runs they are about, and the reading of what they need."""

from collections.abc import Sequence
from functools import partial

import pandas as pd

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.conditions import CONDITION_COLUMNS
from ncdiag.analysis.forecasts import forecast_run
from ncdiag.analysis.onsets import EPOCHS_OF_ONSETS, onset_table
from ncdiag.analysis.repeats import drop_repeats
from ncdiag.analysis.selection import select_runs
from ncdiag.analysis.survey import Survey
from ncdiag.analysis.terms import Terms
from ncdiag.domain.forecast import Forecast
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.domain.questions import QUESTIONS
from ncdiag.domain.shares import none_of
from ncdiag.errors import AnalysisError
from ncdiag.store.epochs import count_measured
from ncdiag.store.frames import epochs_frame, runs_frame
from ncdiag.store.handle import Store
from ncdiag.store.location import store_option
from ncdiag.store.runs import get_run, list_ids_like, list_runs

# What is passed on of an onset table.
_ONSET_COLUMNS = (
    *("run", "state", "onset", "lo", "hi", "fn_star", "onset_accuracy", "onset_phase", "onset_loss", "confirmed_at"),
    *("censored_at", "relapsed", "after_drop", "evaluations", "last_epoch", "stop_eps", "maybe_stopped", "status"),
    *(*CONDITION_COLUMNS, "seed", "origin"),
)


def selected_runs(store: Store, where: str = "", names: Sequence[str] | None = None) -> pd.DataFrame:
    """Give the runs frame of the runs that are named, or of all, as far as they fit the filter.

    Raises `UnknownRunError` for a name without a run, `AnalysisError` when no run is left.
    """
    ids = [get_run(store, name).id for name in names] if names else None
    runs = runs_frame(store, ids)
    if runs.empty:
        raise AnalysisError(
            f"the store {store.label} holds no runs yet.\n"
            "`ncdiag sweep --preset quickstart` trains some; `ncdiag import` takes in trajectories from files"
        )
    selected = select_runs(runs, where).reset_index(drop=True)
    if selected.empty:
        listed = f"`ncdiag runs ls{store_option(store)}` lists them"
        raise AnalysisError(f"{none_of(len(runs), 'run')} fits --where {where!r}. {listed}")
    return selected


def onsets_frame(store: Store, runs: pd.DataFrame, rule: OnsetRule) -> pd.DataFrame:
    """Give the onset of each row of the runs frame, beside its settings: columns of `onset_table`."""
    columns = tuple(dict.fromkeys((*EPOCHS_OF_ONSETS, rule.metric)))
    table = onset_table(runs, epochs_frame(store, runs["run_id"].tolist(), columns), rule)
    return table.astype({"after_drop": "boolean"})[list(_ONSET_COLUMNS)]


def survey_store(store: Store, terms: Terms, questions: Sequence[str] = QUESTIONS) -> Survey:
    """Give the survey of the runs that fit the filter, each trajectory once; it needs the store to be open."""
    selected = selected_runs(store, terms.where)
    runs = drop_repeats(selected, partial(count_measured, store, terms.rule.metric))
    return Survey(
        runs=runs,
        read=partial(epochs_frame, store),
        terms=terms,
        questions=tuple(questions),
        paths=data_paths(store, runs) if "claims" in questions else {},
        repeats=len(selected) - len(runs),
    )


def forecast_stored(store: Store, run: str, terms: Terms) -> Forecast:
    """Forecast the onset of a run from those runs of its pair that fit the filter; see `forecast_run`."""
    stored = [column for column in terms.by if column.partition(".")[0] != "other"]  # which is no column of the store
    pair = runs_frame(store, list_ids_like(store, get_run(store, run), stored))
    chosen = pair[pair["run"].isin([run, *select_runs(pair, terms.where)["run"]])].reset_index(drop=True)
    # a run cannot be forecast from itself
    kept = drop_repeats(chosen, partial(count_measured, store, terms.rule.metric), keep=run)
    epochs = epochs_frame(store, kept["run_id"].tolist())
    return forecast_run(Asked(runs=kept, epochs=epochs, terms=terms, repeats=len(chosen) - len(kept)), run)


def data_paths(store: Store, runs: pd.DataFrame) -> dict[str, str]:
    """Give where the user's own data lay when it was last trained on, by its SHA-256."""
    own = [
        (row_id, data["sha256"])
        for row_id, config in zip(runs["run_id"], runs["config"], strict=True)
        if isinstance(data := config.get("data"), dict) and data.get("sha256")
    ]
    latest = {sha256: int(row_id) for row_id, sha256 in own}
    paths = {run.id: run.data.get("path") for run in list_runs(store, list(latest.values()))} if latest else {}
    return {sha256: str(paths[row_id]) for sha256, row_id in latest.items() if paths.get(row_id)}
