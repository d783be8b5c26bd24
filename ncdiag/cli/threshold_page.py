"""The printed answer to `ncdiag analyze threshold`, for readers who know neural collapse but not statistics."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ncdiag.cli.output import layout, paragraph, printable, table_cell

if TYPE_CHECKING:
    from ncdiag.domain.onset import OnsetRule
    from ncdiag.domain.result import Result

Values = Mapping[str, Any]

_MAX_CONDITIONS = 12

# What there is to say of a pair without an fn*, by the status of the result.
_WITHOUT = {
    "unconfirmed": "no onset is certain: some runs ended before --patience could confirm it. Train a little longer.",
    "all_censored": "no run collapsed under this rule, so there is no fn*. Longer training or a larger --eps may help.",
    "left_censored": "the runs were below eps when first evaluated, so their onset is unknown. Evaluate more often.",
    "diverged": "the runs diverged, so there is no fn*. A smaller learning rate may help.",
    "dead": "the features died, which is no collapse, so there is no fn*.",
    "not_testable": "the runs collapsed, but no feature norm was measured at their onset.",
    "no_data": "the metric was not measured in these runs.",
}
# How runs can end without a usable onset: the count in a result, and what to call it.
_ENDS = (
    ("n_open", "ended before an onset (censored)"),
    ("n_unconfirmed", "below eps at the end, but too briefly to count"),
    ("n_left_censored", "below eps from the start"),
    ("n_diverged", "diverged"),
    ("n_dead", "dead"),
    ("n_no_data", "without data"),
)


def threshold_page(results: "Sequence[Result]", rule: "OnsetRule", level: float) -> str:
    """Give the page: a table with a line per pair, then what each pair shows, in words."""
    pairs = [result.to_dict() for result in results if result.quantity == "fn_star"]
    spreads = {_label(result.group): result.to_dict() for result in results if result.quantity == "cv"}
    sure = _percent(level)
    heading = ("pair", "runs", "fn*", f"{sure} interval", "CV", "CV up to", "onset", "loss")
    table = layout([heading, *map(_line, pairs)], right=[place > 0 for place in range(len(heading))])
    legend = (
        "runs: collapsed of evaluated. fn*: geometric mean, and where it lies with the certainty given. CV: how much "
        f"fn* varies from run to run; with a certainty of {sure} the true CV is at most the figure after it. "
        "onset: epochs from the first run's to the last run's. loss: the one trained with at onset."
    )
    return "\n\n".join(
        [
            paragraph(f"fn*, the mean feature norm at the onset of collapse ({rule})"),
            "\n".join(table),
            paragraph(legend),
            *(_block(pair, spreads[_label(pair["group"])]) for pair in pairs),
        ]
    )


def _label(group: Values) -> str:
    """Name a pair: `mlp mnist`, and `depth=5` for what would not be understood without its name."""
    parts = [value if isinstance(value, str) else f"{key}={_known(value)}" for key, value in group.items()]
    return printable(" ".join(parts))


def _line(pair: Values) -> list[str]:
    start = [_label(pair["group"]), f"{pair['n_collapsed']}/{pair['n_runs']}"]
    if pair["estimate"] is None:
        return [*start, *["-"] * 6]
    return [
        *start,
        _norm(pair["estimate"]),
        _range(pair, "-"),
        _percent(pair["cv"]),
        _percent(pair["cv_upper"]),
        "-".join(dict.fromkeys(f"{pair[end]:.0f}" for end in ("t_min", "t_max"))),
        "/".join(pair["losses"]) or "-",
    ]


def _block(pair: Values, spread: Values) -> str:
    lines = [_label(pair["group"]), paragraph(f"In short: {_reading(pair, spread)}", indent="  ")]
    lines.append(paragraph(f"Runs: {_endings(pair)}.", indent="  "))
    if pair["estimate"] is not None:
        lines.append(paragraph(f"Onset: {_onset(pair)}.", indent="  "))
        lines.append(paragraph(f"Plain figures, as the paper gives them: {_plain_figures(pair)}.", indent="  "))
        lines += _conditions(pair["conditions"])
    cautions = dict.fromkeys([*pair["warnings"], *spread["warnings"], *_false_alarms(pair)])
    if cautions:
        lines.append("  Keep in mind:")
    lines += [paragraph(f"{printable(caution)}.", indent="    - ") for caution in cautions]
    return "\n".join(lines)


def _reading(pair: Values, spread: Values) -> str:
    """Say in one sentence what the pair shows."""
    if pair["estimate"] is None:
        return _WITHOUT["unconfirmed" if pair["n_unconfirmed"] else pair["status"]]
    found = f"at onset the feature norm is {_norm(pair['estimate'])}"
    if pair["status"] == "too_few":
        return f"{found}, in one run; a second one would give an interval."
    if pair["status"] == "zero_variance":
        return f"{found} in every run, to the last digit. Are these runs copies of one?"
    claim = _percent(spread["claim"])
    judged = {
        "supported": f"it varies by less than {claim} from run to run, and there are enough runs to say so.",
        "refuted": f"it varies by more than {claim} from run to run, so it is not one value.",
        "inconclusive": f"whether it varies by less than {claim} from run to run cannot be said yet.",
        "not testable": "how much it varies from run to run cannot be said from so few runs.",
    }
    return f"{found} ({_range(pair, ' to ')}); {judged[spread['verdict']]}"


def _endings(pair: Values) -> str:
    counts = {**pair, "n_open": pair["n_censored"] - pair["n_unconfirmed"]}
    ends = [f"{counts[key]} {what}" for key, what in _ENDS if counts[key]]
    return ", ".join([f"{pair['n_collapsed']} of {pair['n_runs']} collapsed", *ends])


def _onset(pair: Values) -> str:
    first, last = f"{pair['t_min']:.0f}", f"{pair['t_max']:.0f}"
    when = f"epoch {first}" if first == last else f"epochs {first} to {last}, median {pair['t_median']:.0f}"
    return ", ".join([when, *_counted(pair["phases"], "in phase"), *_counted(pair["losses"], "under")])


def _counted(counts: Mapping[str, int], what: str) -> list[str]:
    """Say `in phase 2`, or `3 in phase 1, 9 in phase 2` where the runs differ."""
    return [f"{what} {name}" if len(counts) == 1 else f"{count} {what} {name}" for name, count in counts.items()]


def _plain_figures(pair: Values) -> str:
    spread = "" if pair["sd"] is None else f", sd {pair['sd']:.4f}, CV {100 * pair['cv']:.2f}%"
    return f"mean {pair['mean']:.4f}{spread}"


def _conditions(conditions: Sequence[Values]) -> list[str]:
    """Give a line for each condition, what the runs of a pair differ in besides the seed."""
    if len(conditions) < 2:
        return []
    rows = [["    condition", "runs", "fn*", "onset"]]
    rows += [
        [f"    {printable(row['condition'])}", str(row["n_runs"]), _norm(row["fn_star"]), f"{row['onset']:.0f}"]
        for row in conditions[:_MAX_CONDITIONS]
    ]
    more = len(conditions) - _MAX_CONDITIONS
    rest = [f"    and {more} more (--format json)"] if more > 0 else []
    return layout(rows, right=[False, True, True, True]) + rest


def _false_alarms(pair: Values) -> list[str]:
    crossed = pair.get("n_censored_crossed", 0)
    return [f"{crossed} of the runs without an onset had a feature norm below fn*"] if crossed else []


def _norm(value: float) -> str:
    return f"{value:#.4g}".rstrip(".")


def _range(pair: Values, between: str) -> str:
    return "-" if pair["lo"] is None else between.join(f"{pair[end]:#.3g}".rstrip(".") for end in ("lo", "hi"))


def _percent(share: float | None) -> str:
    if share is None:
        return "-"
    return ">1000%" if share > 10 else f"{100 * share:.3g}%" if share < 9.995 else "1000%"


def _known(value: Any) -> str:
    return "?" if value is None else table_cell(value)
