"""The options that several commands share, each with its help and its check.

A check that fails raises a `SpecError`, which `ncdiag.cli.app.main` prints and turns into exit code 2.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncdiag.cli.complete import complete_choices, complete_run
from ncdiag.cli.location import read_location
from ncdiag.cli.numbers import number_option
from ncdiag.cli.output import Format
from ncdiag.domain.levels import check_level
from ncdiag.domain.onset_rule import OnsetRule, Rule
from ncdiag.domain.records import ONSET_METRICS
from ncdiag.domain.spec import check_choice
from ncdiag.domain.words import split_columns
from ncdiag.errors import SpecError
from ncdiag.store.location import DEFAULT_STORE

if TYPE_CHECKING:
    from ncdiag.analysis.terms import Terms


ANY_PHASE = "any"
_USUAL = OnsetRule()


def show_examples(first: str, second: str) -> str:
    """Give the end of a command's help: two lines to paste into a shell."""
    return f"\b\nExamples:\n  {first}\n  {second}"


# Answers also read onsets at several times eps, at half of it and so on, and all of them have to be numbers.
_LEAST_EPS, _LARGEST_EPS = 1e-300, 1e300


def _check_eps(eps: float) -> float:
    if not _LEAST_EPS <= eps <= _LARGEST_EPS:
        raise SpecError(f"--eps must be a number from {_LEAST_EPS:g} to {_LARGEST_EPS:g}, such as 0.01, not {eps}")
    return eps


def _check_level(level: float) -> float:
    return check_level(level, "--level")


def _check_metric(metric: str) -> str:
    check_choice("--metric", metric, ONSET_METRICS)
    return metric


def _check_phase(phase: str) -> str:
    if phase != ANY_PHASE and not (phase.isascii() and phase.isdigit() and int(phase)):
        raise SpecError(f"--phase is {ANY_PHASE}, or the number of a phase from 1, not {phase!r}")
    return phase


StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="PATH|URL",
        callback=read_location,
        show_default=False,
        help=f"Where the runs are: a file or a database URL. [default: $NCDIAG_STORE, else {DEFAULT_STORE} here]",
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the answer.")]
_EpsOption = Annotated[
    float,
    number_option("--eps", callback=_check_eps, text="Onset is where the metric falls below this."),
]
_MetricOption = Annotated[
    str,
    typer.Option(
        "--metric",
        metavar="NAME",
        callback=_check_metric,
        autocompletion=complete_choices(*ONSET_METRICS),
        help="The metric that decides the onset.",
    ),
]
_PatienceOption = Annotated[
    int,
    number_option(
        "--patience",
        kind=int,
        metavar="N",
        least=1,
        text="Evaluations in a row below eps that make an onset (rule sustained).",
    ),
]
_RuleOption = Annotated[
    Rule,
    typer.Option("--rule", help="sustained, or first: the published rule, the first logged epoch below eps."),
]
_PhaseOption = Annotated[
    str,
    typer.Option(
        "--phase",
        metavar=f"{ANY_PHASE}|N",
        callback=_check_phase,
        autocompletion=complete_choices(ANY_PHASE, "1", "2"),
        help="Count an onset in this phase of the training only.",
    ),
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="FILTER",
        help="Only the runs that fit, such as 'dataset=mnist and depth in (5,7)'; other.NAME is a setting of your own.",
    ),
]
_ByOption = Annotated[
    str,
    typer.Option("--by", metavar="COLUMNS", help="What makes a pair: one answer for each combination of these."),
]
_LevelOption = Annotated[
    float,
    number_option("--level", callback=_check_level, text="Confidence of the intervals."),
]
_MixPhasesOption = Annotated[
    bool,
    typer.Option("--mix-phases", help="For a grid: compare cells whose onsets lie in different phases, too."),
]
MAX_MB = 50.0  # of curves in a report, which are what grows with the runs: more than 2000 runs of 400 epochs
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", show_default=False, autocompletion=complete_run, help="The name of a run.")
]
RunsArgument = Annotated[
    list[str],
    typer.Argument(metavar="RUN", show_default=False, autocompletion=complete_run, help="The names of runs."),
]

_ONSET_OPTIONS: tuple[tuple[str, Any, Any], ...] = (
    ("eps", _EpsOption, _USUAL.eps),
    ("metric", _MetricOption, _USUAL.metric),
    ("patience", _PatienceOption, _USUAL.patience),
    ("rule", _RuleOption, _USUAL.rule),
    ("phase", _PhaseOption, ANY_PHASE),
)
_PAIR_OPTIONS: tuple[tuple[str, Any, Any], ...] = (
    ("where", WhereOption, None),
    ("by", _ByOption, "arch,dataset"),
    ("level", _LevelOption, 0.95),
)
_GRID_OPTIONS: tuple[tuple[str, Any, Any], ...] = (("mix_phases", _MixPhasesOption, False),)


def takes_onset_rule(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command whose parameter `rule`, an `OnsetRule`, is spelled out as the options that describe one."""
    return _spelled_out(command, "rule", _ONSET_OPTIONS, _onset_rule)


def takes_terms(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command whose parameter `terms`, a `Terms`, is spelled out as the options that all questions share."""
    return _spelled_out(command, "terms", (*_ONSET_OPTIONS, *_PAIR_OPTIONS, *_GRID_OPTIONS), _terms)


def takes_terms_of_pair(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command as `takes_terms` does, without the options that only a grid has."""
    return _spelled_out(command, "terms", (*_ONSET_OPTIONS, *_PAIR_OPTIONS), _terms)


def _spelled_out(
    command: Callable[..., None], spoken: str, options: Sequence[tuple[str, Any, Any]], put_together: Callable[..., Any]
) -> Callable[..., None]:
    """Give a command that takes options in place of the parameter that is `put_together` from them."""
    spelled = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, annotation, default in options
    ]
    own = inspect.signature(command).parameters.values()
    parameters = [one for p in own for one in (spelled if p.name == spoken else [p.replace(kind=p.KEYWORD_ONLY)])]

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        said = {name: given.pop(name) for name, _, _ in options}
        command(**{spoken: put_together(**said)}, **given)

    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_options


def _onset_rule(*, eps: float, metric: str, patience: int, rule: Rule, phase: str) -> OnsetRule:
    in_phase = None if phase == ANY_PHASE else int(phase)
    return OnsetRule(metric=metric, eps=eps, patience=patience, rule=rule, phase=in_phase)


def _terms(*, where: str | None, by: str, level: float, mix_phases: bool = False, **onset: Any) -> "Terms":
    from ncdiag.analysis.terms import Terms

    rule, columns = _onset_rule(**onset), tuple(split_columns(by))
    return Terms(where=where or "", rule=rule, by=columns, level=level, mix_phases=mix_phases)
