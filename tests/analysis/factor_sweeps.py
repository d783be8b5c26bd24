"""Runs in which one factor varies, and what the regularities say of them."""

from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.regularities import regularity_results
from ncdiag.analysis.terms import Terms
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.domain.result import Result

VALLEY = {2: (30.0, 31.0, 32.0), 5: (20.0, 20.5, 21.0), 8: (30.0, 31.0, 33.0)}
DECAYS = {1e-5: (30.0, 31.0, 32.0), 1e-4: (20.0, 20.5, 21.0), 5e-4: (22.0, 22.5, 23.0), 1e-2: (90.0, 90.0, 90.0)}


def answers(frames, **options) -> dict[tuple[str, str], Result]:
    found = regularity_results(onset_table(*frames, OnsetRule()), Terms(**options))
    return {(result.question, result.quantity): result for result in found}


def sweep(make_run, factor, rates, norms=None, **about):
    """Runs whose NC1 falls at the rates given per level, [level] -> rates of its seeds (90 never collapses)."""
    return {
        f"{factor}-{level}-{seed}": make_run(
            rate, **{factor: level, "norm": norms[level][seed] if norms else 1.0, **about}
        )
        for level, seeds in rates.items()
        for seed, rate in enumerate(seeds)
    }
