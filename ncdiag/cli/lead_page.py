"""The printed answer to `ncdiag analyze lead`: whether fn announces the onset, or something else does better."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ncdiag.cli.output import layout, paragraph, printable
from ncdiag.cli.threshold_words import p_text, pair_label, percent

if TYPE_CHECKING:
    from ncdiag.domain.onset import OnsetRule
    from ncdiag.domain.result import Result

Values = Mapping[str, Any]

_HELD_OUT = {
    "condition": "each condition forecast from the other conditions: a new setting",
    "run": "each run forecast from the other runs: another seed",
}
_INTRODUCTION = (
    "The alarm is the first epoch with fn at or below (1 + margin) fn*; its lead is how many epochs before onset that "
    "was. The forecast of the onset is the alarm plus the median lead of other runs. fn*, leads and all else are "
    "learned from runs that are not forecast."
)
_ZERO = (
    "A mean lead proves nothing: fn* is the mean of fn at onset, so where fn falls steadily the mean lead at fn* "
    "itself is 0 whatever the data. A lead at margin 0 means that fn is flat, wavers or turns before onset; a larger "
    "margin buys as much lead as one likes. What counts is the error at that lead, beside guessing."
)
_LEGEND = (
    "lead: mean, in epochs; in time: the mean lead once the alarm is confirmed. early: share of the alarms before "
    "onset. error: mean error of the forecast, in epochs, by the alarm of fn; guess: by the median onset of the other "
    "runs; {m}: by an alarm of {m} with the same lead; trend: by the trend of {m} at the time of the alarm; best "
    "other: by the best of the other observables at about the same lead, picked afterwards and so flattered."
)


def lead_page(results: "Sequence[Result]", rule: "OnsetRule") -> str:
    """Give the page: what is asked, then for each pair a reading and a table."""
    pairs: dict[str, list[Values]] = {}
    for result in results:
        pairs.setdefault(pair_label(result.group), []).append(result.to_dict())
    return "\n\n".join(
        [
            paragraph(f"Lead: how far ahead the feature norm announces the onset ({rule})"),
            paragraph(_INTRODUCTION),
            paragraph(_ZERO),
            paragraph(_LEGEND.format(m=rule.metric)),
            *(_block(label, values, rule.metric) for label, values in pairs.items()),
        ]
    )


def _block(label: str, values: Sequence[Values], metric: str) -> str:
    if len(values) == 3 and values[0]["status"] == "too_few":
        return "\n".join([label, paragraph(f"{printable(values[0]['warnings'][0])}.", indent="  ")])
    kinds = [kind for kind in _HELD_OUT if any(value["held_out"] == kind for value in values)]
    lines = [label, paragraph(f"In short: {_reading(values, kinds[0])}", indent="  ")]
    for kind in kinds:
        lines += _table([value for value in values if value["held_out"] == kind], kind, metric)
    lines += _tournament([value for value in values if value["held_out"] == kinds[0]])
    lines += [paragraph(text, indent="  ") for text in (_published(values), _specificity(values, kinds[0])) if text]
    cautions = dict.fromkeys(
        caution
        for value in values
        if value["held_out"] == kinds[0] and value["margin"] in (0, 0.25) and value["quantity"] in ("lead", "skill")
        for caution in value["warnings"]
        if "by construction" not in caution and value.get("baseline") in (None, "median")
    )
    if cautions:
        lines.append("  Keep in mind:")
    return "\n".join([*lines, *(paragraph(f"{printable(caution)}.", indent="    - ") for caution in cautions)])


def _find(values: Sequence[Values], quantity: str, **said: Any) -> Values | None:
    wanted = {"quantity": quantity, **said}
    return next((value for value in values if all(value.get(key) == item for key, item in wanted.items())), None)


def _reading(values: Sequence[Values], kind: str) -> str:
    skill = next(value for value in values if value.get("primary") and value["held_out"] == kind)
    rivals = [
        value
        for value in values
        if value["quantity"] == "skill" and value["held_out"] == kind and value["margin"] == skill["margin"]
    ]
    if skill["estimate"] is None:
        return "the onsets are all at one epoch, so guessing it is always right, and no forecast can do better."
    p = "" if skill["p"] is None else f" (p = {p_text(skill['p_holm'])}, smallest possible {p_text(skill['p_min'])})"
    gain = percent(abs(skill["estimate"]))
    if skill["estimate"] <= 0:
        judged = f"the alarm of fn forecasts the onset no better than guessing: its error is {gain} larger{p}"
    elif skill["p_holm"] is not None and skill["p_holm"] < 0.05:
        judged = f"the alarm of fn forecasts the onset better than guessing: its error is {gain} smaller{p}"
    else:
        judged = f"that the alarm of fn forecasts the onset better than guessing is not shown: error {gain} smaller{p}"
    better = sum(1 for rival in rivals if (rival["estimate"] or 0) < 0 and rival["baseline"] != "median")
    others = sum(1 for rival in rivals if rival["baseline"] != "median")
    return f"at a margin of {percent(skill['margin'])}, {judged}. {better} of {others} other alarms did better than fn."


def _table(values: Sequence[Values], kind: str, metric: str) -> list[str]:
    heading = ["    margin", "lead", "in time", "early", "error", "guess", metric, "trend", "best other"]
    rows = [heading]
    guess = _find(values, "mae", baseline="median")
    for lead in (value for value in values if value["quantity"] == "lead"):
        margin = lead["margin"]
        errors = {v["baseline"]: v for v in values if v["quantity"] == "mae" and v["margin"] == margin}
        others = [v for name, v in errors.items() if name not in ("fn", metric, f"{metric}_trend")]
        best = min(others, key=lambda value: float(value["estimate"]), default=None)
        rows.append(
            [
                f"    {percent(margin)}",
                _epochs(lead["estimate"]),
                _epochs(lead["actionable"]),
                percent(lead.get("share_positive")),
                *(_epochs(v["estimate"] if v else None) for v in (errors.get("fn"), guess, errors.get(metric))),
                _epochs(errors[f"{metric}_trend"]["estimate"]),
                "-" if best is None else f"{_epochs(best['estimate'])} {best['baseline']}",
            ]
        )
    table = layout(rows, right=[False, *[True] * 7, False], gap=2)
    return [paragraph(f"Out of sample, {_HELD_OUT[kind]}:", indent="  "), *table]


def _tournament(values: Sequence[Values]) -> list[str]:
    """Say the alarms that need no margin: fixed multiples of eps, and the train accuracy."""
    fixed = [v for v in values if v["quantity"] == "mae" and v["margin"] is None and v["baseline"] != "median"]
    said = [
        f"{v['baseline']}: error {_epochs(v['estimate'])}, lead {_epochs(v['mean_lead'])}"
        for v in fixed
        if v["mean_lead"] is not None
    ]
    return [paragraph(f"Alarms that need no fn*: {'; '.join(said)}.", indent="  ")] if said else []


def _published(values: Sequence[Values]) -> str:
    lead, mae = _find(values, "lead", held_out="none"), _find(values, "mae", held_out="none")
    if lead is None or mae is None or lead["estimate"] is None:
        return ""
    return (
        f"As published (fn* and mean lead from the very runs that are judged): mean lead {_epochs(lead['estimate'])}, "
        f"error {_epochs(mae['estimate'])} epochs, over {lead['n_crossed']} runs; {lead['n_never']} that never crossed "
        "are dropped."
    )


def _specificity(values: Sequence[Values], kind: str) -> str:
    caught, quiet = (_find(values, name, margin=0.0, held_out=kind) for name in ("sensitivity", "specificity"))
    if caught is None or quiet is None:
        return ""
    text = (
        f"Crossed fn* by the onset: {caught['crossed_collapsed']} of "
        f"{caught['crossed_collapsed'] + caught['missed_collapsed']} runs that collapsed"
    )
    censored = quiet["crossed_censored"] + quiet["quiet_censored"]
    if not censored:
        return f"{text}. No run ended without a collapse, so false alarms cannot be counted."
    return (
        f"{text}, and {quiet['crossed_censored']} of {censored} runs that did not (false alarms; "
        f"specificity {percent(quiet['estimate'])}, {percent(quiet['lo'])} to {percent(quiet['hi'])})."
    )


def _epochs(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if abs(value) >= 9.95 else f"{value:.1f}"
