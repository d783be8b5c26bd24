"""`ncdiag analyze`: what the stored runs show, question by question."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncdiag.cli.complete import complete_choices
from ncdiag.cli.options import FormatOption, StoreOption, takes_terms
from ncdiag.cli.output import Format, emit_csv, emit_json, emit_text
from ncdiag.cli.page_text import text_of
from ncdiag.cli.selection import note_repeats, note_rescaled
from ncdiag.domain.questions import OF_UNTOUCHED, QUESTIONS
from ncdiag.domain.spec import check_choice
from ncdiag.store.location import store_option

if TYPE_CHECKING:
    from ncdiag.analysis.survey import Survey
    from ncdiag.analysis.terms import Terms
    from ncdiag.domain.page import Page
    from ncdiag.domain.result import Result

EXAMPLES = (
    "ncdiag analyze claims",
    "ncdiag analyze threshold --rule first --where 'arch=mlp and depth in (5,7)'",
)


@takes_terms
def analyze(
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="QUESTION",
            show_default=False,
            autocompletion=complete_choices(*QUESTIONS),
            help="One of the questions above; a summary of all if left out.",
        ),
    ] = None,
    *,
    terms: "Terms",
    form: FormatOption = Format.TABLE,
    store: StoreOption = "",
) -> None:
    """Say what the stored runs show, question by question.

    claims: a table of the published claims, what these runs show of each, and what to train next.

    threshold: fn*, the feature norm at the onset of collapse, for each pair of architecture and data set, with its
    interval, how much it varies, and what to keep in mind. Onset is where NC1 stays below 0.01; --rule first is the
    published reading.

    lead: whether the fall of fn below fn* announces the onset, out of sample, beside guessing and other alarms.

    forecast: which rule says best when a run will collapse, what fn adds to the others, and whether intervals hold.

    additivity: whether fn* is one part for the architecture plus, or times, one for the data set (--by names others).

    attractor: whether features that were rescaled come back; --preset intervention of sweep trains such runs.

    depth, width, activation, weight-decay: how each moves the onset and fn*, runs that never collapsed included.
    """
    if question is not None:
        check_choice("question", question, QUESTIONS)
    from ncdiag.analysis.stored import survey_store
    from ncdiag.store.engine import open_store

    questions = (question,) if question else QUESTIONS
    with open_store(store) as opened:
        survey = survey_store(opened, terms, questions)
        note_repeats(survey.repeats)
        if set(OF_UNTOUCHED) & set(questions):
            note_rescaled(int(survey.left_out.sum()))
        results = [result for name in questions for result in survey.results[name]]
        named = store_option(opened)
    if form is Format.JSON:
        emit_json({"results": [_to_dict(result, named) for result in results], "rule": asdict(terms.rule)})
    elif form is Format.CSV:
        _emit_csv([_to_dict(result, named) for result in results])
    else:
        emit_text(text_of(page_of(question, survey, named) if question else _summary(survey, named)))


def _summary(survey: "Survey", store: str) -> "Page":
    from ncdiag.cli.claims_page import claims_table
    from ncdiag.cli.summary_page import summary_page

    pages = {name: page_of(name, survey, store) for name in QUESTIONS if name != "claims"}
    table = claims_table([result.to_dict() for result in survey.results["claims"]], survey.terms.rule)
    return summary_page(table, pages)


def page_of(question: str, survey: "Survey", store: str) -> "Page":
    """Give the answer to a question; `store` goes behind its commands (see `store_option`)."""
    from ncdiag.cli.additivity_page import additivity_page
    from ncdiag.cli.attractor_page import attractor_page
    from ncdiag.cli.claims_page import claims_page
    from ncdiag.cli.forecast_page import forecast_page
    from ncdiag.cli.lead_page import lead_page
    from ncdiag.cli.regularity_page import regularity_page
    from ncdiag.cli.threshold_page import threshold_page

    results, terms = survey.results[question], survey.terms
    match question:
        case "claims":
            return claims_page([_to_dict(result, store) for result in results], terms)
        case "threshold":
            return threshold_page(results, terms)
        case "lead":
            return lead_page(results, terms)
        case "forecast":
            return forecast_page(results, terms)
        case "additivity":
            return additivity_page(results, terms)
        case "attractor":
            return attractor_page(results, terms)
    return regularity_page(results, question, terms)


def _to_dict(result: "Result", store: str) -> dict[str, Any]:
    """Give a result as plain values; the commands that it suggests have the --store that they need."""
    from ncdiag.analysis.claims import COMMANDS

    values = result.to_dict()
    return values | {name: values[name] + store for name in COMMANDS if values.get(name)}


def _emit_csv(results: Sequence[Mapping[str, Any]]) -> None:
    """Print a row per result: the group as columns `group_...`, nested figures as JSON."""
    from ncdiag.domain.result import ROW_COLUMNS, flat_row

    rows = [flat_row(result) for result in results]
    emit_csv(rows, header=list(dict.fromkeys(key for row in rows for key in row)) or ROW_COLUMNS)
