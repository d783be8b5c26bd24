"""The printed answer to `ncdiag analyze lead`: whether fn announces the onset, or something else does better."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ncdiag.cli.lead_words import alarm_words, fixed_words, guess_words, published_words, specificity_words
from ncdiag.cli.output import printable
from ncdiag.cli.page_words import Values, by_pair, reminders
from ncdiag.domain.page import Block, Glossary, Page, Paragraph, Part, Reading, Table
from ncdiag.domain.shares import epochs, lead_is, percent

if TYPE_CHECKING:
    from ncdiag.analysis.terms import Terms
    from ncdiag.domain.result import Result

_HELD_OUT = {
    "condition": "a new setting (each condition forecast from the other conditions)",
    "run": "another seed (each run forecast from the other runs)",
}
_INTRODUCTION = (
    "The alarm is the first epoch with fn at or below fn*, or below fn* plus a margin; its lead is how many epochs "
    "later the onset came. The forecast of the onset is the alarm plus the median lead of other runs. fn*, leads and "
    "all else are learned from runs that are not forecast."
)
_ZERO = (
    "A mean lead proves nothing. fn* is the mean of fn at onset, so where fn falls steadily the mean lead at fn* is 0 "
    "whatever the data; a lead there means that fn is flat, wavers or turns before onset, or that runs ended before "
    "their alarm: of runs that stop at their onset no other alarms are seen than early ones. And a margin buys as much "
    "lead as one likes. What counts is the error of the forecast, beside guessing and beside other alarms with the "
    "same mean lead."
)
_COLUMNS = (
    ("margin", "alarm at or below (1 + margin) fn*"),
    ("lead", "mean epochs from alarm to onset; <= if runs ended before the alarm"),
    ("known", "the same once it is confirmed, over the runs in which it was"),
    ("early", "share of the runs whose alarm came before the onset"),
    ("fn", "mean error of the forecast by the alarm of fn, in epochs"),
    ("guess", "error of always saying the median onset of the other runs"),
    ("{metric}", "error by an alarm on {metric} itself with the same mean lead"),
    ("trend", "error by the trend of {metric} at the alarm of fn; fn's own after onset"),
    ("best other", "error by the best alarm on anything else, same mean lead"),
)
_PICKED = "The best other is picked afterwards, which flatters it."
_SHORT = {"feature_norm_centred": "fn_centred"}


def lead_page(results: "Sequence[Result]", terms: "Terms") -> Page:
    """Give the page: what is asked, for each pair a reading and its tables, then how to read them."""
    pairs = by_pair(results)
    explained = [_INTRODUCTION, _ZERO] if any(_judged(values) for _, values in pairs) else [_INTRODUCTION]
    parts = [
        *(_part(label, values, terms.rule.metric) for label, values in pairs),
        *(Part([Paragraph(text)]) for text in explained),
    ]
    if any(_varied(values) for _, values in pairs):
        parts.append(_columns(terms.rule.metric))
    title = "Lead: does the feature norm (fn) announce the onset of collapse?"
    return Page(title=title, rule=str(terms.rule), parts=parts)


def _columns(metric: str) -> Part:
    rows = [(name.format(metric=metric), text.format(metric=metric)) for name, text in _COLUMNS]
    return Part([Glossary(rows), Paragraph(_PICKED)], heading="Columns")


def _judged(values: Sequence[Values]) -> bool:
    return bool(values[0]["status"] != "too_few")


def _varied(values: Sequence[Values]) -> bool:
    """Say whether the onsets of a pair differ, so that there is something to forecast."""
    return any(value.get("primary", False) and value["estimate"] is not None for value in values)


def _part(label: str, values: Sequence[Values], metric: str) -> Part:
    if not _judged(values):
        why, *cautions = values[0]["warnings"]
        return Part([Paragraph(f"{printable(why)}."), *reminders(cautions)], heading=label)
    kinds = [kind for kind in _HELD_OUT if any(value["held_out"] == kind for value in values)]
    mine = [value for value in values if value["held_out"] == kinds[0]]
    blocks: list[Block] = [Reading(guess_words(mine))]
    if _varied(values):
        blocks.append(Paragraph(alarm_words(mine, metric)))
        for kind in kinds:
            blocks += _table([value for value in values if value["held_out"] == kind], kind, metric)
        blocks += _landmarks(mine, metric)
        blocks += map(Paragraph, fixed_words(mine))
    blocks += map(Paragraph, [*published_words(values), *specificity_words(mine)])
    cautions = [
        caution
        for value in mine
        if value["margin"] in (0, 0.25) and value["quantity"] in ("lead", "skill")
        for caution in value["warnings"]
        if "by construction" not in caution and value.get("baseline") in (None, "median")
    ]
    return Part([*blocks, *reminders(cautions)], heading=label)


def _table(values: Sequence[Values], kind: str, metric: str) -> list[Block]:
    rows = [["margin", "lead", "known", "early", "fn", "guess", metric, "trend", "best other"]]
    guess = next(value for value in values if value["quantity"] == "mae" and value["baseline"] == "median")
    for lead in (value for value in values if value["quantity"] == "lead"):
        errors = [v for v in values if v["quantity"] == "mae" and v["margin"] == lead["margin"]]
        rows.append(
            [
                percent(lead["margin"]),
                lead_is(lead["estimate"], lead["n_never"]),
                epochs(lead["actionable"]),
                percent(lead.get("share_positive")),
                *_errors([*errors, guess], ("fn", "median", metric, f"{metric}_trend")),
                _best_other(errors, metric),
            ]
        )
    return [Paragraph(f"Out of sample, for {_HELD_OUT[kind]}:"), Table(rows, right=[False, *[True] * 7, False])]


def _landmarks(values: Sequence[Values], metric: str) -> list[Block]:
    """Give the table of forecasts that are asked of all runs at one epoch, when each knows as much as the others."""
    rows = [["at epoch", "runs", "fn", "guess", metric, "trend", "best other"]]
    found = [value for value in values if value["quantity"] == "landmark_mae" and value["status"] == "ok"]
    for now in dict.fromkeys(value["epoch"] for value in found):
        errors = [value for value in found if value["epoch"] == now]
        rows.append(
            [
                f"{now:.0f}",
                str(errors[0]["n_at_risk"]),
                *_errors(errors, ("fn", "median", metric, f"{metric}_trend")),
                _best_other(errors, metric),
            ]
        )
    title = (
        "Asked at the same epoch of every run that has not collapsed, from what was seen by then (errors of the "
        "observable's trend up to its level at onset):"
    )
    return [Paragraph(title), Table(rows, right=[False, *[True] * 5, False])] if len(rows) > 1 else []


def _errors(values: Sequence[Values], names: Sequence[str]) -> list[str]:
    known = {value["baseline"]: value["estimate"] for value in values}
    return [epochs(known.get(name)) for name in names]


def _best_other(errors: Sequence[Values], metric: str) -> str:
    """Name the best contender that is not in a column of its own."""
    shown = ("fn", "median", metric, f"{metric}_trend", "nearest", "accuracy")
    best = min((v for v in errors if v["baseline"] not in shown), key=lambda v: float(v["estimate"]), default=None)
    return "-" if best is None else f"{epochs(best['estimate'])} {_SHORT.get(best['baseline'], best['baseline'])}"
