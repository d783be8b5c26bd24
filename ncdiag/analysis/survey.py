"""All questions at once, a pair at a time: what is in memory follows the largest pair, not the store.

Onsets, leads and interventions are matters of one pair, whose epochs are read, used and let go. What is left of them
is a row per run, on which the questions across pairs are asked, and results, on which the claims are judged.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from ncdiag.analysis.additivity import additivity_results
from ncdiag.analysis.asked import Asked
from ncdiag.analysis.attractor import attractor_family, attractor_results
from ncdiag.analysis.branches import is_rescaled, rescaled_beside_others, say_left_out
from ncdiag.analysis.claims import claim_results
from ncdiag.analysis.conditions import group_numbers, with_grouping
from ncdiag.analysis.courses import COURSES
from ncdiag.analysis.families import with_holm
from ncdiag.analysis.invariance import invariance_results
from ncdiag.analysis.lead_data import ALARMS
from ncdiag.analysis.leads import lead_family, lead_results
from ncdiag.analysis.onsets import EPOCHS_OF_ONSETS
from ncdiag.analysis.regularities import regularity_results
from ncdiag.analysis.terms import Terms
from ncdiag.analysis.threshold_checks import threshold_check_results
from ncdiag.analysis.thresholds import threshold_results
from ncdiag.analysis.tournament import forecast_family, forecast_results
from ncdiag.domain.questions import FACTORS, QUESTIONS
from ncdiag.domain.result import Result
from ncdiag.domain.statistics import BoolArray

# Reads some columns of the epochs of some runs, given by their ids.
ReadEpochs = Callable[[Sequence[int], Sequence[str]], pd.DataFrame]


_FOR_CLAIMS = frozenset(QUESTIONS) - {"forecast"}  # no claim of the abstract is about the other rules


def _threshold(asked: Asked) -> list[Result]:
    return [
        *threshold_results(asked.onsets, asked.trajectories, asked.terms),
        *threshold_check_results(asked),
        *invariance_results(asked.onsets, asked.terms),
    ]


_WITHIN_PAIRS: dict[str, Callable[[Asked], list[Result]]] = {
    "threshold": _threshold,
    "lead": lead_results,
    "forecast": forecast_results,
    "attractor": attractor_results,
}
# The tests of all pairs that Holm corrects together, once all are known.
_FAMILIES: dict[str, Callable[[Result], str | None]] = {
    "lead": lead_family,
    "forecast": forecast_family,
    "attractor": attractor_family,
}


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Runs, as the store's frame gives them, a way to read their epochs, and what is asked of them.

    `questions` are those that will be asked: their epochs are read once for all of them. `paths` says where the user's
    own data lies, by its SHA-256. Rescaled runs are an experiment on a pair, and no training condition of it: the
    questions about fn*, lead, forecast and grid leave them out, unless `terms.where` asks for them or a pair has no
    other runs. `repeats` counts the runs that are not among `runs` because they repeat one of them.
    """

    runs: pd.DataFrame
    read: ReadEpochs
    terms: Terms
    questions: tuple[str, ...] = QUESTIONS
    paths: Mapping[str, str] = field(default_factory=dict)
    repeats: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", with_grouping(self.runs, self.terms.by))

    @cached_property
    def left_out(self) -> BoolArray:
        """Mark the rescaled runs that the questions about fn*, lead, forecast and grid leave out."""
        return rescaled_beside_others(self.runs, self.terms)

    @property
    def onsets(self) -> pd.DataFrame:
        """The onset of each run, in the order of the runs; see `onset_table`."""
        return self._pass[0]

    @cached_property
    def results(self) -> dict[str, list[Result]]:
        """The results of each question that was asked."""
        onsets, found, found_untouched = self._pass
        if self._needs("additivity"):
            found["additivity"] = additivity_results(onsets[~self.left_out], self.terms)
        if self._needs(*FACTORS):
            regularities = regularity_results(onsets, self.terms)
            found |= {name: [result for result in regularities if result.question == name] for name in FACTORS}
        if "claims" in self.questions:
            untouched = onsets[~is_rescaled(onsets)]
            if len(untouched) < len(onsets):
                found_untouched["additivity"] = additivity_results(untouched, self.terms)
            found["claims"] = claim_results(found | found_untouched, onsets, level=self.terms.level, paths=self.paths)
        return {question: found[question] for question in self.questions}

    @cached_property
    def _pass(self) -> tuple[pd.DataFrame, dict[str, list[Result]], dict[str, list[Result]]]:
        """Go through the pairs once: the onsets of all runs, what each question found, and what of untouched runs.

        The claims are judged by untouched runs even where the rescaled ones were asked for: those tell whether fn* is
        more than a clock.
        """
        numbers = group_numbers(self.runs, self.terms.by)
        found: dict[str, list[Result]] = {question: [] for question in _WITHIN_PAIRS}
        untouched: dict[str, list[Result]] = {"threshold": [], "lead": []}
        tables = []
        for number in range(int(numbers.max(initial=-1)) + 1):
            own = numbers == number
            asked = self._ask(self.runs[own].reset_index(drop=True))
            tables.append(asked.onsets)
            kept = asked.without(self.left_out[own])
            results = {
                question: ask(asked if question == "attractor" else kept)
                for question, ask in _WITHIN_PAIRS.items()
                if self._needs(question)
            }
            for question, some in results.items():
                found[question] += _noted(some, len(asked.runs) - len(kept.runs))
            if "claims" in self.questions:
                left = kept.without(is_rescaled(kept.runs))
                for question in untouched:
                    untouched[question] += results[question] if left is kept else _WITHIN_PAIRS[question](left)
        for kind in (found, untouched):
            kind |= {question: with_holm(kind[question], _FAMILIES[question]) for question in kind.keys() & _FAMILIES}
        order = np.argsort(np.argsort(numbers, kind="stable"))
        return pd.concat(tables, ignore_index=True).iloc[order].reset_index(drop=True), found, untouched

    def _ask(self, pair: pd.DataFrame) -> Asked:
        epochs = self.read(pair["run_id"].tolist(), self._columns)
        return Asked(runs=pair, epochs=epochs, terms=self.terms)

    def _needs(self, *questions: str) -> bool:
        wanted = {*self.questions, *(_FOR_CLAIMS if "claims" in self.questions else ())}
        return not wanted.isdisjoint(questions)

    @property
    def _columns(self) -> tuple[str, ...]:
        observed = (*(ALARMS if self._needs("lead") else ()), *(COURSES if self._needs("forecast") else ()))
        return tuple(dict.fromkeys([*EPOCHS_OF_ONSETS, self.terms.rule.metric, *observed]))


def _noted(results: list[Result], count: int) -> list[Result]:
    """Say beside fn* how many rescaled runs are no part of it."""
    return [
        replace(result, warnings=(*result.warnings, say_left_out(count)))
        if count and result.quantity == "fn_star"
        else result
        for result in results
    ]
