"""What the page of `ncdiag analyze lead` says in sentences; each takes the results of one pair."""

from collections.abc import Sequence

from ncdiag.cli.page_words import Values, corrected_p, find_result, is_shown
from ncdiag.domain.p_values import p_is
from ncdiag.domain.shares import counted, epochs, out_of, percent


def guess_words(values: Sequence[Values]) -> str:
    """Say whether the alarm of fn forecasts better than guessing, by the one test that was fixed beforehand."""
    skill = _primary(values)
    if skill["estimate"] is None:
        return (
            "all runs collapsed at the same epoch, so guessing it is always right, no forecast can do better, and any "
            "lead is as good as any other."
        )
    alarm = f"the alarm of fn, {_alarm_level(values, skill['margin'])},"
    p = corrected_p(skill)
    gain = percent(abs(skill["estimate"]))
    if skill["estimate"] <= 0:  # no p beside it: the test may say that the errors vary less, about a mean that is off
        how = f"its error is {gain} larger" if skill["estimate"] else "the errors are the same"
        return f"{alarm} forecasts the onset no better than guessing: {how}."
    if is_shown(skill, "p_holm"):
        return f"{alarm} forecasts the onset better than guessing: its error is {gain} smaller{p}."
    if skill["p"] is None:
        return f"{alarm} has an error {gain} smaller than guessing, which {skill['n_tested']} runs cannot test."
    return f"that {alarm} forecasts the onset better than guessing is not shown: error {gain} smaller{p}."


def _alarm_level(values: Sequence[Values], margin: float) -> str:
    """Say at which level the alarm is: short of fn*, from the side from which fn comes."""
    ways = (v["direction"] for v in values if v["quantity"] == "lead" and v["margin"] == margin)
    factor = f"{1 + margin:.4g}"
    return {"rises": f"at fn* / {factor}", "both": f"at {factor} fn* or fn* / {factor}"}.get(
        next(ways, "falls"), f"at {factor} fn*"
    )


def alarm_words(values: Sequence[Values], metric: str) -> str:
    """Say whether fn does better than alarms on other observables at the same mean lead, the metric first."""
    margin = _primary(values)["margin"]
    lead = find_result(values, "lead", margin=margin)
    if lead is not None and lead["estimate"] is None and lead["n_crossed"]:
        return "Every run is beyond that level when first evaluated, so there is no lead at which to compare others."
    rivals = [
        value
        for value in values
        if value["quantity"] == "skill"
        and value["margin"] == margin
        and value["baseline"] not in ("median", "nearest", f"{metric}_trend")
    ]
    against = next((value for value in rivals if value["baseline"] == metric), None)
    better = sum(1 for value in rivals if (value["estimate"] or 0) < 0)
    count = f"{out_of(better, len(rivals), 'other observable')} did better than fn"
    if against is None or against["estimate"] is None:
        return f"At the same mean lead, {count}." if rivals else "No other observable was stored to compare fn with."
    own, other = (_error(values, name, margin) for name in ("fn", metric))
    errors = f"{epochs(own)} epochs by fn, {epochs(other)} by {metric}"
    if against["estimate"] <= 0:
        beside = "as much" if epochs(own) == epochs(other) else "less"
        said = f"an alarm on {metric} itself errs {beside}, so as an alarm fn is no better"
    elif is_shown(against):
        said, errors = (
            f"an alarm on {metric} itself errs more: as an alarm fn is better",
            f"{errors}, {p_is(against['p'])}",
        )
    else:
        p = "" if against["p"] is None else f", {p_is(against['p'])}"
        said, errors = f"that fn errs less than an alarm on {metric} itself is not shown", errors + p
    return f"At the same mean lead, {said} ({errors}); {count}."


def fixed_words(values: Sequence[Values]) -> list[str]:
    """Say what contenders without fn* do (multiples of eps, accuracy, the nearest condition), then the order."""
    fixed = [value for value in values if value["quantity"] == "mae" and value["margin"] is None]
    nearest = next((value for value in fixed if value["baseline"] == "nearest"), None)
    alarms = [
        f"{value['baseline']}: error {epochs(value['estimate'])}, lead {epochs(value['mean_lead'])}"
        for value in fixed
        if value["mean_lead"] is not None
    ]
    found = [f"Alarms that need no fn*: {'; '.join(alarms)}."] if alarms else []
    if nearest is not None:
        found.append(
            "Without looking at the run at all, by the median onset of the condition most like its own: error "
            f"{epochs(nearest['estimate'])}."
        )
    order = next((value for value in values if value["quantity"] == "concordance" and value["margin"] == 0), None)
    if order is not None and order["estimate"] is not None:
        found.append(
            f"Order: of two runs, the one that reaches fn* first collapses first in {percent(order['estimate'])} of "
            f"{order['n_pairs']} pairs (50% is chance)."
        )
    return found


def published_words(values: Sequence[Values]) -> list[str]:
    """Say the published reading, and what it left out."""
    lead, mae = (find_result(values, quantity, held_out="none") for quantity in ("lead", "mae"))
    if lead is None or mae is None or lead["estimate"] is None:
        return []
    n_never = lead["n_never"]
    dropped = f", without the {n_never} that had not crossed by their end, whose leads are below 0" if n_never else ""
    return [
        f"As published (fn* and mean lead from the very runs that are judged): mean lead {epochs(lead['estimate'])}, "
        f"error {epochs(mae['estimate'])} epochs, over {counted(lead['n_crossed'], 'run')}{dropped}."
    ]


def specificity_words(values: Sequence[Values]) -> list[str]:
    """Say how many runs crossed fn* with and without a collapse, and what was forecast for those without one."""
    caught, quiet = (find_result(values, name, margin=0.0) for name in ("sensitivity", "specificity"))
    if caught is None or quiet is None:
        return []
    collapsed = caught["crossed_collapsed"] + caught["missed_collapsed"]
    text = f"Of {counted(collapsed, 'run')} that collapsed, {caught['crossed_collapsed']} had crossed fn* by then"
    censored = quiet["crossed_censored"] + quiet["quiet_censored"]
    if not censored:
        return [f"{text}. No run ended without a collapse, so false alarms cannot be counted."]
    found = [
        f"{text}. Of {counted(censored, 'run')} that did not collapse, {quiet['crossed_censored']} crossed it too: "
        f"false alarms, {quiet['overdue_censored']} of them past the onset that fn forecast (specificity "
        f"{percent(quiet['estimate'])}, {percent(quiet['lo'])} to {percent(quiet['hi'])})."
    ]
    own = find_result(values, "mae", margin=0.0, baseline="fn")
    guess = find_result(values, "mae", baseline="median")
    if own is not None and guess is not None and own["hinge"] is not None:
        found.append(
            f"For the {counted(own['n_hinge'], 'run')} that ended without an onset, forecasts were too early by at "
            f"least {epochs(own['hinge'])} epochs on average by fn at fn*, {epochs(guess['hinge'])} by guessing."
        )
    return found


def _primary(values: Sequence[Values]) -> Values:
    return next(value for value in values if value.get("primary"))


def _error(values: Sequence[Values], baseline: str, margin: float) -> float | None:
    found = find_result(values, "mae", baseline=baseline, margin=margin)
    return None if found is None else found["estimate"]
