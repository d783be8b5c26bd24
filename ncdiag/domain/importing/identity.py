"""Runs of ncdiag that come back from an export: what they were trained as, so that they stay the runs they are."""

from collections.abc import Mapping, Sequence

from ncdiag.domain.evaluations import due_epochs
from ncdiag.domain.importing.rows import shown
from ncdiag.domain.records import FINAL, UNFINISHED, EpochRecord, RunStatus
from ncdiag.domain.spec import RunSpec
from ncdiag.errors import SpecError

# By these columns a row of `ncdiag export runs` is known.
EXPORTED = {"run", "key", "origin", "config"}
# What is said of the end of a run, and no setting of it.
END = ("status", "reason")


def find_identity(row: Mapping[str, str | None], records: Sequence[EpochRecord]) -> RunSpec | None:
    """Give the specification of a run that ncdiag trained to its end and whose epochs are all there, else None.

    `row` is what `ncdiag export runs` says of the run. The specification is believed if the run's key is its own.
    """
    if not row.keys() >= EXPORTED or row.get("status") not in FINAL:
        return None
    try:
        spec = RunSpec.from_json(row["config"] or "")
    except SpecError:
        return None
    if spec.key != row["key"]:
        return None
    last = records[-1].epoch
    ended = row["status"] != RunStatus.DONE or spec.stop is not None or last == spec.epochs
    whole = [record.epoch for record in records] == due_epochs(spec, last)
    return spec if ended and whole else None


def find_end(said: Mapping[str, str | None]) -> tuple[RunStatus, str | None]:
    """Give how a run ended, and why, by what is said as `status` and `reason`; `done` where nothing is.

    A run that had not ended is interrupted: nobody goes on with it where it is taken in. Raises `ValueError` for a
    status that is none.
    """
    word, reason = said.get("status") or RunStatus.DONE, _printed(said.get("reason") or "") or None
    if word not in tuple(RunStatus):
        raise ValueError(
            f"status: {shown(word)} is none of {', '.join(RunStatus)}; rename the column if it means something else"
        )
    status = RunStatus(word)
    if status in UNFINISHED and status is not RunStatus.FAILED:
        return RunStatus.INTERRUPTED, reason or f"{status} when it was exported"
    return status, reason


def _printed(text: str) -> str:
    """Write a text of several lines without what could drive a terminal that shows it."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
