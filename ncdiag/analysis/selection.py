"""The runs that a filter lets pass."""

import numpy as np
import pandas as pd

from ncdiag.analysis.conditions import with_own_settings
from ncdiag.domain.filters import named_columns, parse_where


def select_runs(runs: pd.DataFrame, where: str) -> pd.DataFrame:
    """Give the rows of the runs frame that fit a `--where` filter; an empty one lets all pass.

    `ncdiag.domain.filters` has the language; a mistake in it raises an `AnalysisError`.
    """
    test = parse_where(where)
    asked = sorted(named_columns(where))
    if not asked:
        return runs
    known = with_own_settings(runs, asked)[asked].astype(object)
    rows = known.where(known.notna(), None).to_dict("records")
    return runs[np.array([test(row) for row in rows], dtype=np.bool_)]  # type: ignore[arg-type]  # the keys are texts


def asks_for_rescaled(where: str) -> bool:
    """Tell whether a filter asks about the rescaling of features, so that rescaled runs are not left out."""
    return "intervention" in named_columns(where)
