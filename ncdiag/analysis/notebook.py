"""What the command line says, as DataFrames: for notebooks, and for scripts that go on computing.

Every function takes a `store` (a path or URL; by default $NCDIAG_STORE, else `ncdiag.db` here) and means by `where`,
`eps`, `by` and the other names what the options of the command line mean by them. All raise an `NCDiagError` with what
was found, what was expected and what to do.
"""

import os
import warnings
from collections.abc import Sequence
from typing import Literal, TypedDict, Unpack

import pandas as pd

from ncdiag.analysis.branches import say_left_out
from ncdiag.analysis.repeats import say_repeats
from ncdiag.analysis.stored import forecast_stored, onsets_frame, selected_runs, survey_store
from ncdiag.analysis.terms import Terms
from ncdiag.domain.forecast import Forecast
from ncdiag.domain.naming import PAIR
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.domain.questions import OF_UNTOUCHED, QUESTIONS
from ncdiag.domain.result import ROW_COLUMNS, flat_row
from ncdiag.domain.spec import check_choice
from ncdiag.domain.words import nearest, split_columns
from ncdiag.store.engine import open_store
from ncdiag.store.frames import epochs_frame
from ncdiag.store.location import default_location

StoreLocation = str | os.PathLike[str] | None


class OnsetOptions(TypedDict, total=False):
    """What counts as onset, as the options of the command line say it; see `OnsetRule` for what each means."""

    eps: float
    metric: str
    patience: int
    rule: Literal["sustained", "first"]
    phase: int | Literal["any"] | None


def read_runs(store: StoreLocation = None, *, where: str | None = None) -> pd.DataFrame:
    """Give a row per run, with the columns of `ncdiag export runs`; `status` is the one that is true now."""
    with open_store(_location(store)) as opened:
        return selected_runs(opened, where or "")


def read_epochs(store: StoreLocation = None, *, where: str | None = None) -> pd.DataFrame:
    """Give a row per evaluated epoch of the runs that fit, with the columns of `ncdiag export epochs`.

    What was measured as NaN or infinite is so, and named in `nonfinite`; what was not measured is NaN or None.
    """
    with open_store(_location(store)) as opened:
        return epochs_frame(opened, selected_runs(opened, where or "")["run_id"].tolist())


def read_onsets(
    store: StoreLocation = None,
    *,
    where: str | None = None,
    **onset: Unpack[OnsetOptions],
) -> pd.DataFrame:
    """Give a row per run: how it ended, when it collapsed and at what feature norm, beside its settings.

    The columns are those of `ncdiag export onsets`; see `ncdiag.domain.onset.Onset`. Every run has a row, also one
    that repeats another.
    """
    with open_store(_location(store)) as opened:
        return onsets_frame(opened, selected_runs(opened, where or ""), _rule(onset))


def analyze(
    question: str,
    store: StoreLocation = None,
    *,
    where: str | None = None,
    by: str | Sequence[str] = PAIR,
    level: float = 0.95,
    mix_phases: bool = False,
    **onset: Unpack[OnsetOptions],
) -> pd.DataFrame:
    """Give what the runs show on a question of `ncdiag analyze`, a row per result, as `--format csv` does.

    `warnings` is a list in each row: what to keep in mind. Runs that are left out are told by a Python warning.
    """
    check_choice("question", question, QUESTIONS)
    terms = _terms(where, _rule(onset), by, level, mix_phases=mix_phases)
    with open_store(_location(store)) as opened:
        survey = survey_store(opened, terms, (question,))
        rows = [flat_row(result.to_dict()) for result in survey.results[question]]
    if survey.repeats:
        warnings.warn(f"{say_repeats(survey.repeats)}: not counted", stacklevel=2)
    if question in OF_UNTOUCHED and survey.left_out.any():
        warnings.warn(say_left_out(int(survey.left_out.sum())), stacklevel=2)
    return pd.DataFrame(rows, columns=None if rows else ROW_COLUMNS)


def predict(
    run: str,
    store: StoreLocation = None,
    *,
    where: str | None = None,
    by: str | Sequence[str] = PAIR,
    level: float = 0.95,
    **onset: Unpack[OnsetOptions],
) -> Forecast:
    """Forecast the epoch at which a run collapses, as `ncdiag predict` does; the run may be training."""
    terms = _terms(where, _rule(onset), by, level)
    with open_store(_location(store)) as opened:
        return forecast_stored(opened, run, terms)


def _location(store: StoreLocation) -> str:
    return default_location() if store is None else os.fspath(store)


def _rule(said: OnsetOptions) -> OnsetRule:
    unknown = [name for name in said if name not in OnsetOptions.__annotations__]
    if unknown:
        known = ("where", "by", "level", *OnsetOptions.__annotations__)
        raise TypeError(f"{unknown[0]!r} is no option{nearest(unknown[0], known)}; there are {', '.join(known)}")
    if said.get("phase") == "any":
        said = {**said, "phase": None}
    return OnsetRule(**said)  # type: ignore[arg-type]  # which it checks


def _terms(
    where: str | None, rule: OnsetRule, by: str | Sequence[str], level: float, *, mix_phases: bool = False
) -> Terms:
    columns = split_columns(by) if isinstance(by, str) else by
    return Terms(where=where or "", rule=rule, by=tuple(columns), level=level, mix_phases=mix_phases)
