"""The printed answer to `ncdiag analyze additivity`, for readers who know neural collapse but not statistics."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ncdiag.cli.norm_words import norm_text
from ncdiag.cli.output import printable
from ncdiag.cli.page_words import Values, reminders
from ncdiag.domain.p_values import p_is, p_text
from ncdiag.domain.page import Block, Legend, Page, Paragraph, Part, Reading, Table
from ncdiag.domain.shares import counted, percent

if TYPE_CHECKING:
    from ncdiag.analysis.terms import Terms
    from ncdiag.domain.result import Result

_MAX_RATIOS = 8
_SCALES = {"interaction_raw": "adding", "interaction_log": "multiplying"}
_OF_ANY_SHAPE = {"Boik's": "p_boik", "Johnson and Graybill's": "p_johnson_graybill"}
_LEGEND = (
    "runs: collapsed of evaluated. fn*: geometric mean of the feature norm at onset, conditions weighing alike. "
    "onset: median epoch; phase and loss: those of the training at onset."
)


def additivity_page(results: "Sequence[Result]", terms: "Terms") -> Page:
    """Give the page: the cells of the grid, then what they show, in words."""
    named = {result.quantity: result.to_dict() for result in results}
    ratios = [result.to_dict() for result in results if result.quantity == "ratio_of_ratios"]
    verdict = named["verdict"]
    two = len(terms.by) == 2
    cells = [Part([_table(verdict["cells"])]), Part([Legend(_LEGEND)])] if verdict["cells"] else []
    blocks: list[Block] = [Reading(_reading(verdict, ratios) + _other_shape(named))]
    if "p_raw" in verdict:
        blocks += _tests(named)
        blocks += map(Paragraph, _ratio_words(ratios, terms.level))
        if verdict["p_raw"] is not None:
            blocks.append(Paragraph(f"How it is decided: {_decision(verdict)}"))
    if "refused" not in verdict and verdict["warnings"] and "p_raw" in verdict:
        blocks += reminders([*verdict["warnings"], *named["interaction_raw"]["warnings"]])
    return Page(
        title=f"Is fn* made of one part per {' and one per '.join(terms.by) if two else 'factor'}?",
        rule=str(terms.rule),
        parts=[*cells, Part(blocks, heading=" x ".join(terms.by))],
    )


def _table(cells: Sequence[Values]) -> Table:
    rows = [["cell", "runs", "conditions", "fn*", "onset", "phase", "loss"]]
    for cell in cells:
        found = cell["fn_star"] is not None
        rows.append(
            [
                printable(f"{cell['row']} {cell['column']}"),
                f"{cell['n_collapsed']}/{cell['n_runs']}",
                str(cell["n_conditions"]),
                norm_text(cell["fn_star"]) if found else "-",
                f"{cell['t_median']:.0f}" if found else "-",
                "/".join(cell["phases"]) or "-",
                "/".join(cell["losses"]) or "-",
            ]
        )
    return Table(rows, right=[place > 0 for place in range(len(rows[0]))])


def _reading(verdict: Values, ratios: Sequence[Values]) -> str:
    """Say in a sentence or two what the grid shows."""
    if verdict["status"] != "ok" and "p_raw" not in verdict:
        return printable(f"not tested: {verdict['warnings'][0]}.")
    rows, columns = verdict["group"]["rows"], verdict["group"]["columns"]
    judged = {
        "additive": f"that fn* is anything but a part per {rows} plus a part per {columns} is not shown "
        f"({p_is(verdict['p_raw'])}). {_what_remains(ratios)}",
        "multiplicative": f"the parts of {rows} and {columns} do not add; that fn* is anything but a factor per {rows} "
        f"times a factor per {columns} is not shown ({p_is(verdict['p_log'])}). {_what_remains(ratios)}",
        "removable": f"the parts of {rows} and {columns} neither add nor multiply. On another scale, fn* to the power "
        f"{_number(verdict['power'])}, they would add{_order(verdict)}.",
        "crossover": f"the parts of {rows} and {columns} neither add nor multiply, and no other scale would help: "
        f"which {rows} or {columns} has the larger fn* depends on the other ({_crossings(verdict)}).",
        "neither": f"the parts of {rows} and {columns} neither add nor multiply, nor do they add on any power of "
        "fn*; that one reverses the order of another is not shown.",
        "not testable": "not testable: there is no variation within the cells to compare with. "
        "Two runs in every cell, with different seeds, make it testable.",
    }
    asserts = verdict["verdict"] not in ("additive", "not testable")
    why = "; ".join(verdict["blocked"]) if asserts else ""
    return judged[verdict["verdict"]] + (printable(f" But {why}: no verdict can stand on that.") if why else "")


def _order(verdict: Values) -> str:
    """Say whether the order of the cells allows for a scale on which they add."""
    if not verdict.get("reversals"):
        return ": the order of the cells does not rule that out"
    return (
        f", if it is noise that {counted(verdict['reversals'], 'pair')} of {verdict['group']['rows']} or "
        f"{verdict['group']['columns']} change their order from cell to cell"
    )


def _other_shape(named: Mapping[str, Values]) -> str:
    """Say what Tukey's test cannot see, where a test of any shape sees it."""
    judged = {"additive": "interaction_raw", "multiplicative": "interaction_log"}
    scale = judged.get(named["verdict"].get("verdict", ""))
    if scale is None:
        return ""
    ps = {name: named[scale].get(key) for name, key in _OF_ANY_SHAPE.items()}
    p, name = min((math.inf if p is None else p, name) for name, p in ps.items())
    if p > named["verdict"]["alpha"]:
        return ""
    return f" But that test sees products alone; one that sees any shape finds more ({name}, {p_is(p)}, exploratory)."


def _what_remains(ratios: Sequence[Values]) -> str:
    """Say how large an interaction could still be: not finding one is not its absence."""
    limits = [max(ratio["hi"], 1 / ratio["lo"]) for ratio in ratios if ratio["lo"]]
    if not limits:
        return "That is no proof that it is."
    return f"That is no proof that it is: the ratio of ratios may differ from 1 by a factor of {max(limits):.3g}."


def _crossings(verdict: Values) -> str:
    if not verdict["crossings"]:
        return ""
    first = verdict["crossings"][0]
    lines, others = ("rows", "columns") if first["changes_sign"] == "rows" else ("columns", "rows")
    return printable(f"{' against '.join(first[lines])} changes sign between {' and '.join(first[others])}")


def _tests(named: Mapping[str, Values]) -> list[Block]:
    rows = [["if the parts were", "F", "df", "p", "p robust", "p permuted", "share"]]
    for quantity, word in _SCALES.items():
        test = named[quantity]
        degrees = f"{test['df1']}, {test['df2']}" if test["statistic"] is not None else "-"
        shown = [_number(test["statistic"]), degrees, *(p_text(test.get(key)) for key in ("p", "p_robust"))]
        rows.append([word, *shown, p_text(test["p_permutation"]), _share(test)])
    legend = (
        "p: how often cells that do add (or multiply) would look at least as far from it as these. robust: cells may "
        f"differ in spread. {_permuted(named['interaction_raw'])}"
        "share: of the variation that is not rows or columns, the part due to the interaction, with its 90% interval."
    )
    if any(_below_noise(named[quantity]) for quantity in _SCALES):
        legend += " (0%): the cells agree better than noise alone lets expect, so no interaction at all fits them best."
    table = Table(rows, right=[place > 0 for place in range(len(rows[0]))])
    return [table, Legend(legend), *map(Legend, _any_shape(named))]


def _any_shape(named: Mapping[str, Values]) -> list[str]:
    """Say what the tests without a shape find, where there is one value per cell and Tukey's sees products only."""
    ps = {name: [named[quantity].get(key) for quantity in _SCALES] for name, key in _OF_ANY_SHAPE.items()}
    known = {name: pair for name, pair in ps.items() if None not in pair}
    if not known:
        return []
    if len({tuple(pair) for pair in known.values()}) == 1:  # with three rows or columns the two are one test
        known = {"Boik's": known["Boik's"]}
    said = "; ".join(
        f"{name} {p_is(raw)} on the norms, {p_is(log)} on their logs" for name, (raw, log) in known.items()
    )
    return [
        "These p are Tukey's, which sees only an interaction that is a product of the effects of rows and columns. "
        f"Tests that see others, too (exploratory): {said}."
    ]


def _permuted(test: Values) -> str:
    rounds = test.get("n_permutations")
    return f"permuted: from {rounds} random permutations of what the additive model leaves. " if rounds else ""


def _ratio_words(ratios: Sequence[Values], level: float) -> list[str]:
    said = []
    for ratio in ratios[:_MAX_RATIOS]:
        if ratio["estimate"] is None:
            continue
        rows, columns = " / ".join(ratio["of_rows"]), ratio["of_columns"]
        lo, hi = (_number(ratio[end]) for end in ("lo", "hi"))
        limits = "" if ratio["lo"] is None else f" ({percent(level)} interval {lo} to {hi})"
        text = (
            f"Ratio of ratios: {rows} on {columns[0]} is {_number(ratio['estimate'])} times that on "
            f"{columns[1]}{limits}; 1 would be multiplying."
        )
        said.append(printable(text))
    if len(ratios) > _MAX_RATIOS:
        said.append(f"and {len(ratios) - _MAX_RATIOS} more (--format json)")
    return said


def _decision(verdict: Values) -> str:
    unit = "each condition is one value" if verdict["over"] == "conditions" else "each run is one value"
    return (
        f"{unit}; adding is tested first ({p_is(verdict['p_raw'])}), multiplying only if adding is rejected "
        f"({p_is(verdict['p_log'])}), each at {verdict['alpha']:.2g}. This fixed order needs no correction."
    )


def _share(test: Values) -> str:
    if test["eta2p"] is None:
        return "-"
    if _below_noise(test):
        return f"{_points(test['eta2p'])}% (0%)"
    return f"{_points(test['eta2p'])}% ({_points(test['eta2p_lo'])}-{_points(test['eta2p_hi'])}%)"


def _below_noise(test: Values) -> bool:
    """Say whether F is so small that no share is likely: then the interval is 0 alone, and misses the estimate."""
    return test["eta2p"] is not None and test["eta2p_hi"] < test["eta2p"]


def _points(share: float) -> str:
    """Write a share in percent, small ones with two digits: 0.55, not 1 above an interval of 0 to 0."""
    return f"{100 * share:.2g}" if share < 0.0095 else f"{100 * share:.0f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
