"""The claims of the abstract of arXiv 2604.00230, one by one: what was published, what the runs show, what is missing.

Nothing is computed here: the figures are those of the other questions, the rules those of `ncdiag.analysis.evidence`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pandas as pd

from ncdiag.analysis.evidence import Evidence, Judgement, Results, combine, judge_all
from ncdiag.analysis.factor_claims import decides, not_additive, three_regimes, turns, wider_is_faster
from ncdiag.analysis.next_runs import NextRuns
from ncdiag.analysis.pair_claims import CLOCK, announced, one_norm, returns, same_norm
from ncdiag.domain.levels import alpha_of
from ncdiag.domain.result import Result

QUESTION = "claims"
COMMANDS = ("command", "second_command")
Suggest = Callable[[NextRuns, Evidence], tuple[str, str]]  # what to run, and what else; empty where there is nothing


def _conditions_or_rescaling(runs: NextRuns, one: Evidence) -> tuple[str, str]:
    """Suggest more conditions, and a rescaling where that is missing, too, or alone."""
    open_parts = [part for part in one.parts if not part.shown]
    rescaling = next((part for part in open_parts if part.name == CLOCK), None)
    if rescaling and len(open_parts) == 1:
        return runs.intervention(one.group), ""
    untested = rescaling is not None and rescaling.shown is None
    return runs.conditions(one.group), runs.intervention(one.group) if untested else ""


def _conditions(runs: NextRuns, one: Evidence) -> tuple[str, str]:
    return runs.conditions(one.group, 5), ""


def _rescaling(runs: NextRuns, one: Evidence) -> tuple[str, str]:
    usual = "" if runs.none_of_ours else "ncdiag sweep --preset intervention"
    return runs.intervention(one.group, one.source) or usual, ""


def _grid(runs: NextRuns, _: Evidence) -> tuple[str, str]:
    return runs.grid(), ""


def _levels(factor: str, runs: NextRuns, one: Evidence) -> tuple[str, str]:
    return runs.levels(factor, one.group), ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim: its number, what it says, short for a table and in full, the published figure, and what bears on it.

    `here` says what our figure is, with `{sure}` for the confidence asked for and `{equal}` for that of an interval of
    a test of equality; `nothing` says why there is none where no runs bear on it, and `suggest` what to run then, or
    to have it firmer.
    """

    number: str
    short: str
    says: str
    published: str
    here: str
    gather: Callable[[Results, float], Iterator[Evidence]]
    nothing: str
    suggest: Suggest


CLAIMS = (
    Claim(
        number="1",
        short="collapse at one norm fn*",
        says="neural collapse occurs when the feature norm reaches a value fn* of the pair, with a CV below 8%",
        published="CV < 8%",
        here="the CV of fn* and its upper {sure} bound, or the figure that refutes one norm",
        gather=one_norm,
        nothing="no pair of runs",
        suggest=_conditions_or_rescaling,
    ),
    Claim(
        number="2",
        short="fn* same in all conditions",
        says="training conditions change how fast the feature norm approaches fn*, not fn* itself",
        published="same fn*",
        here="how far a condition's fn* may be from the mean, or is at least, a {sure} bound",
        gather=same_norm,
        nothing="no pair of runs",
        suggest=_conditions_or_rescaling,
    ),
    Claim(
        number="3",
        short="fn* crossed before collapse",
        says="the feature norm falls below fn* before collapse, so that it forecasts the onset",
        published="62, MAE 24",
        here="mean lead (<= if runs ended before the alarm) and error of the forecast in epochs, out of sample, by an "
        "alarm at 1.25 fn*",
        gather=announced,
        nothing="no pair of runs",
        suggest=_conditions,
    ),
    Claim(
        number="4",
        short="rescaled features return",
        says="features that are rescaled return to the same norm, whichever way they were scaled",
        published="p > .2",
        here="fn scaled up over fn scaled down, at the end, with its {equal} interval",
        gather=returns,
        nothing="no run was rescaled that has a sibling without",
        suggest=_rescaling,
    ),
    Claim(
        number="5",
        short="fn* of a grid is no sum",
        says="fn* is no sum (and no product) of a part for the architecture and a part for the data set",
        published="+458%, +68%",
        here="the largest ratio of ratios, with its {sure} interval; 1 is a product",
        gather=not_additive,
        nothing="no grid",
        suggest=_grid,
    ),
    Claim(
        number="6a",
        short="depth: the onset turns",
        says="collapse speed is not monotone in depth",
        published="a turn",
        here="onset at the turn over the first, and the last over it",
        gather=turns,
        nothing="no runs that differ in depth alone",
        suggest=partial(_levels, "depth"),
    ),
    Claim(
        number="6b",
        short="activation: onset and fn*",
        says="the activation decides both when a network collapses and at which fn*",
        published="both differ",
        here="the largest over the smallest",
        gather=decides,
        nothing="no runs that differ in activation alone",
        suggest=partial(_levels, "activation"),
    ),
    Claim(
        number="6c",
        short="weight decay: three regimes",
        says="too little weight decay slows collapse, a middle range is fastest, too much prevents it",
        published="3 regimes",
        here="how many of the three parts are shown",
        gather=three_regimes,
        nothing="no runs that differ in weight decay alone",
        suggest=partial(_levels, "weight_decay"),
    ),
    Claim(
        number="6d",
        short="width: earlier, same fn*",
        says="wider networks collapse steadily earlier, and width moves fn* by at most 13%",
        published="fn* <= 13%",
        here="change of the onset per doubling, and shift of fn*",
        gather=wider_is_faster,
        nothing="no runs that differ in width alone",
        suggest=partial(_levels, "width"),
    ),
)


def claim_results(found: Results, onsets: pd.DataFrame, *, level: float, paths: Mapping[str, str]) -> list[Result]:
    """Give a result for each claim and group of runs that it is about, and one more, without a group, over several.

    `found` has the results of the other questions by name, `onsets` is the table of `onset_table`, from which a
    `command` is made that trains what is missing (empty where these runs cannot be trained here), and a
    `second_command` where one is not enough; `paths` says where the user's own data lies. `quantity` is `claim_1` to
    `claim_6d`, `extra` holds `claim`, `published`, `ours`, `bound` (what the estimate bounds where runs without an
    onset are behind it, else None), `verdict`, `reason`, `parts`, `p_holm` and `family`.
    """
    suggest = NextRuns(onsets, paths)
    return [result for claim in CLAIMS for result in _claim(claim, found, suggest, level)]


def _claim(claim: Claim, found: Results, suggest: NextRuns, level: float) -> list[Result]:
    evidence = list(claim.gather(found, alpha_of(level)))
    if not evidence:
        judgement = Judgement(verdict="not testable", reason=claim.nothing)
        empty = Evidence(group={}, ours="-", source=None, parts=())
        return [_result(claim, empty, judgement, level, claim.suggest(suggest, empty))]
    judged = judge_all(evidence, alpha_of(level))
    results = [
        _result(claim, one, judgement, level, claim.suggest(suggest, one))
        for one, judgement in zip(evidence, judged, strict=True)
    ]
    return results if len(results) == 1 else [_combined(claim, results, level), *results]


def _result(claim: Claim, one: Evidence, judgement: Judgement, level: float, commands: tuple[str, str]) -> Result:
    source = one.source
    figures: dict[str, Any] = {}
    if source is not None:
        figures = {
            name: getattr(source, name)
            for name in ("estimate", "lo", "hi", "level", "n_runs", "n_conditions", "n_censored")
        }
    return Result(
        question=QUESTION,
        quantity=f"claim_{claim.number}",
        group=dict(one.group),
        **{"level": level, **figures},
        p=one.p,
        method=f"{source.question} {source.quantity}" if source is not None else "",
        status="not_testable" if judgement.verdict == "not testable" else "ok",
        extra={
            "claim": claim.says,
            "published": claim.published,
            "ours": one.against if judgement.verdict == "refuted" and one.against else one.ours,
            "bound": source.extra.get("bound") if source is not None else None,
            "verdict": judgement.verdict,
            "reason": judgement.reason,
            "parts": [asdict(part) for part in one.parts],
            "blocked": list(one.blocked),
            "notes": list(one.notes),
            "p_holm": judgement.p_holm,
            "family": judgement.family,
            **dict(zip(COMMANDS, commands, strict=True)),
        },
    )


def _combined(claim: Claim, results: Sequence[Result], level: float) -> Result:
    verdicts = [result.extra["verdict"] for result in results]
    verdict = combine(verdicts)
    # of several the one with the most runs speaks for all, and of equals not the one that a store has first
    alike = (result for result in results if result.extra["verdict"] == verdict)
    deciding = min(alike, key=lambda result: (-result.n_runs, str(sorted(result.group.items(), key=str))))
    counted = Counter(verdicts)
    return Result(
        question=QUESTION,
        quantity=f"claim_{claim.number}",
        group={},
        level=level,
        n_runs=sum(result.n_runs for result in results),
        n_conditions=sum(result.n_conditions for result in results),
        n_censored=sum(result.n_censored for result in results),
        status="not_testable" if verdict == "not testable" else "ok",
        extra={
            "claim": claim.says,
            "published": claim.published,
            "ours": f"{len(results)} groups",
            "verdict": verdict,
            "reason": f"in {counted[verdict]} of {len(results)} groups, {deciding.extra['reason']}",
            "verdicts": dict(counted),
            **{name: deciding.extra[name] for name in COMMANDS},
        },
    )
