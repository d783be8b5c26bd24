"""What a report that follows a store is made of: rows that are read anew with every change, answers now and then.

Rows and tails of curves take short queries, so whoever trains is never kept waiting. The questions read every epoch and
take seconds; a thread answers them again when the store has changed, at most once in `seconds`.
"""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ncdiag.cli.report_contents import frame_of, gather, rows_of
from ncdiag.errors import NCDiagError

if TYPE_CHECKING:
    from ncdiag.analysis.terms import Terms
    from ncdiag.report.contents import Report
    from ncdiag.store.handle import Store

# What becomes of a run without a row of the store changing: it is lost when whoever trained it is gone.
_RECHECK_SECONDS = 10.0


class LiveSource:
    """The parts of a report over a store that is being written to; see `ncdiag.report.server.Source`."""

    def __init__(self, store: "Store", terms: "Terms", *, seconds: float) -> None:
        self._store = store
        self._terms = terms
        self._seconds = seconds
        self._lock = threading.Lock()
        self._rows: tuple[object, float, list[dict[str, Any]]] = (None, 0.0, [])
        self._analysed: Mapping[int, Mapping[str, Any]] = {}
        self._report = frame_of(store, terms, None, said="The questions are being answered; they will appear here.")
        self._answers: tuple[object, str] = (None, "")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_answering, name="answers", daemon=True)

    def start(self) -> None:
        """Begin to answer the questions."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering; what is being computed goes on for a moment."""
        self._stop.set()

    def page(self) -> str:
        """Give the whole page."""
        from ncdiag.report.page import render_report

        return render_report(replace(self._report, runs=self._current()))

    def runs(self) -> str:
        """Give the rows of all runs as JSON, as they are now."""
        return json.dumps({"runs": self._current()}, allow_nan=False)

    def answers(self) -> str:
        """Give the part of the page that holds the questions."""
        from ncdiag.report.page import render_answers

        report = self._report
        if self._answers[0] is not report:
            self._answers = (report, render_answers(report))
        return self._answers[1]

    def curves(self, run_id: int, after: int) -> bytes | None:
        """Give the packed columns of a run's epochs after one of them, None where there is no such run."""
        from ncdiag.report.runs import packed_curves
        from ncdiag.store.frames import epochs_frame

        if all(row["id"] != run_id for row in self._current()):
            return None
        return packed_curves(epochs_frame(self._store, [run_id], after=after)).get(run_id, b"")

    def _current(self) -> list[dict[str, Any]]:
        """Give the rows, read again where the store has changed or some time has passed."""
        with self._lock:
            signature, read_at, rows = self._rows
            found = self._signature()
            if found is None or found != signature or time.monotonic() - read_at > _RECHECK_SECONDS:
                rows = self._read_rows()
                self._rows = (found, time.monotonic(), rows)
            return rows

    def _read_rows(self) -> list[dict[str, Any]]:
        from ncdiag.analysis.onsets import onset_table
        from ncdiag.analysis.selection import select_runs
        from ncdiag.report.runs import LATEST, UNREAD, plain_cell, run_rows
        from ncdiag.store.frames import epochs_frame, runs_frame
        from ncdiag.store.latest import list_latest

        runs = select_runs(runs_frame(self._store), self._terms.where).reset_index(drop=True)
        nothing = epochs_frame(self._store, [])
        latest = list_latest(self._store, runs["run_id"].tolist())
        rows = run_rows(onset_table(runs, nothing, self._terms.rule), nothing, conditions=[""] * len(runs), bands={})
        return [
            row
            | {name: self._analysed.get(row["id"], UNREAD)[name] for name in UNREAD}
            | ({name: plain_cell(getattr(latest[row["id"]], name)) for name in LATEST} if row["id"] in latest else {})
            for row in rows
        ]

    def _signature(self) -> object:
        """Give what changes with the store's file, None where that cannot be told."""
        if self._store.path is None:
            return None
        try:
            found = self._store.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _keep_answering(self) -> None:
        answered: object = None
        while not self._stop.is_set():
            found = self._signature()
            if found is None or found != answered:
                try:
                    self._report, self._analysed = self._analyse()
                    answered = found
                except Exception as error:
                    self._report = frame_of(self._store, self._terms, None, said=_said(error))
                with self._lock:
                    self._rows = (None, 0.0, [])
            self._stop.wait(self._seconds)

    def _analyse(self) -> "tuple[Report, Mapping[int, Mapping[str, Any]]]":
        gathered = gather(self._store, self._terms)
        report = frame_of(self._store, self._terms, gathered)
        return report, {row["id"]: row for row in rows_of(gathered)}


def _said(error: Exception) -> str:
    """Give what the page says in place of answers; whatever the error, the thread goes on and tries again."""
    if isinstance(error, NCDiagError):
        return str(error)
    if isinstance(error, MemoryError):
        return "Out of memory; --where chooses fewer runs."
    return f"The questions could not be answered ({type(error).__name__}: {error}). This is a bug in ncdiag."
