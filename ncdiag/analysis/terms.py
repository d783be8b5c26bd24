"""On what terms a question is asked: which runs it is about, and what its words mean."""

from dataclasses import dataclass, field

from ncdiag.analysis.conditions import check_grouping
from ncdiag.domain.filters import ALIASES, parse_where
from ncdiag.domain.levels import check_level
from ncdiag.domain.naming import PAIR
from ncdiag.domain.onset_rule import OnsetRule


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The options that all questions share, with their defaults.

    `where` is the filter that chooses the runs, `rule` says what counts as onset, `by` what makes a pair, `level` how
    sure intervals are. `mix_phases` lets a grid compare cells whose onsets lie in different phases, or under different
    losses.
    """

    where: str = ""
    rule: OnsetRule = field(default_factory=OnsetRule)
    by: tuple[str, ...] = PAIR
    level: float = 0.95
    mix_phases: bool = False

    def __post_init__(self) -> None:
        parse_where(self.where)
        object.__setattr__(self, "by", tuple(dict.fromkeys(ALIASES.get(column, column) for column in self.by)))
        check_grouping(self.by)
        check_level(self.level)
