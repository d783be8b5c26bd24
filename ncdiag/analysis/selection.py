"""The runs that a filter lets pass."""

import numpy as np
import pandas as pd

from ncdiag.domain.filters import COLUMNS, names_column, parse_where


def select_runs(runs: pd.DataFrame, where: str) -> pd.DataFrame:
    """Give the rows of the runs frame that fit a `--where` filter; an empty one lets all pass.

    `ncdiag.domain.filters` has the language; a mistake in it raises an `AnalysisError`.
    """
    test = parse_where(where)
    asked = [column for column in COLUMNS if names_column(where, column)]
    if not asked:
        return runs
    known = runs[asked].astype(object)
    rows = known.where(known.notna(), None).to_dict("records")
    return runs[np.array([test(row) for row in rows], dtype=np.bool_)]  # type: ignore[arg-type]  # the keys are texts


def asks_for_rescaled(where: str) -> bool:
    """Tell whether a filter asks about the rescaling of features, so that rescaled runs are not left out."""
    return names_column(where, "intervention")
