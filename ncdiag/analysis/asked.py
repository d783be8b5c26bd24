"""What the questions within a pair are asked of: its runs and their epochs, and the terms on which they are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from ncdiag.analysis.branches import rescaled_beside_others
from ncdiag.analysis.conditions import with_grouping
from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.repeats import drop_repeats
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
    repeats: int = 0  # runs that are not among them, because they repeat one that is

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", with_grouping(self.runs, self.terms.by))

    @cached_property
    def counted(self) -> "Asked":
        """The same question of the runs that count, each trajectory once; see `drop_repeats`."""
        return self._of(drop_repeats(self.runs, self.count_evaluations))

    @cached_property
    def untouched(self) -> "Asked":
        """The same question of the runs that count, but for rescaled ones; see `rescaled_beside_others`."""
        return self.counted.without(rescaled_beside_others(self.counted.runs, self.terms))

    def without(self, left_out: BoolArray) -> "Asked":
        """Give the same question of the other runs."""
        return self._of(self.runs[~left_out].reset_index(drop=True)) if left_out.any() else self

    def _of(self, runs: pd.DataFrame) -> "Asked":
        epochs = self.epochs[self.epochs["run"].isin(runs["run"])].reset_index(drop=True)
        return replace(self, runs=runs, epochs=epochs)

    def count_evaluations(self, run_ids: Sequence[int]) -> Mapping[int, int]:
        """Give, by run id, how often the metric of the onset was measured in some runs; those without are missing."""
        measured = self.epochs["run_id"].isin(run_ids) & self.epochs[self.terms.rule.metric].notna()
        return Counter(self.epochs.loc[measured, "run_id"].tolist())

    def read(self, run_ids: Sequence[int], columns: Sequence[str]) -> pd.DataFrame:
        """Give some columns of the epochs of some runs, as a `Survey` asks for them."""
        return self.epochs.loc[self.epochs["run_id"].isin(run_ids), list(columns)].reset_index(drop=True)

    @cached_property
    def onsets(self) -> pd.DataFrame:
        """The onset of each run, which most questions start from; see `onset_table`."""
        return onset_table(self.runs, self.epochs, self.terms.rule, self.trajectories)

    @cached_property
    def trajectories(self) -> dict[str, Trajectory]:
        """The evaluations of each run; see `ncdiag.analysis.trajectories`."""
        return trajectories(self.epochs, self.terms.rule.metric)
