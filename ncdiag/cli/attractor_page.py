"""The printed answer to `ncdiag analyze attractor`: whether rescaled features come back to where they were."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ncdiag.cli.output import printable
from ncdiag.cli.page_words import Values, by_pair, name_pairs, reminders
from ncdiag.domain.equivalence import equality_level
from ncdiag.domain.levels import alpha_of
from ncdiag.domain.p_values import p_is, p_text
from ncdiag.domain.page import Block, Legend, Page, Paragraph, Part, Reading, Table
from ncdiag.domain.shares import counted, out_of, percent

if TYPE_CHECKING:
    from ncdiag.analysis.terms import Terms
    from ncdiag.domain.result import Result

_MAX_CONDITIONS = 6
_ARMS = {"up_control": "up / control", "down_control": "down / control", "up_down": "up / down"}
_INTRODUCTION = (
    "A pair is two runs of one seed, alike until the features of one of them are multiplied by a factor. "
    "If fn* attracts, the feature norm comes back to that of the untouched run, from above and from below, within 8%; "
    "and once there it stays. Not finding a difference does not show this: with 3 runs and a spread of 8% a true "
    "difference of 8% goes unnoticed 62% of the time. So equality itself is tested."
)
_LEGEND = (
    "ratio: fn of the first over fn of the second, at the end of training, mean over the pairs. within 8%: p of the "
    "test that it is; below {alpha} it is shown, and with several conditions where it is so in each. differs: p of the "
    "test that it is not 1. published: p of the published test, a t-test on the onset epochs, read as no difference "
    "above .2, which shows nothing."
)
_NOTHING = (
    "No run had its features rescaled, or none of them has a sibling without. "
    "This trains them: ncdiag sweep --preset intervention"
)
_READINGS = {
    "supported": "the feature norm comes back to that of the untouched run from both sides, within 8%, and stays.",
    "refuted": "the feature norm does not come back and stay within this training",
    "inconclusive": "whether it comes back cannot be said yet",
}
_WHAT = {
    **_ARMS,
    "drift": "fn after onset (it goes on moving)",
    "settled": "fn at the end against fn at onset",
}


def attractor_page(results: "Sequence[Result]", terms: "Terms") -> Page:
    """Give the page: what is asked, a block for each set of branches, then how to read them."""
    sets = by_pair(results, _name_sets)
    parts = [_part(label, values, terms.level) for label, values in sets]
    legend = _LEGEND.format(alpha=p_text(1 - terms.level))
    return Page(
        title="Attractor: whether rescaled features come back",
        rule=str(terms.rule),
        parts=[*parts, Part([Paragraph(_INTRODUCTION)]), Part([Legend(legend)])]
        if parts
        else [Part([Paragraph(_NOTHING)])],
    )


def _name_sets(groups: Sequence[Values]) -> list[str]:
    arms = ("epoch", "head", "up", "down")
    pairs = name_pairs([{key: value for key, value in group.items() if key not in arms} for group in groups])
    return [f"{pair}, {_say_arms(group)}" for pair, group in zip(pairs, groups, strict=True)]


def _say_arms(group: Values) -> str:
    factors = " and ".join(f"x {group[arm]:g}" for arm in ("down", "up") if group[arm] is not None)
    head = "head divided by the factor" if group["head"] == "compensated" else "head as it was"
    return f"{factors} after epoch {group['epoch']}, {head}"


def _part(label: str, values: Sequence[Values], level: float) -> Part:
    verdict = next(value for value in values if value["quantity"] == "verdict")
    at_end = [value for value in values if value["quantity"] == "log_ratio"]
    blocks: list[Block] = [Reading(_reading(verdict)), _table(at_end, level)]
    blocks += [Paragraph(text) for value in values if (text := _sentence(value, level))]
    blocks += map(Paragraph, _more_pairs(at_end, verdict["verdict"]))
    shown = [value for value in values if value["quantity"] not in ("log_ratio_at_onset", "onset_order")]
    blocks += reminders(caution for value in shown for caution in value["warnings"])
    return Part(blocks, heading=label)


def _reading(verdict: Values) -> str:
    if verdict["verdict"] == "not testable":
        return f"not tested: {verdict['lacks']}."
    found = _READINGS[verdict["verdict"]]
    if verdict["verdict"] == "refuted":
        return f"{found}. More than 8% apart, beyond chance: {_listed(verdict['different'])}."
    if verdict["verdict"] == "inconclusive":
        missing = list(verdict["blocked"])
        missing += [f"not shown within 8%: {_listed(verdict['not_shown'])}"] if verdict["not_shown"] else []
        missing += [] if verdict["returned"] else ["the return itself was not seen in most pairs"]
        return f"{found}; {', and '.join(missing)}."
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(_WHAT[name] for name in names)


def _table(at_end: Sequence[Values], level: float) -> Table:
    interval = f"{percent(equality_level(level))} interval"
    rows = [["arms", "pairs", "ratio", interval, "within 8%", "differs", "published"]]
    for value in at_end:
        start = [_ARMS[value["arm"]], str(value["n_pairs"])]
        if value["estimate"] is None:
            rows.append([*start, *["-"] * 5])
            continue
        limits = _limits(value)
        ps = (value[key] for key in ("p_equivalence", "p_difference", "p_published_onset"))
        rows.append([*start, f"{value['ratio']:.3f}", limits, *map(p_text, ps)])
        rows += _conditions(value["conditions"])
    return Table(rows, right=[False, *[True] * 6])


def _conditions(conditions: Sequence[Values]) -> list[list[str]]:
    """Give the rows of the conditions that an arm was run in: equality has to hold in each of them."""
    rows = [
        [
            f"  {printable(one['condition'])}",
            str(one["n_pairs"]),
            f"{one['ratio']:.3f}",
            _limits(one),
            p_text(one["p"]),
            "",
            "",
        ]
        for one in conditions[:_MAX_CONDITIONS]
    ]
    more = len(conditions) - len(rows)
    return [*rows, [f"  and {more} more (--format json)", *[""] * 6]] if more else rows


def _limits(value: Values) -> str:
    return "-" if value["lo"] is None else f"{_ratio(value['lo'])}-{_ratio(value['hi'])}"


def _ratio(log: float) -> str:
    return f"{math.exp(log):.3f}"


def _sentence(value: Values, level: float) -> str:
    """Say what a half-life, the drift or the distance from fn* shows."""
    quantity = value["quantity"]
    if quantity == "onset_order" and value["p"] is not None:
        shown = "shown" if value["p"] <= alpha_of(level) else "not shown"
        return (
            f"The onset comes {value['ratio']:.3g} times as late after scaling up as after scaling down, in "
            f"{counted(value['n_pairs'], 'pair')}; that it comes later is {shown} "
            f"({p_is(value['p'])}). It would if collapse waited for fn to fall to a value."
        )
    if value["estimate"] is None or quantity not in ("half_life", "drift", "settled"):
        return ""
    if quantity == "half_life":
        limits = "" if value["lo"] is None else f" ({value['lo']:.3g} to {value['hi']:.3g})"
        fast = value["flags"].get("faster_than_sampling", 0)
        rest = f", in {fast} of them faster than evaluations can show" if fast else ""
        return (
            f"{_ARMS[value['arm']]}: the part of the difference that fades has a half-life of {value['estimate']:.3g} "
            f"epochs{limits}, seen in {out_of(value['n_seen'], value['n_pairs'], 'pair')}{rest}. What stays is in the "
            "ratio."
        )
    change = f"{100 * (value['ratio'] - 1):+.1f}%"
    judged = {
        "equivalent": "within 8%, so it stands still" if value["of_most"] else "within 8%",
        "equivalent but different": "a small change, within 8%",
        "different": "more than chance, and not shown to be within 8%",
        "inconclusive": "not shown to be within 8%",
        "not testable": "too few runs to test",
    }[value["outcome"]]
    controls = out_of(value["n_used"], value["n_used"] + value["n_left_out"], "control")
    watched = f"{value['watched']:.3g} epochs"
    what = (
        f"Over the last third after onset ({watched}) fn of {controls} changes"
        if quantity == "drift"
        else f"From onset to the end ({watched}) fn of {controls} changes"
    )
    each = value.get("p_each")
    if value["outcome"].startswith("equivalent"):
        if not value["of_most"]:
            judged += " in these; most did not go on long enough to tell"
        elif each and each > alpha_of(level):
            judged += " on average, and not shown to be so in every condition"
    return f"{what} by {change}: {judged}."


def _more_pairs(at_end: Sequence[Values], verdict: str) -> list[str]:
    """Say how many seeds would show equality if there is any."""
    needed = [value["pairs_needed"] for value in at_end if value.get("pairs_needed")]
    have = min((value["n_pairs"] for value in at_end), default=0)
    if verdict != "inconclusive" or not needed or max(needed) <= have:
        return []
    return [
        f"With this spread between pairs, {max(needed)} pairs would show equality four times out of five, "
        "if there is no difference."
    ]
