"""`ncdiag analyze`: what the stored runs show, question by question."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ncdiag.cli.complete import complete_choices
from ncdiag.cli.options import (
    ByOption,
    EpsOption,
    FormatOption,
    LevelOption,
    MetricOption,
    PatienceOption,
    Phase,
    PhaseOption,
    Rule,
    RuleOption,
    StoreOption,
    WhereOption,
    onset_rule,
    split_columns,
)
from ncdiag.cli.output import Format, emit_csv, emit_json, emit_text, note
from ncdiag.cli.selection import selected_runs
from ncdiag.domain.spec import check_choice
from ncdiag.errors import AnalysisError

if TYPE_CHECKING:
    from ncdiag.analysis.asked import Asked
    from ncdiag.domain.result import Result

EXAMPLES = (
    "ncdiag analyze threshold",
    "ncdiag analyze threshold --rule first --where 'arch=mlp and depth in (5,7)'",
)
QUESTIONS = (
    *("threshold", "lead", "additivity", "attractor"),
    *("depth", "width", "activation", "weight-decay", "claims"),
)


def analyze(
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="QUESTION",
            show_default=False,
            autocompletion=complete_choices(*QUESTIONS),
            help="One of the questions below; all that can be answered if left out.",
        ),
    ] = None,
    eps: EpsOption = 0.01,
    metric: MetricOption = "nc1",
    patience: PatienceOption = 3,
    rule: RuleOption = Rule.SUSTAINED,
    phase: PhaseOption = Phase.ANY,
    where: WhereOption = None,
    by: ByOption = "arch,dataset",
    level: LevelOption = 0.95,
    mix_phases: Annotated[
        bool,
        typer.Option("--mix-phases", help="additivity: compare cells whose onsets lie in different phases, too."),
    ] = False,
    form: FormatOption = Format.TABLE,
    store: StoreOption = "",
) -> None:
    """Say what the stored runs show, question by question.

    threshold: fn*, the feature norm at the onset of collapse, for each pair of architecture and data set, with its
    interval, how much it varies, and what to keep in mind. Onset is where NC1 stays below 0.01; --rule first is the
    published reading.

    lead: whether the fall of fn below fn* announces the onset, out of sample, beside guessing and other alarms.

    attractor: whether features that were rescaled come back; --preset intervention of sweep trains such runs.
    """
    if question is not None:
        check_choice("question", question, QUESTIONS)
        if question not in ANSWERS:
            raise AnalysisError(f"{question} is not available yet; this version answers {', '.join(ANSWERS)}")
    from ncdiag.analysis.asked import Asked
    from ncdiag.analysis.repeats import drop_repeats
    from ncdiag.store.engine import open_store
    from ncdiag.store.frames import epochs_frame

    wanted = onset_rule(metric, eps, patience, rule, phase)
    with open_store(store) as opened:
        selected = selected_runs(opened, None, where)
        runs = drop_repeats(selected)
        if len(runs) < len(selected):
            note(f"{len(selected) - len(runs)} runs repeat the trajectory of another (same seed) and are not counted.")
        epochs = epochs_frame(opened, runs["run_id"].tolist())
    asked = Asked(
        runs=runs, epochs=epochs, rule=wanted, by=tuple(split_columns(by)), level=level, mix_phases=mix_phases
    )
    answers = [ANSWERS[name](asked) for name in ([question] if question else ANSWERS)]
    results = [result for answer in answers for result in answer.results]
    if form is Format.JSON:
        emit_json({"results": [result.to_dict() for result in results], "rule": asdict(wanted)})
    elif form is Format.CSV:
        _emit_csv(results)
    else:
        emit_text("\n\n\n".join(answer.page for answer in answers))
        if question is None and len(ANSWERS) < len(QUESTIONS):
            note(f"this version answers {', '.join(ANSWERS)}; the other questions are not available yet")


class Answer(NamedTuple):
    """The results of a question, and the page that says them in words."""

    results: "list[Result]"
    page: str


def _threshold(asked: "Asked") -> Answer:
    from ncdiag.analysis.threshold_checks import threshold_check_results
    from ncdiag.analysis.thresholds import threshold_results
    from ncdiag.cli.threshold_page import threshold_page

    results = threshold_results(asked.onsets, rule=asked.rule, by=asked.by, level=asked.level)
    results += threshold_check_results(asked)
    return Answer(results, threshold_page(results, asked.rule, asked.level))


def _lead(asked: "Asked") -> Answer:
    from ncdiag.analysis.leads import lead_results
    from ncdiag.cli.lead_page import lead_page

    results = lead_results(asked)
    return Answer(results, lead_page(results, asked.rule))


def _attractor(asked: "Asked") -> Answer:
    from ncdiag.analysis.attractor import attractor_results
    from ncdiag.cli.attractor_page import attractor_page

    results = attractor_results(asked)
    return Answer(results, attractor_page(results, asked.rule))


def _additivity(asked: "Asked") -> Answer:
    from ncdiag.analysis.additivity import additivity_results
    from ncdiag.cli.additivity_page import additivity_page

    results = additivity_results(asked.onsets, by=asked.by, level=asked.level, mix_phases=asked.mix_phases)
    return Answer(results, additivity_page(results, asked.rule, asked.level))


def _regularity(question: str, asked: "Asked") -> Answer:
    from ncdiag.cli.regularity_page import regularity_page

    results = [result for result in asked.regularities if result.question == question]
    return Answer(results, regularity_page(results, question, asked.rule, asked.level))


# In the order in which a summary of everything shows them.
ANSWERS: "dict[str, Callable[[Asked], Answer]]" = {
    "threshold": _threshold,
    "lead": _lead,
    "additivity": _additivity,
    "attractor": _attractor,
    **{name: partial(_regularity, name) for name in ("depth", "width", "activation", "weight-decay")},
}


def _emit_csv(results: "list[Result]") -> None:
    """Print a row per result: the group as columns `group_...`, nested figures as JSON."""
    rows = [_flat_group(result.to_dict()) for result in results]
    emit_csv(rows, header=list(dict.fromkeys(key for row in rows for key in row)))


def _flat_group(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if key == "group":
            flat |= {f"group_{column}": cell for column, cell in value.items()}
        else:
            flat[key] = value
    return flat
