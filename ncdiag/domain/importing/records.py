"""Rows of a file that somebody else wrote, as epoch records: columns renamed, numbers read, phases filled in.

A file says what was measured; what the run was is said beside it (`ncdiag.domain.importing.descriptions`). The two
meet in the phase: a file without a phase column does not say whether the run ever switched its loss.
"""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ncdiag.domain.importing.phases import PhasePlan, loss_name
from ncdiag.domain.importing.rows import Problem, Row, Table, bare, number, shown, whole
from ncdiag.domain.records import EPOCH_COLUMNS, LARGEST, LAST_PHASE, EpochRecord, range_of
from ncdiag.domain.run_names import NO_NAME, is_run_name

RUN_COLUMN = "run"
COLUMNS = (RUN_COLUMN, *EPOCH_COLUMNS)
_MEASURED = tuple(name for name in EPOCH_COLUMNS if name not in ("epoch", "phase", "loss"))


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column of a file holds which field.

    `absent` are columns that the map names and the file lacks, `extra` those that nothing reads, `misspelt` the extra
    ones that look like a misspelt field, with that field.
    """

    sources: dict[str, str]
    absent: tuple[str, ...]
    extra: tuple[str, ...]
    misspelt: dict[str, str]


def look_alike(name: str, known: Collection[str]) -> str | None:
    """Give the known name that `name` looks like a misspelling of, such as feature_norm for feat_norm."""
    # 0.75 catches train_acc and feat_norm, and lets columns that mean something else (nc2, val_loss) pass.
    return next(iter(difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.75)), None)


def match_columns(header: tuple[str, ...], mapped: Mapping[str, str]) -> Columns:
    """Say which column of a file holds which field: the mapped ones, and those that have a field's own name.

    `mapped` gives the column of a field; an empty one means that the field is not read from this file.
    """
    sources = {field: column for field, column in mapped.items() if column in header}
    taken = {*sources, *sources.values(), *(field for field, column in mapped.items() if not column)}
    own = {name: name for name in header if name in COLUMNS and name not in taken}
    absent = tuple(column for column in mapped.values() if column and column not in header)
    used = {*own.values(), *sources.values()}
    extra = tuple(name for name in header if name not in used)
    free = [field for field in COLUMNS if field not in own and field not in mapped]
    close = {name: look_alike(name, free) for name in extra if name not in COLUMNS}
    return Columns(
        sources=own | sources,
        absent=absent,
        extra=extra,
        misspelt={name: field for name, field in close.items() if field is not None},
    )


def read_records(table: Table, columns: Columns) -> tuple[dict[str | None, list[EpochRecord]], list[Problem]]:
    """Give the records of each run (None for rows that name none), and the rows that cannot be read.

    The epochs of a run must rise from row to row, and its phases must not fall; the rows of several runs may be mixed.
    Rows of one epoch that follow each other are one where no two fill the same cell: loggers write what is logged at
    two places into two rows. Rows that fill no cell that is read are passed over.
    """
    problems = list(table.problems)
    if "epoch" not in columns.sources:
        if table.columns:
            listed = _listed(table.columns)
            problems.append(Problem(line=1, what=f"no column epoch among {listed}; name it with --map epoch=COLUMN"))
        return {}, problems
    if number_column := _numbers_for_names(table, columns):
        told = f"column {shown(number_column)} holds numbers, and loss is a name, ce or mse"
        problems.append(Problem(line=1, what=f"{told}; read them with --map train_loss={bare(number_column)}"))
        return {}, problems
    if not any(field in columns.sources for field in _MEASURED):
        problems.append(Problem(line=1, what=f"no measured column among {_listed(table.columns)}; see --map"))
        return {}, problems
    runs: dict[str | None, list[EpochRecord]] = {}
    reached: dict[str | None, int] = {}  # the last phase that a run is said to be in
    for row in table.rows:
        values = {field: row.cells.get(column) for field, column in columns.sources.items()}
        name = values.pop(RUN_COLUMN, None)
        if not any(values.values()):  # loggers write what is not of an epoch, such as the load of a GPU, into its rows
            continue
        try:
            record = _record(values)
        except ValueError as error:
            problems.append(Problem(line=row.line, what=str(error)))
            continue
        if RUN_COLUMN in columns.sources and not is_run_name(name or ""):
            problems.append(Problem(line=row.line, what=f"run: {shown(name or '')} {NO_NAME}"))
            continue
        before, phase = runs.setdefault(name, []), reached.get(name, 1)
        again = bool(before) and record.epoch == before[-1].epoch
        falls = record.phase is not None and record.phase < phase
        if falls or (before and record.epoch < before[-1].epoch) or (again and _both_measured(before[-1], record)):
            problems.append(_order_problem(row, record, before, phase, name))
            continue
        reached[name] = record.phase or phase
        if again:
            before[-1] = replace(before[-1], **_filled(record))
        else:
            before.append(record)
    if not runs and not problems:
        problems.append(
            Problem(line=1, what="no row fills a column that is read" if table.rows else "a header and no rows")
        )
    return runs, sorted(problems, key=lambda problem: problem.line)


def with_phases(records: list[EpochRecord], plan: PhasePlan) -> list[EpochRecord]:
    """Fill in phase and loss where the file leaves them empty and the plan knows them."""
    believed = plan.sure or all(record.phase is None for record in records)
    filled = []
    for record in records:
        phase = plan.phase_of(record.epoch) if record.phase is None and believed else record.phase
        loss = record.loss or plan.loss_of(phase)
        known = (phase, loss) == (record.phase, record.loss)  # as most are; a copy takes ten times as long as a look
        filled.append(record if known else replace(record, phase=phase, loss=loss))
    return filled


def _numbers_for_names(table: Table, columns: Columns) -> str | None:
    """Give the column read as the name of the loss if it holds the value of the loss, as in most logs."""
    column = columns.sources.get("loss")
    first = next((text for row in table.rows if column and (text := row.cells.get(column))), "")
    try:
        number(first)
    except ValueError:
        return None
    return column


def _record(values: dict[str, str | None]) -> EpochRecord:
    """Read one row; the `ValueError` names the field that cannot be read."""
    read: dict[str, Any] = {}
    for field, text in values.items():
        if text is None:
            continue
        try:
            read[field] = _value(field, text)
        except ValueError as error:
            raise ValueError(f"{field}: {error}") from None
    if "epoch" not in read:
        raise ValueError("epoch: the cell is empty")
    return EpochRecord(**read)


def _value(field: str, text: str) -> int | float | str:
    if field == "epoch":
        return whole(text, 0, LARGEST)  # 0 is before training
    if field == "phase":
        return whole(text, 1, LAST_PHASE)
    if field == "loss":
        return loss_name(text)
    value = number(text) + 0.0  # -0.0 and 0.0 are one number, hence one key
    least, most = range_of(field)
    if most == 1 and (value < least or value > most):
        raise ValueError(f"{shown(text)} is not in [0, 1]; divide a percentage by 100")
    if value < least:
        raise ValueError(f"{shown(text)} is below 0, which {field} never is; --map {field}= leaves the column out")
    return value


def _filled(record: EpochRecord) -> dict[str, Any]:
    return {field: value for field, value in record.values().items() if value is not None}


def _both_measured(one: EpochRecord, other: EpochRecord) -> list[str]:
    """Give the fields that both rows of an epoch fill, but for a phase and a loss that are the same in both."""
    said, again = _filled(one), _filled(other)
    return [field for field in said if field in again and (field in _MEASURED or said[field] != again[field])]


def _order_problem(row: Row, record: EpochRecord, before: list[EpochRecord], phase: int, name: str | None) -> Problem:
    what = f"epoch {record.epoch}" + (f" of run {shown(name)}" if name else "")
    last = before[-1]
    if record.epoch == last.epoch and (both := _both_measured(last, record)):
        what += f" twice, with {both[0]} in both rows"
    elif record.epoch < last.epoch and any(earlier.epoch == record.epoch for earlier in before):
        what += " twice"
    elif record.epoch < last.epoch:
        what += f" after epoch {last.epoch}; epochs must rise"
    else:
        what += f" is of phase {record.phase}, after one of phase {phase}; phases must not fall"
    return Problem(line=row.line, what=what)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(bare(name) for name in names[:12]) + (", ..." if len(names) > 12 else "")
