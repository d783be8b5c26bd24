"""What the questions within a pair are asked of: its runs and their epochs, and the terms on which they are."""

from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.terms import Terms
from ncdiag.analysis.trajectories import trajectories
from ncdiag.domain.onset import Trajectory
from ncdiag.domain.statistics import BoolArray


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Runs and epochs as the store's frames give them, and the terms of the questions."""

    runs: pd.DataFrame
    epochs: pd.DataFrame
    terms: Terms

    def without(self, left_out: BoolArray) -> "Asked":
        """Give the same question of the other runs."""
        if not left_out.any():
            return self
        runs = self.runs[~left_out].reset_index(drop=True)
        epochs = self.epochs[self.epochs["run"].isin(runs["run"])].reset_index(drop=True)
        return replace(self, runs=runs, epochs=epochs)

    @cached_property
    def onsets(self) -> pd.DataFrame:
        """The onset of each run, which most questions start from; see `onset_table`."""
        return onset_table(self.runs, self.epochs, self.terms.rule, self.trajectories)

    @cached_property
    def trajectories(self) -> dict[str, Trajectory]:
        """The evaluations of each run; see `ncdiag.analysis.trajectories`."""
        return trajectories(self.epochs, self.terms.rule.metric)
