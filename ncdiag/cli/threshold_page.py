"""The printed answer to `ncdiag analyze threshold`, for readers who know neural collapse but not statistics."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ncdiag.cli.norm_words import norm_text, norm_texts
from ncdiag.cli.output import printable
from ncdiag.cli.page_words import Values, by_pair, find_result, get_result, reminders
from ncdiag.cli.threshold_words import (
    check_blocks,
    condition_effect,
    invariance_words,
)
from ncdiag.domain.page import Block, Legend, Page, Paragraph, Part, Reading, Table
from ncdiag.domain.shares import counted, percent

if TYPE_CHECKING:
    from ncdiag.analysis.terms import Terms
    from ncdiag.domain.result import Result

_MAX_CONDITIONS = 12

# What there is to say of a pair without an fn*, by the status of the result.
_WITHOUT = {
    "unconfirmed": "no onset is certain: some runs ended before --patience could confirm it. Train a little longer; "
    "imported runs, which cannot be, count with --rule first or a larger --eps.",
    "all_censored": "no run collapsed under this rule, so there is no fn*. Longer training or a larger --eps may help.",
    "left_censored": "the runs were below eps when first evaluated, so their onset is unknown. Evaluate more often.",
    "diverged": "the runs diverged, so there is no fn*. A smaller learning rate may help.",
    "dead": "the features died, which is no collapse, so there is no fn*.",
    "not_testable": "the runs collapsed, but no feature norm was measured at their onset.",
    "no_data": "the metric was not measured in these runs, or not in the --phase that was asked for, or it was never "
    "finite: it is NaN where a class has no sample.",
}
# How runs can end without a usable onset: the count in a result, and what to call it.
_ENDS = (
    ("n_open", "ended before an onset (censored)"),
    ("n_unconfirmed", "below eps at the end, but too briefly to count"),
    ("n_left_censored", "below eps from the start"),
    ("n_diverged", "diverged"),
    ("n_dead", "dead"),
)


def threshold_page(results: "Sequence[Result]", terms: "Terms") -> Page:
    """Give the page: a table with a line per pair, then what each pair shows, in words."""
    pairs = by_pair(results)
    sure = percent(terms.level)
    heading = ("pair", "runs", "fn*", f"{sure} interval", "CV", "CV up to", "onset", "loss")
    table = Table(
        [heading, *(_line(label, get_result(own, "fn_star")) for label, own in pairs)],
        right=[place > 0 for place in range(len(heading))],
    )
    legend = (
        "runs: collapsed of evaluated. fn*: geometric mean, with its confidence interval. CV: how much "
        f"fn* varies from run to run, conditions weighing alike; then its upper {sure} bound. "
        "onset: epochs from the first run's to the last run's. loss: the one trained with at onset."
    )
    return Page(
        title="fn*, the mean feature norm at the onset of collapse",
        rule=str(terms.rule),
        parts=[Part([table]), Part([Legend(legend)]), *(_part(label, own) for label, own in pairs)],
    )


def _line(label: str, pair: Values) -> list[str]:
    start = [label, f"{pair['n_collapsed']}/{pair['n_runs']}"]
    if pair["estimate"] is None:
        return [*start, *["-"] * 6]
    found, limits = norm_texts(pair)
    return [
        *start,
        found,
        "-".join(limits) or "-",
        percent(pair["log_cv"]),
        percent(pair["cv_upper"]),
        "-".join(dict.fromkeys(f"{pair[end]:.0f}" for end in ("t_min", "t_max"))),
        "/".join([*pair["losses"], *["?"] * (0 < sum(pair["losses"].values()) < pair["n_collapsed"])]) or "-",
    ]


def _part(label: str, own: Sequence[Values]) -> Part:
    pair, spread = (get_result(own, quantity) for quantity in ("fn_star", "cv"))
    checks = [check for key in ("placebo_cv", "eps_sensitivity") if (check := find_result(own, key))]
    blocks: list[Block] = [Reading(_reading(pair, spread)), Paragraph(f"Runs: {_endings(pair)}.")]
    if pair["estimate"] is not None:
        blocks.append(Paragraph(f"Onset: {_onset(pair)}."))
        blocks.append(Paragraph(f"Plain figures, as the paper gives them: {_plain_figures(pair)}."))
        blocks += _conditions(pair["conditions"])
        said = [*condition_effect(spread), *invariance_words(find_result(own, "invariance"))]
        blocks += [Paragraph(f"Conditions: {'; '.join(said)}.")] if said else []
        blocks += check_blocks(checks)
        checks += [found for found in [find_result(own, "invariance")] if found and found["status"] == "ok"]
    checked = [caution for check in checks if pair["estimate"] is not None for caution in check["warnings"]]
    blocks += reminders([*pair["warnings"], *spread["warnings"], *_false_alarms(pair), *checked])
    return Part(blocks, heading=label)


def _reading(pair: Values, spread: Values) -> str:
    """Say in one sentence what the pair shows."""
    if pair["estimate"] is None:
        said = _WITHOUT["unconfirmed" if pair["n_unconfirmed"] else pair["status"]]
        reached = pair.get("lowest") if pair["status"] == "all_censored" else None
        return said if reached is None else f"{said} The lowest value that any run has reached is {reached:.3g}."
    norm, limits = norm_texts(pair)
    found = f"at onset the feature norm is {norm}"
    if pair["status"] == "too_few":
        return f"{found}, in one run; a second one would give an interval."
    if pair["status"] == "zero_variance":
        return f"{found} in every run, to the last digit. Are these runs copies of one?"
    if len(pair["losses"]) > 1:
        losses = ", ".join(f"{loss}: {count}" for loss, count in pair["losses"].items())
        option = "--phase" if len(pair["phases"]) > 1 else "--where"
        number = {2: "two", 3: "three"}.get(len(pair["losses"]), str(len(pair["losses"])))
        mixed = f"it was read under {number} losses ({losses}) and is not one quantity: choose one with {option}"
        return f"{found}, but {mixed}."
    claim = percent(spread["claim"])
    among = " of this one condition" if pair["n_conditions"] == 1 else ""
    judged = {
        "supported": f"it varies by less than {claim} from run to run{among}, and there are enough runs to say so.",
        "refuted": f"it varies by more than {claim} from run to run, so it is not one value.",
        "inconclusive": f"whether it varies by less than {claim} from run to run cannot be said yet.",
        "not testable": "how much it varies from run to run cannot be said from so few runs.",
    }
    but = f" But {pair['blocked'][0]}." if pair["blocked"] and spread["verdict"] in ("supported", "refuted") else ""
    return f"{found} ({' to '.join(limits)}); {judged[spread['verdict']]}{but}"


def _endings(pair: Values) -> str:
    counts = {**pair, "n_open": pair["n_censored"] - pair["n_unconfirmed"]}
    ends = [f"{counts[key]} {what}" for key, what in _ENDS if counts[key]]
    others = f"; {pair['n_no_data']} more without data" if pair["n_no_data"] else ""
    return ", ".join([f"{pair['n_collapsed']} of {pair['n_runs']} collapsed", *ends]) + others


def _onset(pair: Values) -> str:
    first, last = f"{pair['t_min']:.0f}", f"{pair['t_max']:.0f}"
    when = f"epoch {first}" if first == last else f"epochs {first} to {last}, median {pair['t_median']:.0f}"
    runs = pair["n_collapsed"]
    phases, losses = _counted(pair["phases"], "in", "phase", runs), _counted(pair["losses"], "under", "", runs)
    return ", ".join([when, *phases, *losses])


def _counted(counts: Mapping[str, int], how: str, what: str, runs: int) -> list[str]:
    """Say `in phase 2`, or `3 in phase 1, 9 in phase 2` where the runs differ or do not all say it."""
    named = {" ".join(filter(None, (how, what, name))): count for name, count in counts.items()}
    unsaid = runs - sum(counts.values())
    if named and unsaid:
        named[f"{how} an unknown {what or 'loss'}"] = unsaid
    return list(named) if len(named) == 1 else [f"{count} {said}" for said, count in named.items()]


def _plain_figures(pair: Values) -> str:
    spread = "" if pair["sd"] is None or pair["cv"] is None else f", sd {pair['sd']:.4f}, CV {100 * pair['cv']:.2f}%"
    return f"mean {pair['mean']:.4f}{spread}"


def _conditions(conditions: Sequence[Values]) -> list[Block]:
    """Give a table with a row for each condition with an fn*, what the runs of a pair differ in besides the seed."""
    found = [row for row in conditions if row["n_collapsed"]]
    if len(found) < 2:
        return []
    rows = [["condition", "runs", "fn*", "onset", "from", "to"]]
    rows += [
        [
            printable(row["condition"]),
            f"{row['n_collapsed']}/{row['n_runs']}",
            norm_text(row["fn_star"]),
            *(_epoch(row[key]) for key in ("median", "median_lo", "median_hi")),
        ]
        for row in found[:_MAX_CONDITIONS]
    ]
    if (more := len(found) - _MAX_CONDITIONS) > 0:
        rows.append([f"and {more} more (--format json)", *[""] * 5])
    levels = [row["median_level"] for row in found if row["median_lo"] is not None]
    sure = f", with an interval that holds it with {percent(min(levels))} confidence or more" if levels else ""
    legend = f"onset: the median{sure}"
    without = [row for row in conditions if not row["n_collapsed"]]
    if without:
        runs = sum(row["n_runs"] for row in without)
        have = "has" if len(without) == 1 else "have"
        legend += f". {counted(len(without), 'further condition')} ({counted(runs, 'run')}) {have} no onset"
    return [Table(rows, right=[False, *[True] * 5]), Legend(f"{legend}.")]


def _epoch(value: float | None) -> str:
    return "-" if value is None else "never" if math.isinf(value) else f"{value:.0f}"


def _false_alarms(pair: Values) -> list[str]:
    crossed = pair.get("n_censored_crossed", 0)
    passed = "rose above" if pair.get("direction") == "rises" else "fell below"
    return [f"the feature norm of {crossed} of the runs without an onset {passed} fn*"] if crossed else []
