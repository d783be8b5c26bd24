"""From a store to the contents of a report: every question that `analyze` answers, and every run."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ncdiag.cli.analyze import page_of
from ncdiag.cli.options import MAX_MB
from ncdiag.cli.output import note
from ncdiag.cli.report_figures import images_of
from ncdiag.domain.questions import QUESTIONS
from ncdiag.domain.records import UNFINISHED
from ncdiag.domain.shares import counted, out_of
from ncdiag.store.location import store_option

if TYPE_CHECKING:
    from ncdiag.analysis.asked import Asked
    from ncdiag.analysis.survey import Survey
    from ncdiag.analysis.terms import Terms
    from ncdiag.domain.result import Result
    from ncdiag.report.contents import Report, Section
    from ncdiag.store.handle import Store


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What was read for a report: all runs that fit, and a survey of those that count."""

    everything: "Asked"
    survey: "Survey"


def read_report(
    store: "Store",
    terms: "Terms",
    title: str | None = None,
    max_mb: float = MAX_MB,
    tell: Callable[[str], None] = lambda _: None,
) -> "Report":
    """Read the runs that are asked for and give the whole report of them, with curves that take `max_mb` at most.

    Each step is `tell`ed as it begins.
    """
    from dataclasses import replace

    from ncdiag.report.runs import as_text, keep_every, packed_curves, thin_out

    gathered = gather(store, terms)
    epochs = gathered.everything.epochs
    every = keep_every(len(epochs), max_mb * 1e6)
    if every > 1:
        note(
            f"the curves of {len(gathered.everything.runs):,} runs would take more than {max_mb:g} MB; "
            f"the page holds one evaluation in {every}.\n"
            "--where chooses runs, --max-mb allows more, `ncdiag serve` shows all"
        )
    curves = packed_curves(thin_out(epochs, every))
    wanted = [] if max_mb == MAX_MB else ["--max-mb", f"{max_mb:g}"]
    wanted += [] if title is None else ["--title", title]
    return replace(
        frame_of(store, terms, gathered, title=title, tell=tell),
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        command=shlex.join(["ncdiag", "report", "--store", store.label, *options_of(terms), *wanted]),
        runs=rows_of(gathered),
        curves={run_id: as_text(packed) for run_id, packed in curves.items()},
        every=every,
        live=False,
    )


def gather(store: "Store", terms: "Terms") -> Gathered:
    """Read the runs that are asked for, with all their epochs."""
    from ncdiag.analysis.asked import Asked
    from ncdiag.analysis.stored import data_paths, selected_runs
    from ncdiag.analysis.survey import Survey
    from ncdiag.store.frames import epochs_frame

    runs = selected_runs(store, terms.where)
    everything = Asked(runs=runs, epochs=epochs_frame(store, runs["run_id"].tolist()), terms=terms)
    counted_runs = everything.counted.runs
    paths = data_paths(store, counted_runs)
    survey = Survey(runs=counted_runs, read=everything.read, terms=terms, questions=QUESTIONS, paths=paths)
    return Gathered(everything=everything, survey=survey)


def frame_of(
    store: "Store",
    terms: "Terms",
    gathered: Gathered | None,
    *,
    title: str | None = None,
    said: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> "Report":
    """Give a report of the questions alone, or of nothing yet but a note, as a server shows it."""
    from ncdiag.report.contents import Report

    return Report(
        title=title or (_title(gathered.everything) if gathered else "Neural collapse"),
        store=store.label,
        made="",
        rule=str(terms.rule),
        eps=terms.rule.eps if terms.rule.metric == "nc1" else None,
        command="",
        notes=[said] if said else _notes(gathered) if gathered else [],
        sections=_sections(gathered, store, tell) if gathered else [],
        runs=[],
        live=True,
    )


def _sections(gathered: Gathered, store: "Store", tell: Callable[[str], None]) -> "list[Section]":
    """Give every question with its answer, in the order of `analyze`."""
    from ncdiag.report.contents import make_section

    survey, options = gathered.survey, options_of(gathered.survey.terms)
    tell("answering the questions")
    results = survey.results
    sections = []
    for name in QUESTIONS:
        tell(f"drawing the figures of {name}")
        page = page_of(name, survey, store_option(store))
        images, no_image = images_of(name, gathered.everything, store=store.label, options=options)
        sections.append(make_section(name, results[name], page, images=images, no_image=no_image))
    return sections


def options_of(terms: "Terms") -> list[str]:
    """Give the options that ask on these terms, as far as they differ from the defaults."""
    rule, usual = terms.rule, type(terms)()
    differing = {
        "--where": (terms.where, usual.where),
        "--eps": (rule.eps, usual.rule.eps),
        "--metric": (rule.metric, usual.rule.metric),
        "--patience": (rule.patience, usual.rule.patience),
        "--rule": (rule.rule, usual.rule.rule),
        "--phase": (rule.phase, usual.rule.phase),
        "--by": (",".join(terms.by), ",".join(usual.by)),
        "--level": (terms.level, usual.level),
    }
    words = [word for name, (value, default) in differing.items() if value != default for word in (name, str(value))]
    return words + ["--mix-phases"] * terms.mix_phases


def rows_of(gathered: Gathered) -> list[dict[str, Any]]:
    """Give the rows of the table of runs, each with the interval of fn* of its pair."""
    from ncdiag.plotting.conditions import label_conditions
    from ncdiag.report.runs import run_rows

    asked = gathered.everything
    return run_rows(
        asked.onsets,
        asked.epochs,
        conditions=label_conditions(asked.runs).tolist(),
        bands=dict(_bands(asked, gathered.survey.results["threshold"])),
    )


def _bands(asked: "Asked", results: "Sequence[Result]") -> "Iterator[tuple[int, tuple[float, float, float]]]":
    from math import isfinite

    from ncdiag.analysis.conditions import plain_value

    bands = {
        tuple(result.group[name] for name in asked.terms.by): (result.lo, result.estimate, result.hi)
        for result in results
        if result.quantity == "fn_star" and all(map(isfinite, (result.lo, result.estimate, result.hi)))
    }
    for run in asked.runs[["run_id", *asked.terms.by]].to_dict("records"):
        band = bands.get(tuple(plain_value(run[name]) for name in asked.terms.by))
        if band:
            yield int(run["run_id"]), band


def _title(asked: "Asked") -> str:
    from ncdiag.plotting.conditions import describe_shared

    shared = describe_shared(asked.runs)
    return f"Neural collapse: {shared}" if shared else "Neural collapse: what the runs show"


def _notes(gathered: Gathered) -> list[str]:
    """Say what a reader of the whole page should know first."""
    from ncdiag.analysis.repeats import say_repeats

    runs, without_repeats = gathered.everything.runs, gathered.survey.runs
    notes = []
    if len(without_repeats) < len(runs):
        notes.append(f"{say_repeats(len(runs) - len(without_repeats))}: not counted by the questions.")
    rescaled = int(gathered.survey.left_out.sum())
    if rescaled:
        had = f"{counted(rescaled, 'run')} had {'its' if rescaled == 1 else 'their'} features rescaled"
        notes.append(f"{had}; only the attractor and the claims count {'it' if rescaled == 1 else 'them'}.")
    going = int(runs["status"].isin(UNFINISHED).sum())
    if going:
        their = "its" if going == 1 else "their"
        notes.append(f"{out_of(going, len(runs), 'run', 'is/are')} not finished; {their} epochs so far are counted.")
    return notes
