"""What a question is asked of: the runs and their epochs, the rule that says what onset is, and how sure to be."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from ncdiag.analysis.conditions import PAIR
from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.regularities import regularity_results
from ncdiag.domain.onset import OnsetRule
from ncdiag.domain.result import Result


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Runs and epochs as the store's frames give them, and the options that every question of `analyze` shares."""

    runs: pd.DataFrame
    epochs: pd.DataFrame
    rule: OnsetRule
    by: tuple[str, ...] = PAIR
    level: float = 0.95
    mix_phases: bool = False

    @cached_property
    def onsets(self) -> pd.DataFrame:
        """The onset of each run, which most questions start from; see `onset_table`."""
        return onset_table(self.runs, self.epochs, self.rule)

    @cached_property
    def regularities(self) -> list[Result]:
        """What depth, width, activation and weight decay do: one family, so all are tested together."""
        return regularity_results(self.onsets, rule=self.rule, level=self.level)
