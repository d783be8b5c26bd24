"""From a store to the contents of a report: every question that `analyze` answers, and every run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from shlex import join
from typing import TYPE_CHECKING

from ncdiag.cli.analyze import ANSWERS
from ncdiag.cli.output import unwrapped
from ncdiag.cli.selection import selected_runs

if TYPE_CHECKING:
    from ncdiag.analysis.asked import Asked
    from ncdiag.domain.onset import OnsetRule
    from ncdiag.domain.result import Result
    from ncdiag.report.contents import Report, Section
    from ncdiag.store.engine import Store

_FIRST = "claims"  # the table of all claims stands above the questions it sums up


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a report is asked for: runs, the rule that says what an onset is, and the options of the questions."""

    where: str | None
    rule: "OnsetRule"
    by: tuple[str, ...]
    level: float
    title: str | None = None

    def options(self) -> list[str]:
        """Give the options that ask for the same again, as far as they differ from the defaults."""
        rule, usual = self.rule, type(self.rule)()
        differing = {
            "--where": (self.where or "", ""),
            "--eps": (rule.eps, usual.eps),
            "--metric": (rule.metric, usual.metric),
            "--patience": (rule.patience, usual.patience),
            "--rule": (rule.rule, usual.rule),
            "--phase": (rule.phase or "any", usual.phase or "any"),
            "--by": (",".join(self.by), "arch,dataset"),
            "--level": (self.level, 0.95),
        }
        return [word for name, (value, default) in differing.items() if value != default for word in (name, str(value))]


def read_report(store: "Store", request: Request) -> "Report":
    """Read the runs that are asked for and give the whole report of them, curves included."""
    from ncdiag.report.contents import Report
    from ncdiag.report.runs import as_text, packed_curves

    asked, of_questions = read_asked(store, request)
    return Report(
        title=request.title or title_of(asked),
        store=store.label,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        rule=str(request.rule),
        eps=request.rule.eps if request.rule.metric == "nc1" else None,
        command=join(["ncdiag", "report", "--store", store.label, *request.options()]),
        notes=notes_of(asked, of_questions),
        sections=sections_of(of_questions),
        runs=rows_of(asked),
        curves={run_id: as_text(packed) for run_id, packed in packed_curves(asked.epochs).items()},
    )


def read_asked(store: "Store", request: Request) -> "tuple[Asked, Asked]":
    """Give all runs that fit, and those that the questions count: without repetitions of a trajectory."""
    from dataclasses import replace

    from ncdiag.analysis.asked import Asked
    from ncdiag.analysis.repeats import drop_repeats
    from ncdiag.store.frames import epochs_frame

    runs = selected_runs(store, None, request.where)
    epochs = epochs_frame(store, runs["run_id"].tolist())
    everything = Asked(runs=runs, epochs=epochs, rule=request.rule, by=request.by, level=request.level)
    counted = drop_repeats(runs)
    if len(counted) == len(runs):
        return everything, everything
    kept = epochs[epochs["run_id"].isin(counted["run_id"])].reset_index(drop=True)
    return everything, replace(everything, runs=counted, epochs=kept)


def sections_of(asked: "Asked") -> "list[Section]":
    """Give every question with its answer, the table of claims first."""
    from ncdiag.report.contents import make_section

    names = sorted(ANSWERS, key=lambda name: name != _FIRST)
    with unwrapped():
        answers = {name: ANSWERS[name](asked) for name in names}
    return [make_section(name, answer.results, answer.page) for name, answer in answers.items()]


def rows_of(asked: "Asked") -> list[dict[str, object]]:
    """Give the rows of the table of runs, each with the interval of fn* of its pair."""
    from ncdiag.analysis.repeats import drop_repeats
    from ncdiag.analysis.thresholds import threshold_results
    from ncdiag.report.runs import run_rows

    found = threshold_results(drop_repeats(asked.onsets), rule=asked.rule, by=asked.by, level=asked.level)
    return run_rows(asked.onsets, asked.epochs, dict(_bands(asked, found)))


def _bands(asked: "Asked", results: "Sequence[Result]") -> "Iterator[tuple[int, tuple[float, float, float]]]":
    from math import isfinite

    from ncdiag.analysis.conditions import plain_value

    bands = {
        tuple(result.group[name] for name in asked.by): (result.lo, result.estimate, result.hi)
        for result in results
        if result.quantity == "fn_star" and all(map(isfinite, (result.lo, result.estimate, result.hi)))
    }
    for run in asked.runs[["run_id", *asked.by]].to_dict("records"):
        band = bands.get(tuple(plain_value(run[name]) for name in asked.by))
        if band:
            yield int(run["run_id"]), band


def title_of(asked: "Asked") -> str:
    """Name what the runs are of."""
    from ncdiag.plotting.conditions import describe_shared

    shared = describe_shared(asked.runs)
    return f"Neural collapse: {shared}" if shared else "Neural collapse: what the runs show"


def notes_of(everything: "Asked", counted: "Asked") -> list[str]:
    """Say what a reader of the whole page should know first."""
    notes = []
    repeated = len(everything.runs) - len(counted.runs)
    if repeated:
        notes.append(f"{repeated} runs repeat the trajectory of another (same seed); the questions do not count them.")
    going = int(everything.runs["status"].isin(["running", "pending", "interrupted", "lost"]).sum())
    if going:
        notes.append(f"{going} of {len(everything.runs)} runs are not finished; their epochs so far are counted.")
    return notes
