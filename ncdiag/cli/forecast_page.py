"""The printed answer to `ncdiag analyze forecast`: which rule forecasts an onset best, and what its word is worth."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ncdiag.cli.output import printable
from ncdiag.cli.page_words import Values, by_pair, corrected_p, get_result, is_shown, reminders
from ncdiag.domain.page import Block, Legend, Page, Paragraph, Part, Reading, Table
from ncdiag.domain.shares import percent

if TYPE_CHECKING:
    from ncdiag.analysis.terms import Terms
    from ncdiag.domain.result import Result

_HELD_OUT = {
    "condition": "each condition forecast from the other conditions: a new setting",
    "run": "each run forecast from the other runs: another seed",
}
_INTRODUCTION = (
    "Every run is asked at the same epochs when it will collapse, and every rule answers from what the run shows until "
    "then. Whatever a rule learns, it learns from runs that it does not forecast. The winner of the other runs answers "
    "for a run, so its error is honest; 'best' is the error of the rule that won over all of them, and flattered."
)
_LEGEND = (
    "lead: mean epochs from the question to the onset. error: mean distance of forecast and onset, in epochs. guess: "
    "the median onset of the other runs. fn: where fn falls to fn*. trend: where the trend of {m} reaches eps."
)
_SHOWN = 6  # rules of the tournament in the table; all are in --format json
_CLOSE = 0.05 + 1e-9  # points between the share of intervals that hold and what they say


def forecast_page(results: "Sequence[Result]", terms: "Terms") -> Page:
    """Give the page: what is asked, for each pair a reading and two tables, then how to read them."""
    return Page(
        title="Forecast: which rule says best when a run collapses",
        rule=str(terms.rule),
        parts=[
            *(_part(label, values) for label, values in by_pair(results)),
            Part([Paragraph(_INTRODUCTION)]),
            Part([Legend(_LEGEND.format(m=terms.rule.metric))]),
        ],
    )


def _part(label: str, values: Sequence[Values]) -> Part:
    if values[0]["status"] == "too_few":
        return Part([Paragraph(f"{printable(values[0]['warnings'][0])}.")], heading=label)
    kinds = [kind for kind in _HELD_OUT if any(value["held_out"] == kind for value in values)]
    first = [value for value in values if value["held_out"] == kinds[0]]
    blocks: list[Block] = [Reading(_reading(first)), Paragraph(_norm(first))]
    cautions = list(get_result(first, "mae", rule="winner", primary=True)["warnings"])
    cautions += get_result(first, "skill", rule="winner", primary=True)["warnings"]
    cautions += get_result(first, "fn_gain", primary=True)["warnings"]
    if kinds[0] == "run":
        cautions.append("the runs are of fewer than 3 conditions, so this says nothing about a new condition")
    for kind in kinds:
        blocks += _curve([value for value in values if value["held_out"] == kind], kind)
    spread = get_result(first, "seed_spread", primary=True)
    if spread["estimate"] is not None:
        said = (
            f"Seeds of one condition differ: a forecast that knew the condition perfectly, and nothing of the run "
            f"itself, would err by {_epochs(spread['estimate'])} epochs."
        )
        blocks.append(Paragraph(said))
    floor = get_result(first, "noise_floor", primary=True)
    if floor["estimate"] is not None:
        said = (
            f"Noise alone moves an onset by {_epochs(floor['estimate'])} epochs on average: a forecast that knew the "
            "course of each run to its end, but not its next fluctuation, would still err by this much."
        )
        blocks.append(Paragraph(said))
    return Part([*blocks, *_rules(first), *reminders(cautions)], heading=label)


def _reading(values: Sequence[Values]) -> str:
    won, guess = (get_result(values, "mae", rule=rule, primary=True) for rule in ("winner", "median"))
    skill = get_result(values, "skill", rule="winner", primary=True)
    asked = f"asked at epoch {won['epoch']:.0f}, {won['lead']:.0f} epochs before onset on average,"
    errors = f"the winner errs by {_epochs(won['estimate'])} epochs and guessing by {_epochs(guess['estimate'])}"
    if skill["estimate"] is None:
        return f"{asked} {errors}: all onsets are at one epoch, and no forecast can do better than that."
    p = corrected_p(skill)
    if set(won["chosen_held_out"]) == {"median"} or skill["estimate"] <= 0:
        # no p beside it: the test may say that the errors vary less, about a mean that is off
        return f"{asked} nobody beats guessing the median onset of the other runs: {errors}."
    if is_shown(skill, "p_holm"):
        return f"{asked} {errors}: better than guessing{p}."
    return f"{asked} {errors}; that this is better than guessing is not shown{p}."


def _norm(values: Sequence[Values]) -> str:
    """Say whether the rules of the feature norm add anything to the others."""
    gain = get_result(values, "fn_gain", primary=True)
    if gain["status"] == "zero_variance":
        return "The feature norm can add nothing: without it, the mean of all rules does not err."
    if gain["estimate"] is None or gain["estimate"] == 0:
        return "The feature norm adds nothing: no rule of fn has weight in the mean of all rules."
    size = _whole(abs(gain["estimate"]))
    errs, than = ("as much", "as") if size == "0%" else (f"{size} {'less' if gain['estimate'] > 0 else 'more'}", "than")
    said = f"the mean of all rules errs {errs} with the rules of fn {than} without them"
    if gain["lo"] is None or gain["hi"] is None:
        return f"That the feature norm adds anything is not shown: {said}."
    if gain["hi"] < 0:
        return f"The feature norm adds nothing: {said}."
    if gain["lo"] > 0:
        return f"The feature norm adds something: {said}."
    limits = f"the interval of what they take off the error is {_whole(gain['lo'])} to {_whole(gain['hi'])}"
    return f"That the feature norm adds anything is not shown: {said}; {limits}."


def _curve(values: Sequence[Values], kind: str) -> list[Block]:
    heading = ["lead", "asked at", "runs", "guess", "fn", "trend", "winner", "best", "which is"]
    rows = []
    winners = [value for value in values if value["quantity"] == "mae" and value["rule"] == "winner"]
    for won in sorted(winners, key=lambda value: -float(value["lead"])):
        here = {v["rule"]: v for v in values if v["quantity"] == "mae" and v["epoch"] == won["epoch"]}
        columns = (here.get(name) for name in ("median", "fn", "trend"))
        rows.append(
            [
                f"{won['lead']:.0f}",
                f"{won['epoch']:.0f}",
                str(won["n_asked"]),
                *(_epochs(value["estimate"] if value else None) for value in columns),
                _epochs(won["estimate"]),
                _epochs(won["mae_selected"]),
                won["chosen"],
            ]
        )
    covered = [value for value in values if value["quantity"] == "coverage"]
    table = Table([heading, *rows], right=[False, *[True] * 7, False])
    return [Paragraph(f"Error, {_HELD_OUT[kind]}:"), table, Paragraph(_coverage(covered))]


def _coverage(values: Sequence[Values]) -> str:
    if any(value["estimate"] is None for value in values):
        return "The forecasts have no intervals: the runs that they are learned from do not differ."
    said = ", ".join(
        f"{percent(v['nominal'])} intervals {percent(v['estimate'])} ({_whole(v['lo'])} to {_whole(v['hi'])})"
        for v in values
    )
    close = all(abs(value["estimate"] - value["nominal"]) <= _CLOSE for value in values)
    known = all(value["lo"] <= value["nominal"] <= value["hi"] for value in values)
    units = f"{values[0]['n_units']} {values[0]['over']}"
    few = f"; with {units} the difference may be chance" if known else ""
    verdict = f"{'within' if close else 'more than'} 5 points {'of' if close else 'from'} what they promise{few}"
    width = ", ".join(f"{_epochs(v['width'])} epochs (about a guess: {_epochs(v['guess_width'])})" for v in values)
    return (
        f"Onsets inside their intervals, in {values[0]['n_asked']} forecasts of {units}: {said}; the limits count each "
        f"of the {units} once. That is {verdict}. Their width: {width}."
    )


def _rules(values: Sequence[Values]) -> list[Block]:
    """Give the best rules at the lead that the tournament is about, with fn and the guess wherever they stand.

    They are listed by the error that is shown; the order in which the tournament chooses is another one, by `rank`.
    """
    every = [v for v in values if v["quantity"] == "mae" and v.get("primary") and v.get("rank")]
    ranked = sorted(every, key=lambda value: (value["estimate"], value["rank"]))
    skills = {v["rule"]: v for v in values if v["quantity"] == "skill" and v.get("primary")}
    shown = [(n, v) for n, v in enumerate(ranked, 1) if n <= _SHOWN or v["rule"] in ("fn", "median")]
    rows = [["", "rule", "error", "gain on guess", "interval"]]
    for place, value in shown:
        skill = skills.get(value["rule"])
        gain = "" if skill is None or skill["estimate"] is None else _whole(skill["estimate"])
        limits = "" if skill is None or skill["lo"] is None else f"{_whole(skill['lo'])} to {_whole(skill['hi'])}"
        rows.append([f"{place}.", value["rule"], _epochs(value["estimate"]), gain, limits])
    lead = f"{ranked[0]['lead']:.0f}"
    said = f"The {len(ranked)} rules at a lead of {lead}, the smallest error first (exploratory, no tests):"
    chosen = min(ranked, key=lambda value: value["rank"])["rule"]
    why = (
        f"The winner is {chosen}. Rules are also compared at later epochs, and a single rule wins only if its error is "
        "a third below that of their mean."
    )
    return [Paragraph(said), Table(rows, right=[True, False, True, True, True]), Paragraph(why)]


def _whole(share: float) -> str:
    """Write a share in percent without decimals; a minus where it is a loss."""
    return f"{round(100 * share)}%"


def _epochs(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"
