"""The printed answer to `ncdiag analyze claims`: a row for each claim, why, and what to train next."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ncdiag.cli.output import printable
from ncdiag.cli.page_words import Values
from ncdiag.domain.naming import PAIR, TEXT, Group, name_groups, telling
from ncdiag.domain.page import Block, Command, Item, Legend, Page, Paragraph, Part, Table
from ncdiag.domain.shares import percent

if TYPE_CHECKING:
    from ncdiag.analysis.claims import Claim
    from ncdiag.analysis.terms import Terms
    from ncdiag.domain.onset_rule import OnsetRule

_MAX_GROUPS = 6
_MAX_REASONS = 4
_LABEL_WIDTH = 27
_SHORT = replace(
    TEXT,
    forms={**TEXT.forms, "weight_decay": "wd={}"},
    unsaid={**TEXT.unsaid, "up": "none", "down": "none"},  # an arm that nobody ran
)
_LEGEND = (
    "supported: all that the claim needs is shown. refuted: its opposite is shown. inconclusive: neither is, or the "
    "runs cannot answer it fairly. not testable: no stored runs could show it. Not shown is not the same as not so."
)

# What it takes of runs that ncdiag cannot train itself.
_BY_HAND = {
    **dict.fromkeys("123", "five conditions that differ in one setting, such as the weight decay, of five seeds each"),
    "4": "five seeds or more, each with its features scaled up, scaled down and left alone from one epoch on",
    "5": "two networks or more on two data sets or more, three seeds in each cell",
    **dict.fromkeys(("6a", "6b", "6c", "6d"), "three values or more of what the claim is about, five seeds each"),
}

_NO_ONSET = (
    "No run here has an onset under this rule, and more runs like them may have none either: give the last --phase "
    "more epochs, or choose another --eps or --rule."
)


def claims_page(results: Sequence[Values], terms: "Terms") -> Page:
    """Give the page: the table, the reasons, and the commands that would make the claims testable, or firmer."""
    claims = _by_claim(results)
    parts = [
        *([Part([Legend(f"here: {'; '.join(said)}.")])] if (said := _figures(claims, terms.level)) else []),
        Part([Legend(_LEGEND)]),
        Part([item for number, values in claims.items() for item in _reasons(number, values)], heading="Why"),
    ]
    commands = [*_commands(claims), *_by_hand(claims)]
    if commands:
        heading = "What to train to make a claim testable, or firmer (runs that are there are not repeated)"
        collapsed = any(pair["n_conditions"] for pair in claims.get("1", []))  # the conditions with an onset
        parts.append(Part([*([] if collapsed else [Paragraph(_NO_ONSET)]), *commands], heading=heading))
    table = claims_table(results, terms.rule)
    return replace(table, parts=[*table.parts, *parts])


def claims_table(results: Sequence[Values], rule: "OnsetRule") -> Page:
    """Give the page with the table alone: a row for each claim, with a row below for each group that answers it."""
    rows = [["", "claim", "published", "here", "verdict"]]
    for number, values in _by_claim(results).items():
        rows += _rows(number, values)
    title = "What these runs show of each claim of arXiv 2604.00230"
    return Page(title=title, rule=str(rule), parts=[Part([Table(rows, right=[False] * 5)])])


def _by_claim(results: Sequence[Values]) -> dict[str, list[Values]]:
    claims: dict[str, list[Values]] = {}
    for result in results:
        claims.setdefault(result["quantity"].removeprefix("claim_"), []).append(result)
    return claims


def _rows(number: str, values: Sequence[Values]) -> list[list[str]]:
    first = values[0]
    rows = [[number, _claim(number).short, first["published"], first["ours"], first["verdict"]]]
    groups = values[1:]
    names = _names([value["group"] for value in groups])
    for value, name in list(zip(groups, names, strict=True))[:_MAX_GROUPS]:
        rows.append(["", f"  {name}", "", value["ours"], value["verdict"]])
    if len(groups) > _MAX_GROUPS:
        rows.append(["", f"  and {len(groups) - _MAX_GROUPS} more", "", "", ""])
    return rows


def _figures(claims: Mapping[str, Sequence[Values]], level: float) -> list[str]:
    """Say what the figure of each claim is that has one, and with which confidence its limits hold."""
    from ncdiag.domain.equivalence import equality_level

    known = (number for number, values in claims.items() if any(v["ours"] != "-" for v in values[1:] or values))
    said = {"sure": percent(level), "equal": percent(equality_level(level))}
    return [f"({number}) {_claim(number).here.format(**said)}" for number in known]


def _claim(number: str) -> "Claim":
    from ncdiag.analysis.claims import CLAIMS

    return next(claim for claim in CLAIMS if claim.number == number)


def _names(groups: Sequence[Group]) -> list[str]:
    """Name groups by their architecture and data set, and by as little else as tells them apart."""
    names = name_groups(groups, _SHORT, telling(groups, always=PAIR), bare=PAIR)
    return [_shorten(printable(name or "other runs")) for name in names]


def _shorten(text: str) -> str:
    """Cut the middle out of a long name: names that stand together differ at either end."""
    if len(text) <= _LABEL_WIDTH:
        return text
    end = (_LABEL_WIDTH - 1) // 2
    return f"{text[: _LABEL_WIDTH - 1 - end]}~{text[-end:]}"


def _reasons(number: str, values: Sequence[Values]) -> list[Item]:
    """Say why, once for all groups with one reason."""
    groups = values[1:] or values
    names = _names([value["group"] for value in groups]) if len(groups) > 1 else [""]
    reasons: dict[tuple[str, str], list[str]] = {}
    for value, name in zip(groups, names, strict=True):
        rest = " ".join(text for text in (_also(value), _noted(value)) if text)
        reasons.setdefault((f"{value['verdict']}: {value['reason']}.", rest), []).append(name)
    items: list[Item] = []
    for (reason, also), alike in list(reasons.items())[:_MAX_GROUPS]:
        named = ", ".join(alike[:_MAX_GROUPS]) + (" and others" if len(alike) > _MAX_GROUPS else "")
        start = f"{named}: {reason}" if named else reason
        items.append(Item("" if items else number, printable(f"{start} {also}".strip())))
    return items


def _also(value: Values) -> str:
    """Say what else is missing, as far as it was tested; where no verdict can be given, why else it cannot."""
    if value["verdict"] == "supported":
        return ""
    parts = () if value["blocked"] else value["parts"]
    more = [*value["blocked"], *(part["lacking"] for part in parts if not part["shown"])]
    rest = [text for text in dict.fromkeys(more) if text and text != value["reason"]]
    return f"Also: {'; '.join(rest[:_MAX_REASONS])}." if rest else ""


def _noted(value: Values) -> str:
    """Say what must be known beside the verdict, whatever it is."""
    return f"Keep in mind: {'; '.join(value['notes'])}." if value.get("notes") else ""


def _commands(claims: Mapping[str, Sequence[Values]]) -> list[Block]:
    """Give the commands for each claim, those of the group which decides it, once for claims that share one."""
    from ncdiag.analysis.claims import COMMANDS

    wanted: dict[str, list[str]] = {}
    for number, values in claims.items():
        for command in (values[0].get(name) for name in COMMANDS):
            if command:
                wanted.setdefault(command, []).append(number)
    return [
        block for command, numbers in wanted.items() for block in (Item(f"for {', '.join(numbers)}:"), Command(command))
    ]


def _by_hand(claims: Mapping[str, Sequence[Values]]) -> list[Block]:
    """Say in words what to train for claims that are open, where ncdiag trains no runs like these."""
    wanted: dict[str, list[str]] = {}
    for number, values in claims.items():
        if values[0]["verdict"] in ("inconclusive", "not testable") and not values[0].get("command"):
            wanted.setdefault(_BY_HAND[number], []).append(number)
    if not wanted:
        return []
    why = "Runs like these ncdiag cannot train itself: train more as they were, and track or import them."
    return [Paragraph(why), *(Item(f"for {', '.join(numbers)}:", f"{words}.") for words, numbers in wanted.items())]
