"""What the page of fn* says in words of its spread, of the conditions and of the checks."""

import math
from collections.abc import Sequence

from ncdiag.cli.norm_words import norm_text
from ncdiag.cli.output import printable
from ncdiag.cli.page_words import Values, is_shown, least_p
from ncdiag.domain.levels import alpha_of
from ncdiag.domain.p_values import p_is
from ncdiag.domain.page import Block, Legend, Paragraph, Table
from ncdiag.domain.shares import counted, percent


def condition_effect(spread: Values) -> list[str]:
    """Say how much of the spread lies between conditions, in a sentence without its full stop."""
    effect, share = spread.get("cv_conditions"), spread.get("icc")
    if effect is None or share is None:
        return []
    return [
        f"beyond what seeds differ, fn* differs by {percent(effect)} from condition to condition "
        f"({percent(share)} of the variance)"
    ]


def invariance_words(result: Values | None) -> list[str]:
    """Say whether every condition has the same fn*, in a sentence without its full stop."""
    if result is None or result["status"] != "ok":
        return []
    margin, furthest = percent(math.expm1(result["margin"])), percent(math.expm1(result["estimate"]))
    sure = percent(math.expm1(result["hi"]))
    confident = f"with {percent(result['level'])} confidence"
    alone = ", with a single run," if result["furthest_runs"] == 1 else ","
    far = f"the furthest condition, {printable(result['furthest'])}{alone} is {furthest} from their mean"
    if result["verdict"] == "refuted":
        judged = f"{_beyond(result)} more than {margin}, {confident}"
    elif result["verdict"] == "supported":
        judged = f"all lie within {margin} of it, {confident} within {sure}"
    else:
        judged = f"that all lie within {margin} is not shown: {confident} only within {sure}"
    rate = result["p_rate"]
    shown = "" if is_shown(result, "p_rate") else "not "
    when = "" if rate is None else f"; that they differ in their onset is {shown}shown"
    return [f"{far}; {judged}{when} ({p_is(rate)})" if when else f"{far}; {judged}"]


def _beyond(result: Values) -> str:
    """Name the condition that is too far away, unless it is the furthest, which was named."""
    runs = f"by its {result['beyond_runs']} runs"
    if result["beyond"] == result["furthest"]:
        return f"{runs} that is"
    return f"{printable(result['beyond'])} is, {runs}, off the mean of those with several runs by"


def check_blocks(checks: Sequence[Values]) -> list[Block]:
    """Give what is to be said on the spread at one fixed epoch and on how fn* moves with eps."""
    blocks: list[Block] = []
    for check in checks:
        said = _placebo(check) if check["quantity"] == "placebo_cv" else _sensitivity(check)
        blocks += map(Paragraph, said)
        if check["quantity"] == "eps_sensitivity":
            blocks += _eps_table(check["curve"])
            if blocks and check.get("over") == "conditions":
                blocks.append(Legend("fn there and CV: sd / mean, over runs that weigh alike."))
    return blocks


def _placebo(check: Values) -> list[str]:
    """Say how fn varies at one epoch, beside the CV of fn*: both as the table has it, and as the test takes them."""
    if check.get("cv") is None:
        return []
    at_epoch, at_onset = check["estimate"], check["log_cv_at_onset"]
    fixed, there = percent(at_epoch), percent(at_onset)
    start = f"Any epoch would do? fn at one fixed epoch ({check['epoch']:.0f}) varies by {fixed}, at onset by {there}"
    if check["at_one_epoch"]:
        return [f"{start}: the runs collapsed at that epoch, so both are one reading."]
    if check["status"] == "zero_variance":
        return [f"{start}: the two readings do not differ, so this says nothing."]
    if check["p"] is None:
        return [f"{start}. Too few runs to say which is less."]
    if is_shown(check):
        return [f"{start}: it varies less at onset than at that epoch ({p_is(check['p'])})."]
    p = f"{p_is(check['p'])}{least_p(check['p_min'])}"
    flat = ": a low CV partly says that fn is flat by then" if at_onset < check["claim"] else ""
    return [f"{start}. That it varies less at onset is not shown ({p}){flat}."]


def _sensitivity(check: Values) -> list[str]:
    eps = next((row["eps"] for row in check["curve"] if row["n_collapsed"]), None)
    if check["estimate"] is None or eps is None:
        return []
    change = f"{100 * (math.exp(check['estimate']) - 1):+.1f}%"
    judged = {
        "equivalent": "fn* hardly depends on eps (within 8%)",
        "equivalent but different": "fn* depends on eps, but by less than 8%",
        "different": "fn* depends on eps: it is the norm at an epoch, not at an event"
        if _is_beyond(check)
        else "fn* depends on eps; whether by more than 8% cannot be said yet",
        "inconclusive": "whether fn* depends on eps by more than 8% cannot be said yet",
        "not testable": "the runs change by as much as each other, so there is no noise to set beside 8%"
        if check["status"] == "zero_variance"
        else "too few runs to say whether that is more than 8%",
    }[check["outcome"]]
    return [f"Another eps? From 2 eps to eps/2 fn* changes by {change}{_rests_on(check)}; {judged}{_eps_tests(check)}."]


def _is_beyond(check: Values) -> bool:
    """Tell whether a test of equality shows the opposite: its interval is one at 1 - 2 alpha."""
    return check["p_beyond"] is not None and check["p_beyond"] <= alpha_of(check["level"]) / 2


def _rests_on(check: Values) -> str:
    """Say of which runs a change with eps is, where the table below, with all runs of each eps, has others."""
    alike = ", conditions weighing alike" if check["over"] == "conditions" else ""
    if {row["n_collapsed"] for row in check["curve"]} == {check["n_used"]} and not alike:
        return ""
    in_one = ", in one phase" if check["n_across"] else ""
    return f" (of {counted(check['n_used'], 'run')} with an onset at both{in_one}{alike})"


def _eps_tests(check: Values) -> str:
    """Give the p of what was judged: of a difference where one is shown, of equivalence where that is the matter."""
    if check["p"] is None:
        return ""
    within = f"test that it is within 8%: {p_is(check['p'])}"
    differs = f"test that it changes: {p_is(check['p_difference'])}"
    tests = {"different": [differs], "equivalent but different": [differs, within]}.get(check["outcome"], [within])
    return f" ({'; '.join(tests)})"


def _eps_table(curve: Sequence[Values]) -> list[Block]:
    """Give fn at each eps, and what it was read under where that is not one loss, or one phase, for all."""
    rows = [row for row in curve if row["n_collapsed"]]
    if len(rows) < 2:
        return []
    named, under = _what_differs(rows)
    heading = ["below eps", "runs", "fn there", "CV", "epoch", *named]
    lines = [
        [
            f"{row['eps']:g}",
            str(row["n_collapsed"]),
            norm_text(row["fn_star"]),
            percent(row["cv"]),
            f"{row['onset']:.0f}",
            *under[place : place + 1],
        ]
        for place, row in enumerate(rows)
    ]
    table = Table([heading, *lines], right=[place > 0 for place in range(len(heading))])
    mixed = any("/" in text for text in under)
    return [table, *([Legend(f"Where {named[0]} names several, fn there is not one quantity.")] if mixed else [])]


def _what_differs(rows: Sequence[Values]) -> tuple[list[str], list[str]]:
    """Give what the onsets of the rows, or of a row, differ in, the loss or else the phase, and its values by row."""
    for name, key in (("loss", "losses"), ("phase", "phases")):
        under = [_read_under(row[key], row["n_collapsed"]) for row in rows]
        if len(set(under)) > 1 or "/" in under[0]:
            return [name], under
    return [], []


def _read_under(known: Values, onsets: int) -> str:
    """Name the losses, or the phases, of some onsets; `?` for those that are not known, `-` where none is."""
    return "/".join([*sorted(known), *["?"] * (0 < sum(known.values()) < onsets)]) or "-"
