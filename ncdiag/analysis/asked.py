"""What the questions within a pair are asked of: its runs and their epochs, and the rule that says what onset is."""

from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from ncdiag.analysis.conditions import PAIR
from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.trajectories import trajectories
from ncdiag.domain.onset import OnsetRule, Trajectory
from ncdiag.domain.statistics import BoolArray


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Runs and epochs as the store's frames give them, and the options that the questions share.

    `mix_phases` lets a grid compare cells whose onsets lie in different phases, or under different losses.
    """

    runs: pd.DataFrame
    epochs: pd.DataFrame
    rule: OnsetRule
    by: tuple[str, ...] = PAIR
    level: float = 0.95
    mix_phases: bool = False

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
        return onset_table(self.runs, self.epochs, self.rule, self.trajectories)

    @cached_property
    def trajectories(self) -> dict[str, Trajectory]:
        """The evaluations of each run; see `ncdiag.analysis.trajectories`."""
        return trajectories(self.epochs, self.rule.metric)
