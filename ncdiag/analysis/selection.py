"""The runs that a filter lets pass."""

import pandas as pd

from ncdiag.domain.filters import COLUMNS, parse_where


def select_runs(runs: pd.DataFrame, where: str) -> pd.DataFrame:
    """Give the rows of the runs frame that fit a `--where` filter (see `ncdiag.domain.filters`); all for an empty one."""
    test = parse_where(where)
    known = runs[list(COLUMNS)].astype(object)
    return runs[[test(row) for row in known.where(known.notna(), None).to_dict("records")]]  # type: ignore[arg-type]
