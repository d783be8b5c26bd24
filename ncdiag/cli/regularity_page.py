"""The printed answers to `ncdiag analyze depth`, `width`, `activation` and `weight-decay`, in plain words."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ncdiag.cli.norm_words import norm_text, norm_texts
from ncdiag.cli.output import printable, table_cell
from ncdiag.cli.page_words import Values, reminders
from ncdiag.cli.ratio_words import bounded
from ncdiag.domain.naming import PAIR, TEXT, Group, Key, differing, name_groups
from ncdiag.domain.p_values import p_is, p_text
from ncdiag.domain.page import Block, Legend, Page, Paragraph, Part, Reading, Table
from ncdiag.domain.shares import out_of, percent

if TYPE_CHECKING:
    from ncdiag.analysis.terms import Terms
    from ncdiag.domain.result import Result

_MAX_GROUPS = 6
_MAX_PAIRS = 10
_LEAST = 0.0001  # a smallest p below this limits nothing
_PART = {"slow_when_low": "(a) ", "fails_when_high": "(b) ", "valley": "(c) "}  # of the claim on weight decay
_TITLES = {
    "depth": "Is there a depth beyond which collapse comes later again, or earlier?",
    "width": "Do wider networks collapse earlier, and how far does width move fn*?",
    "activation": "Does the activation decide when a network collapses, and at which norm?",
    "weight-decay": "Does too little weight decay slow collapse, and too much prevent it?",
}


def regularity_page(results: "Sequence[Result]", question: str, terms: "Terms") -> Page:
    """Give the page of one question: per group of comparable runs a table of its values, then what they show."""
    own = [result.to_dict() for result in results]
    groups: dict[Key, list[Values]] = {}
    for result, values in zip(results, own, strict=True):
        if result.quantity != "trend_over_blocks":
            groups.setdefault(result.key, []).append(values)
    shown = list(groups.values())[:_MAX_GROUPS]
    names = _names([group[0]["group"] for group in shown])
    parts = [_part(name, group, question, terms.level) for name, group in zip(names, shown, strict=True)]
    more = len(groups) - _MAX_GROUPS
    said = [f"and {more} more groups (--format json)"] if more > 0 else []
    said += [text for result in own if (text := _over_blocks(result))]
    if any(result["p"] is not None for result in own):
        said.append(_family(own))
    return Page(
        title=_TITLES[question], rule=str(terms.rule), parts=[*parts, *(Part([Paragraph(text)]) for text in said)]
    )


def _over_blocks(result: Values) -> str:
    """Say what the groups show together: whether they rank the values alike."""
    if result["quantity"] != "trend_over_blocks" or result["p"] is None:
        return ""
    values = _listed(result["levels"])
    return (
        f"All {result['n_blocks']} groups together, each ranking the values {values}: the larger the value, the "
        f"{result['direction']} the onset, {p_is(result['p'])} (Page's test, exploratory)."
    )


def _part(label: str, group: Sequence[Values], question: str, level: float) -> Part:
    named = {result["quantity"]: result for result in group}
    described = next((result for result in group if result.get("levels")), None)
    blocks = [*(_table(described, level) if described else []), *_says(question, named)]
    first_told = (result for result in group if not _is_tested(result) or result.get("exploratory"))
    told = {result["warnings"][0] for result in first_told if result["warnings"]}
    blocks += reminders(
        _PART.get(result["quantity"], "") + caution
        for result in group
        for caution in result["warnings"]
        if caution not in told
    )
    return Part(blocks, heading=label)


def _names(groups: Sequence[Group]) -> list[str]:
    """Name groups by architecture and data set, which are always shown, and by all else in which they differ."""
    columns = [*PAIR, *(name for name in differing(groups) if name not in PAIR)]
    names = name_groups(groups, TEXT, columns, bare=PAIR)
    return [printable(name or "all runs") if group else "" for group, name in zip(groups, names, strict=True)]


def _table(described: Values, level: float) -> list[Block]:
    sure = percent(level)
    name = described["factor"].replace("_", " ")
    rows = [[name, "runs", "onset", f"{sure} interval", "fn*", f"{sure} interval"]]
    for entry in described["levels"]:
        onset = _epochs(entry["onset"]) if entry["n_collapsed"] else "-"
        limits = _span(entry["onset_lo"], entry["onset_hi"], _epochs)
        if entry["n_collapsed"] < entry["n_runs"]:
            onset = f">={onset}"
            limits = "-" if entry["onset_lo"] is None else f">={_epochs(entry['onset_lo'])}"
        norm, norms = norm_texts(entry, "fn_star", "fn_star_lo", "fn_star_hi")
        rows.append(
            [
                table_cell(entry["level"]),
                f"{entry['n_collapsed']}/{entry['n_runs']}",
                onset if entry["n_collapsed"] else f">{_epochs(described['budget'])}",
                limits,
                norm,
                " to ".join(norms) or "-",
            ]
        )
        rows += _later(entry)
    censored = any(entry["n_collapsed"] < entry["n_runs"] for entry in described["levels"])
    until = (
        f" within {_epochs(described['budget'])} epochs, the budget that all runs had; the others enter with it"
        if censored
        else ""
    )
    later = " later: collapsed after it." if any(entry.get("n_later") for entry in described["levels"]) else ""
    legend = f"runs: collapsed of evaluated{until}. onset and fn*: geometric means.{later}"
    return [Table(rows, right=[place > 0 for place in range(6)]), Legend(legend)]


def _later(entry: Values) -> list[list[str]]:
    """Give a row for the runs of a value that collapsed after the common budget, if any did."""
    if not entry.get("n_later"):
        return []
    norm = "-" if entry["fn_star_later"] is None else norm_text(entry["fn_star_later"])
    return [["  later", f"{entry['n_later']}/{entry['n_runs']}", _epochs(entry["onset_later"]), "-", norm, "-"]]


def _says(question: str, named: Mapping[str, Values]) -> list[Block]:
    """Say what the tests of one group show, the short reading first."""
    if question == "depth":
        return _turn_says(named["non_monotone"])
    if question == "width":
        return _width_says(named)
    return _activation_says(named) if question == "activation" else _decay_says(named)


def _turn_says(result: Values) -> list[Block]:
    if result["p"] is None:
        return [Reading(_not_tested(result))]
    ways = ("earlier", "later") if result["shape"] == "valley" else ("later", "earlier")
    turn = f"up to depth {table_cell(result['turn'])} collapse comes {ways[0]}, beyond it {ways[1]}"
    judged = {
        "supported": f"{turn}: more than noise on both sides.",
        "inconclusive": "no turn is shown: from depth to depth, what goes against a steady rise or fall may be noise.",
    }
    first, last = (table_cell(result["levels"][end]["level"]) for end in (0, -1))
    turn_at = table_cell(result["turn"])
    changes = "; ".join(
        f"from depth {start} to {end} the onset is multiplied by {_ratio(result[side], result['budget'])}"
        for side, start, end in (("left", first, turn_at), ("right", turn_at, last))
    )
    return [
        Reading(judged[result["verdict"]]),
        Paragraph(f"Size: {changes}."),
        Paragraph(
            f"Test: a line before and a line after the turn, both must be steep enough; {_p_text(result)}. That the "
            f"curve is no steady one, but both rises and falls somewhere: {p_is(result['p_unsteady'])}."
        ),
        Paragraph(
            f"Not ruled out as the fastest, pair by pair: {_listed(result['fastest'])}. All values are compared at one "
            "eps; at another one the order may differ (--eps)."
        ),
    ]


def _width_says(named: Mapping[str, Values]) -> list[Block]:
    trend, shift = named["trend"], named.get("fn_shift")
    blocks: list[Block] = []
    if trend["p"] is None:
        blocks.append(Reading(_not_tested(trend)))
    else:
        judged = {
            "supported": "a falling trend: wider networks collapse earlier. That each step does is not tested.",
            "refuted": f"wider networks do not collapse steadily earlier: {_rise(trend)}.",
            "inconclusive": "that wider networks collapse earlier is not shown.",
        }
        fall = bounded(trend["estimate"], (trend["lo"], trend["hi"]), trend.get("bound"), trend.get("budget"), percent)
        blocks.append(Reading(judged[trend["verdict"]]))
        blocks.append(Paragraph(f"Each doubling of the width: {fall} earlier."))
        blocks.append(Paragraph(f"Test: the order of all pairs of runs (Jonckheere-Terpstra); {_p_text(trend)}."))
    if shift and shift["estimate"] is not None:
        bound = (
            f"; with {percent(shift['level'])} confidence, at most {percent(shift['hi'])}"
            if shift["hi"] is not None
            else "; how much more it could be takes two onsets at every width"
        )
        claim = percent(shift["claim"])
        judged_shift = {
            "supported": f" The claim of at most {claim} holds.",
            "inconclusive": f" The claim of at most {claim} is not shown.",
        }
        text = (
            f"Shift of fn*: the largest from width {table_cell(shift['base'])} is {percent(shift['estimate'])}, "
            f"at width {table_cell(shift['largest'])}{bound}.{judged_shift.get(shift['verdict'], '')}"
        )
        blocks.append(Paragraph(text))
    return blocks


def _rise(trend: Values) -> str:
    """Say between which widths the onset rises, the other way than claimed."""
    narrow, wide = map(table_cell, trend["rise"] or ("", ""))
    return f"from {narrow} to {wide} the onset comes later ({p_is(trend['p_rise'])})"


def _activation_says(named: Mapping[str, Values]) -> list[Block]:
    joint, parts = named["joint"], {"speed": "Onset", "fn_star": "The norm fn*"}
    blocks: list[Block]
    if joint["p"] is None:
        blocks = [Reading(_not_tested(joint))]
    else:
        judged = {
            "supported": "the activation makes a difference both to the onset and to fn*.",
            "inconclusive": "that the activation makes a difference to both the onset and fn* is not shown.",
        }
        blocks = [Reading(judged[joint["verdict"]]), Paragraph(f"Both together: {_p_text(joint)}.")]
    for quantity, what in parts.items():
        part = named.get(quantity)
        if part is None or part["p"] is None:
            continue
        largest = _largest(part, joint.get("budget"))
        text = f"{what}: the largest over the smallest is {largest}; {p_is(part['p'])}{_at_best(part)}."
        blocks.append(Paragraph(text))
        tested = [pair for pair in part["pairs"] if pair["p"] is not None]
        corrected = f", corrected for {len(tested)} pairs" if len(tested) > 1 else ""
        blocks += [
            Legend(f"{' / '.join(pair['of'])}: {_ratio(pair, joint.get('budget'))}, {p_is(pair['p_holm'])}{corrected}")
            for pair in tested[:_MAX_PAIRS]
        ]
    return blocks


def _decay_says(named: Mapping[str, Values]) -> list[Block]:
    if "fails_when_high" not in named:
        return [Reading(_not_tested(named["slow_when_low"]))]
    low, high, valley = (named[quantity] for quantity in ("slow_when_low", "fails_when_high", "valley"))
    if not any(map(_is_tested, (low, high, valley))):
        return [Reading(_not_tested(low))]
    exploratory = next((result["warnings"][0] for result in (low, high) if result.get("exploratory")), None)
    lines = []
    if low["p"] is None:
        lines.append(f"(a) too little slows: {_not_tested(low)}")
    else:
        lines.append(
            f"(a) too little slows: {_shown(low)}. From {table_cell(low['fastest'])} down to {table_cell(low['low'])} "
            "the onset is multiplied by "
            f"{bounded(low['estimate'], (low['lo'], low['hi']), low.get('bound'), low.get('budget'))}; {_p_text(low)}. "
            f"{_picked(low)}; the test and the limits allow for having picked it.{_limits_past_one(low)}"
        )
    if high["p"] is None:
        lines.append(f"(b) too much prevents: {_not_tested(high)}")
    else:
        (few, of_high), (many, of_reference) = high["collapsed_high"], high["collapsed_reference"]
        lines.append(
            f"(b) too much prevents: {_shown(high)}. At {table_cell(high['high'])} {out_of(few, of_high, 'run')} "
            f"collapsed within {_epochs(high['budget'])} epochs, at {table_cell(high['reference'])} "
            f"{many} of {of_reference}; {_p_text(high)}.{_not_prevented(high)}{_edge(high['edge'])}{_when(high)}"
        )
    if valley["p"] is None:
        lines.append(f"(c) a fastest range between: {_not_tested(valley)}")
    else:
        lines.append(
            f"(c) a fastest range between: {_shown(valley)}, with the turn near {table_cell(valley['turn'])}; "
            f"{_p_text(valley)}. Not ruled out as the fastest, pair by pair: {_listed(valley['fastest'])}."
        )
    reading = f"{exploratory}." if exploratory else _regimes(low, high, valley)
    return [Reading(reading), *map(Paragraph, lines)]


def _picked(low: Values) -> str:
    """Say how the value was picked: by the clearest difference, which need not be the earliest onset."""
    picked = f"Of the larger values, {table_cell(low['fastest'])} is"
    if low["estimate"] is None or low["estimate"] > 1:
        return f"{picked} the one most clearly faster"
    return f"{picked} the one least clearly slower, none is faster"


def _limits_past_one(low: Values) -> str:
    """Say why limits that reach past 1 are no contradiction: t limits of a few runs are wider than their order is."""
    if _shown(low) != "shown" or low["lo"] is None or low["lo"] >= 1:
        return ""
    return (
        " The limits reach past 1: they are Student's t, wide with so few runs; the test counts how often runs "
        "that are dealt out anew look as clear."
    )


def _ratio(of: Values, budget: float | None) -> str:
    """Write a ratio of onsets, or of norms, with what it bounds."""
    return bounded(of["ratio"], (of["lo"], of["hi"]), of.get("bound"), budget)


def _largest(part: Values, budget: float | None) -> str:
    return bounded(part["estimate"], (None, None), part.get("bound"), budget)


def _not_prevented(high: Values) -> str:
    later = high.get("later_high")
    return f" But {later} of these runs collapsed later: what is late is not prevented." if later else ""


def _regimes(low: Values, high: Values, valley: Values) -> str:
    shown = [result["verdict"] == "supported" for result in (low, high, valley)]
    if all(shown):
        return "three regimes: too little weight decay slows collapse, too much prevents it."
    if not any(shown):
        return "none of the three regimes is shown."
    parts = ("too little slows", "too much prevents", "there is a fastest range between")
    done, missing = (
        [part for part, is_shown in zip(parts, shown, strict=True) if is_shown is want] for want in (True, False)
    )
    return f"shown: {', '.join(done)}. Not shown: {', '.join(missing)}."


def _edge(edge: Sequence[Any]) -> str:
    last, first = edge
    if last is None or first is None:
        return ""
    return f" The edge lies between {table_cell(last)} and {table_cell(first)}: the grid says no more."


def _when(high: Values) -> str:
    """Say whether the two values differ in when their runs collapsed, too."""
    if high.get("p_logrank") is None:
        return ""
    return f" That they differ in when runs collapse (logrank, exploratory): {p_is(high['p_logrank'])}."


def _shown(result: Values) -> str:
    if result.get("exploratory"):
        return "exploratory"
    return "shown" if result["verdict"] == "supported" else "not shown"


def _not_tested(result: Values) -> str:
    return printable(f"not tested: {result['warnings'][0]}.") if result["warnings"] else "not tested."


def _is_tested(result: Values) -> bool:
    return result["p"] is not None or result["quantity"] == "fn_shift"


def _p_text(result: Values) -> str:
    """Say the p, corrected, and how small it could have been."""
    corrected = f", corrected {p_text(result['p_holm'])}" if result["p_holm"] is not None else ""
    return f"{p_is(result['p'])}{_at_best(result)}{corrected}"


def _at_best(result: Values) -> str:
    """Say how small p could have been with these runs, where that is not as good as 0."""
    return f", at best {p_text(result['p_min'])}" if result["p_min"] and result["p_min"] >= _LEAST else ""


def _family(results: Sequence[Values]) -> str:
    claims = [result for result in results if "family" in result]
    family = claims[0]["family"] if claims else 0
    if not family:
        return (
            "Tests of depth, width, activation and weight decay form one family (Holm's correction); with these runs "
            "none of its tests can be made."
        )
    return (
        f"p: how often chance alone would show as much. Depth, width, activation and weight decay (a, b, c) are one "
        f"family: {family} of its tests could be made, and 'corrected' is Holm's p for {family}. A claim is shown "
        f"where that is at most {claims[0]['alpha']:.2g}; not shown is not the same as not so."
    )


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(table_cell(value) for value in values)


def _span(lo: float | None, hi: float | None, show: Any) -> str:
    return "-" if lo is None or hi is None else f"{show(lo)} to {show(hi)}"


def _epochs(value: float) -> str:
    return f"{value:.0f}"
