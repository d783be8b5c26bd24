"""The claims about a pair (CV, invariance, lead) and about rescaled features, read off the results of the questions."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ncdiag.analysis.attractor import ARMS
from ncdiag.analysis.cautions import say_relapsed
from ncdiag.analysis.check_parts import at_no_other_epoch, change_with_eps, more_at_onset, whatever_eps
from ncdiag.analysis.evidence import Evidence, Part, Results
from ncdiag.analysis.pooling import of_independent, of_other_side, pooled_notes
from ncdiag.domain.comparison import MIN_UNITS
from ncdiag.domain.equivalence import equality_level
from ncdiag.domain.lead import PRIMARY_MARGIN
from ncdiag.domain.naming import Key
from ncdiag.domain.p_values import p_is
from ncdiag.domain.result import Result
from ncdiag.domain.shares import counted, epochs, lead_is, out_of, percent
from ncdiag.domain.threshold import MIN_RUNS_FOR_CLAIM

CLOCK = "rescaling fn moves the onset, and fn at onset stays"
_SAME = 1e-9  # a skill that rounding leaves of two forecasts that are one
_ARM_KEYS = ("epoch", "head", "up", "down")


def one_norm(found: Results, alpha: float) -> Iterator[Evidence]:
    """Claim 1, per pair: a small CV, smaller than at a fixed epoch, whatever eps, and not by a common clock alone."""
    for fn_star, named in _pairs(found):
        if math.isnan(fn_star.estimate):
            yield _without_onset(fn_star)
            continue
        cv, placebo, eps = named["cv"], named["placebo_cv"], named["eps_sensitivity"]
        contrary = [
            cv.extra.get("p_above", math.nan),
            more_at_onset(placebo),
            of_other_side(eps, "p_beyond"),
            _collapse_elsewhere(found, fn_star),
        ]
        known = [p for p in contrary if not math.isnan(p)]
        opposite, against = _opposite_of_one_norm(contrary, named, _rescaled(found, fn_star))
        yield Evidence(
            group=fn_star.group,
            ours="-"
            if math.isnan(cv.extra.get("cv_upper", math.nan))
            else f"CV {percent(cv.estimate)} (< {percent(cv.extra['cv_upper'])})",
            source=_one_sided(cv),
            parts=(
                _small_cv(fn_star, cv, alpha),
                at_no_other_epoch(placebo, alpha),
                whatever_eps(eps, alpha),
                _no_false_alarm(fn_star),
                _clock(found, fn_star, alpha),
            ),
            holds="the CV is below 8%, at no other epoch as small, and rescaled runs collapse there too",
            contrary=min(1.0, len(known) * min(known)) if known else math.nan,
            opposite=opposite,
            against=against,
            blocked=fn_star.extra["blocked"],
            shielded=fn_star.extra["shielded"],
            notes=[*_relapses(fn_star), *pooled_notes(placebo, "the comparison with a fixed epoch")],
        )


def same_norm(found: Results, alpha: float) -> Iterator[Evidence]:
    """Claim 2, per pair: every condition's fn* within 8 %, though conditions change the onset and fn is not flat."""
    for fn_star, named in _pairs(found):
        if math.isnan(fn_star.estimate):
            yield _without_onset(fn_star)
            continue
        same = named["invariance"]
        yield Evidence(
            group=fn_star.group,
            ours="-" if math.isnan(same.hi) else f"within {percent(math.expm1(same.hi))}",
            source=same,
            parts=(
                _invariant(same, alpha),
                _rate(same, alpha),
                at_no_other_epoch(named["placebo_cv"], alpha),
                _clock(found, fn_star, alpha),
            ),
            holds="fn* is the same in all conditions, though they change the onset",
            contrary=same.extra["p_beyond"],
            against=f"off by > {percent(math.expm1(same.lo))}",
            opposite=f"fn* differs by more than 8% ({same.extra['beyond']}, {same.extra['beyond_runs']} runs; "
            f"with {percent(1 - alpha)} confidence)",
            blocked=fn_star.extra["blocked"],
            notes=pooled_notes(named["placebo_cv"], "the comparison with a fixed epoch"),
        )


def announced(found: Results, alpha: float) -> Iterator[Evidence]:
    """Claim 3, per pair: the alarm of fn precedes the onset, and forecasts it better than guessing and other alarms."""
    for fn_star, _ in _pairs(found):
        if math.isnan(fn_star.estimate):
            yield _without_onset(fn_star)
            continue
        own = [result for result in found["lead"] if result.group == fn_star.group]
        held_out = next((kind for kind in ("condition", "run") if _find(own, "mae", held_out=kind)), "run")
        known = [r for r in own if r.extra.get("held_out") == held_out and r.extra.get("margin") == PRIMARY_MARGIN]
        lead, mae = _find(known, "lead"), _find(known, "mae", baseline="fn")
        skill = _find(known, "skill", baseline="median")
        guess = _find(own, "mae", held_out=held_out, baseline="median")
        rivals = [r for r in known if r.quantity == "skill" and r.extra["baseline"] not in ("median", "nearest")]
        yield Evidence(
            group=fn_star.group,
            ours=f"lead {lead_is(lead.estimate, lead.extra['n_never'])}, MAE {epochs(mae.estimate)}"
            if lead and mae and not math.isnan(lead.estimate)
            else "-",
            source=mae,
            parts=(
                _out_of_sample(held_out, own),
                _precedes(lead, alpha),
                _beats_guessing(skill, mae, guess, alpha),
                _beats(rivals, alpha),
            ),
            holds="the alarm of fn comes first, and forecasts better than guessing and than every other alarm",
            contrary=of_other_side(skill, "p_other") if skill and skill.estimate < -_SAME else math.nan,
            opposite="onset minus the alarm of fn varies more than onset itself: guessing the median does better",
            blocked=fn_star.extra["blocked"],
            shielded=fn_star.extra["shielded"],
            notes=pooled_notes(skill, "the comparison with guessing"),
        )


def returns(found: Results, _: float) -> Iterator[Evidence]:
    """Claim 4, per set of rescaled runs: equality after a return from both sides, as `analyze attractor` judges it."""
    for verdict in (result for result in found["attractor"] if result.quantity == "verdict"):
        own = [result for result in found["attractor"] if result.group == verdict.group]
        ratio = _find(own, "log_ratio", arm="up_down")
        said = str(verdict.extra["verdict"])
        apart, unsure = ([name for name in verdict.extra[key] if name in ARMS] for key in ("different", "not_shown"))
        lacking = {
            "refuted": "fn returns, but goes on moving after onset: it is not fn* that it returns to"
            if verdict.extra["returned"] and not unsure
            else f"fn goes on moving after onset, and that it returns is not shown ({_listed(unsure or ARMS[:2])})",
            "not testable": verdict.extra["lacks"],
            "inconclusive": "equality within 8% is not shown: " + _listed(verdict.extra["not_shown"])
            if verdict.extra["not_shown"]
            else "the return itself was not seen in most pairs",
        }.get(said, "")
        yield Evidence(
            group=verdict.group,
            ours="-" if ratio is None or math.isnan(ratio.lo) else _factors(ratio),
            source=ratio,
            parts=(
                Part(
                    name="equal within 8% and settled",
                    shown=None if said == "not testable" else said == "supported",
                    p=verdict.extra["p_holm"],
                    lacking="" if apart else lacking,  # where arms stay apart, fn does not return
                ),
            ),
            holds="fn returns from both sides to within 8%, and stays",
            blocked=verdict.extra["blocked"],
            contradicted=bool(apart),
            opposite=f"fn stays apart after rescaling: {_listed(apart)}"
            + (" (or the learning rate reached 0 before it was back)" if verdict.warnings else ""),
            family=verdict.extra["family"],
        )


def _pairs(found: Results) -> Iterator[tuple[Result, dict[str, Result]]]:
    for fn_star in (result for result in found["threshold"] if result.quantity == "fn_star"):
        yield fn_star, {r.quantity: r for r in found["threshold"] if r.group == fn_star.group}


def _without_onset(fn_star: Result) -> Evidence:
    """Say why nothing can be said of a pair: no run of it has an onset."""
    lacking = {
        "all_censored": "no run collapsed",
        "left_censored": "the runs were below eps when first evaluated",
        "diverged": "the runs diverged",
        "dead": "the features died, which is no collapse",
        "not_testable": "no feature norm was measured at an onset",
    }.get(fn_star.status, "the metric was not measured, or never finite")
    if fn_star.extra["n_unconfirmed"]:
        lacking = "no onset was confirmed; --rule first counts runs that stop at it"
    part = Part(name="runs with an onset", shown=None, lacking=lacking)
    blocked = fn_star.extra["blocked"]
    return Evidence(group=fn_star.group, ours="-", source=fn_star, parts=(part,), blocked=blocked)


def _find(results: Sequence[Result], quantity: str, **said: Any) -> Result | None:
    matching = (r for r in results if r.quantity == quantity)
    return next((r for r in matching if all(r.extra.get(key) == value for key, value in said.items())), None)


def _one_sided(cv: Result) -> Result:
    """Limit a CV by its one-sided bounds, which decide whether it is below 8 % or above: together 1 - 2 alpha."""
    if "cv_lower" not in cv.extra:
        return cv
    return replace(cv, lo=cv.extra["cv_lower"], hi=cv.extra["cv_upper"], level=equality_level(cv.level))


def _small_cv(fn_star: Result, cv: Result, alpha: float) -> Part:
    name = "CV below 8%"
    if cv.extra.get("verdict", "not testable") == "not testable":
        runs = counted(fn_star.extra["n_collapsed"], "run")
        why = "all runs have one fn*, to the last digit" if cv.status == "zero_variance" else f"{runs} with an onset"
        return Part(name=name, shown=None, lacking=f"{why}: the spread needs {MIN_RUNS_FOR_CLAIM} that differ")
    upper = percent(cv.extra["cv_upper"])
    return Part(name=name, shown=cv.p <= alpha, p=cv.p, lacking=f"the CV may be as large as {upper}")


def _relapses(fn_star: Result) -> list[str]:
    return say_relapsed(fn_star.extra["n_relapsed"], fn_star.extra["n_collapsed"])


def _no_false_alarm(fn_star: Result) -> Part:
    crossed, runs = (fn_star.extra.get(name, 0) for name in ("n_censored_crossed", "n_without"))
    rises = fn_star.extra.get("direction") == "rises"
    passes, passed = ("rises above", "rose above") if rises else ("falls below", "fell below")
    lacking = f"{out_of(crossed, runs, 'run')} without a collapse {passed} fn*"
    return Part(name=f"no run {passes} fn* without a collapse", shown=crossed == 0, lacking=lacking)


def _clock(found: Results, pair: Result, alpha: float) -> Part:
    """Tell fn* from a common clock of fn and NC1, which passes every other test: only moving fn by hand does that."""
    sets = _rescaled(found, pair)
    if not sets:
        never = ", and no single layer scales the features of a ResNet" if pair.group.get("arch") == "resnet20" else ""
        why = f"fn and NC1 may only share a clock: no run was rescaled to tell{never}"
        return Part(name=CLOCK, shown=None, lacking=why)
    tests = [(_find(own, "log_ratio_at_onset", arm="up_control"), _find(own, "onset_order")) for own in sets]
    ps = [max(at.p, order.p) for at, order in tests if at and order and not math.isnan(at.p + order.p)]
    if not ps:
        why = "to tell fn* from a common clock takes two seeds that collapsed as they were, scaled up and scaled down"
        return Part(name=CLOCK, shown=None, lacking=why)
    p = min(1.0, len(ps) * min(ps))
    lacking = f"that rescaling fn moves the onset to where fn is fn* again is not shown ({p_is(p)}): a clock would do"
    return Part(name=CLOCK, shown=p <= alpha, p=p, lacking=lacking)


def _collapse_elsewhere(found: Results, pair: Result) -> float:
    """Give the p that runs scaled up and untouched ones collapse at norms more than 8 % apart.

    Runs scaled down say nothing here: the factor may take them below fn* at once.
    """
    tests = (_find(own, "log_ratio_at_onset", arm="up_control") for own in _rescaled(found, pair))
    ps = [float(test.extra.get("p_beyond", math.nan)) for test in tests if test is not None]
    known = [p for p in ps if not math.isnan(p)]
    return min(1.0, len(known) * min(known)) if known else math.nan


def _rescaled(found: Results, pair: Result) -> list[list[Result]]:
    """Give the results of each set of rescaled runs of a pair."""
    sets: dict[Key, list[Result]] = {}
    for result in found["attractor"]:
        if {key: value for key, value in result.group.items() if key not in _ARM_KEYS} == dict(pair.group):
            sets.setdefault(result.key, []).append(result)
    return list(sets.values())


def _invariant(same: Result, alpha: float) -> Part:
    name = "all conditions within 8%"
    if math.isnan(same.p):
        return Part(name=name, shown=None, lacking=same.extra["lacks"])
    lacking = f"conditions may differ in fn* by {percent(math.expm1(same.hi))}"
    return Part(name=name, shown=same.p <= alpha, p=same.p, lacking=lacking)


def _rate(same: Result, alpha: float) -> Part:
    p = float(same.extra["p_rate"])
    name = "conditions change the onset"
    if math.isnan(p):
        return Part(name=name, shown=None, lacking=same.extra["rate_lacks"])
    return Part(name=name, shown=p <= alpha, p=p, lacking=f"that conditions change the onset is not shown ({p_is(p)})")


def _out_of_sample(held_out: str, own: Sequence[Result]) -> Part:
    name = "judged on conditions not learned from"
    few = next((r.warnings[0] for r in own if r.status == "too_few" and r.quantity == "lead"), None)
    lacking = few or "fewer than 3 conditions: only other seeds of known ones could be forecast"
    return Part(name=name, shown=True if held_out == "condition" and not few else None, lacking=lacking)


def _precedes(lead: Result | None, alpha: float) -> Part:
    """Judge by the mean lead, which has no lower limit where runs ended before their alarm: there by the sign test."""
    name = "the alarm comes before the onset"
    if lead is None or math.isnan(lead.lo):
        heard = 0 if lead is None else lead.extra["n_crossed"] - lead.extra["n_left_censored"]
        few = f"{counted(heard, 'alarm')}: an interval of the lead needs 2"
        lacking = few if heard < 2 else "all leads are the same, with no noise to judge them by"
        return Part(name=name, shown=None, lacking=lacking)
    if never := lead.extra["n_never"]:
        most = f"{out_of(never, never + lead.extra['n_crossed'], 'run')} ended before the alarm; that it comes first"
        return Part(name=name, shown=lead.p <= alpha, p=lead.p, lacking=f"{most} is not shown ({p_is(lead.p)})")
    lacking = f"the mean lead may be {epochs(lead.lo)} epochs"
    return Part(name=name, shown=lead.lo > 0, lacking=lacking)


def _beats_guessing(skill: Result | None, mae: Result | None, guess: Result | None, alpha: float) -> Part:
    name = "a better forecast than the median onset"
    if skill is None or math.isnan(skill.extra.get("p_holm", skill.p)):
        alarms = 0 if skill is None else skill.extra["n_tested"]
        few = f"{counted(alarms, 'alarm')}: to compare the forecast with guessing takes {MIN_UNITS}"
        same = "every alarm comes at one epoch, so it says no more than guessing"
        return Part(name=name, shown=None, lacking=few if alarms < MIN_UNITS else same)
    p = skill.extra["p_holm"]
    figures = f": error {epochs(mae.estimate)}, guess {epochs(guess.estimate)}" if mae and guess else ""
    shown = p <= alpha and skill.estimate > 0
    lacking = f"that it forecasts better than the median onset is not shown ({p_is(p)}){figures}"
    return of_independent(Part(name=name, shown=shown, p=skill.p, lacking=lacking), skill)


def _beats(rivals: Sequence[Result], alpha: float) -> Part:
    name = "a better forecast than every other alarm"
    if not rivals:
        return Part(name=name, shown=None, lacking="there is no other alarm to compare that of fn with")
    runs = [rival.extra["n_tested"] for rival in rivals]
    few = f"{counted(min(runs), 'run')} in which to compare the alarm of fn with"
    if max(runs) < MIN_UNITS:
        return Part(name=name, shown=None, lacking=f"{few} others: that takes {MIN_UNITS}")
    enough = [rival for rival, n in zip(rivals, runs, strict=True) if n >= MIN_UNITS]
    tested = [replace(rival, p=1.0) if math.isnan(rival.p) else rival for rival in enough]  # errs as fn does
    worst = max(tested, key=lambda rival: rival.p)
    best = min(tested, key=lambda rival: rival.estimate)
    does = "errs less" if best.estimate < 0 else "may err as little"
    named = best if best.estimate < 0 else worst
    part = Part(
        name=name,
        shown=worst.p <= alpha,
        p=worst.p,
        lacking=f"at the same lead {_say_rival(named.extra['baseline'])} {does} "
        f"(that fn errs less than every other: {p_is(worst.p)})",
    )
    if part.shown and len(enough) < len(rivals):
        rival = _say_rival(rivals[runs.index(min(runs))].extra["baseline"])
        return Part(name=name, shown=None, lacking=f"{few} {rival}: that takes {MIN_UNITS}")
    return of_independent(part, worst)


def _say_rival(baseline: str) -> str:
    return "the trend of nc1" if baseline == "nc1_trend" else f"an alarm on {baseline}"


def _opposite_of_one_norm(
    contrary: Sequence[float], named: Mapping[str, Result], sets: Sequence[Sequence[Result]]
) -> tuple[str, str]:
    """Give what speaks most against one norm, as a clause, and the figure that does."""
    cv, placebo, eps = named["cv"], named["placebo_cv"], named["eps_sensitivity"]
    ratios = [test.estimate for own in sets if (test := _find(own, "log_ratio_at_onset", arm="up_control"))]
    furthest = max((ratio for ratio in ratios if not math.isnan(ratio)), key=abs, default=math.nan)
    at_onset, epoch = (float(placebo.extra.get(name, math.nan)) for name in ("log_cv_at_onset", "epoch"))
    change = f"{change_with_eps(eps)} from 2 eps to eps/2"
    said = (
        ("the CV is above 8%", f"CV {percent(cv.estimate)} (> {percent(cv.extra.get('cv_lower', math.nan))})"),
        (
            "fn varies more at onset than at a fixed epoch",
            f"CV {percent(at_onset)}, {percent(placebo.estimate)} at {epoch:.0f}",
        ),
        (f"fn* moves with eps ({change})", f"fn* {change_with_eps(eps)} with eps"),
        ("rescaled runs collapse at another norm", f"rescaled fn* x{math.exp(furthest):.2f}"),
    )
    known = [(p, *texts) for p, texts in zip(contrary, said, strict=True) if not math.isnan(p)]
    return min(known)[1:] if known else ("", "")


def _factors(ratio: Result) -> str:
    return f"{math.exp(ratio.estimate):.2f} ({math.exp(ratio.lo):.2f}-{math.exp(ratio.hi):.2f})"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name.replace("_", "/") for name in names)
