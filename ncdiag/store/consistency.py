"""What holds between the rows of a store that ncdiag alone has written, and so shows what something else has done.

The database itself guards keys and references; these are the promises that it does not know of.
"""

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Double, Integer, String, cast, func, or_, select

from ncdiag.domain.evaluations import due_epochs
from ncdiag.domain.spec import RunSpec
from ncdiag.errors import SpecError
from ncdiag.store import schema

_JSON_COLUMNS = ("config", "data", "environment", "fingerprint")


def list_inconsistencies(connection: Connection) -> list[str]:
    """Give a line for each run that contradicts itself: none for a store as ncdiag leaves it."""
    return [
        f"{name} {problem}"
        for row in _rows(connection)
        if (name := row["name"])
        for problem in (*_documents(row), *_totals(row), *_gaps(connection, row))
    ] + [f"{name} {problem}" for name, problem in (*_strange_runs(connection), *_strange_epochs(connection))]


def _rows(connection: Connection) -> Iterator[dict[str, Any]]:
    """Give the runs with the number, the sum and the last of their epochs, JSON as the text that is stored."""
    runs, epochs = schema.runs, schema.epochs
    told = func.max(epochs.c.epoch).label("last"), func.count().label("rows"), func.sum(epochs.c.epoch).label("sum")
    counted = select(epochs.c.run_id, *told).group_by(epochs.c.run_id).subquery()
    plain = [cast(runs.c[name], String).label(name) for name in _JSON_COLUMNS]
    query = (
        select(
            *(runs.c[name] for name in ("id", "name", "key", "origin", "status", "reason")),
            runs.c.epochs_done,
            runs.c.epochs_planned,
            *plain,
            func.coalesce(counted.c.last, 0).label("last"),
            func.coalesce(counted.c.rows, 0).label("rows"),
            func.coalesce(counted.c.sum, 0).label("sum"),
        )
        .outerjoin(counted, counted.c.run_id == runs.c.id)
        .order_by(runs.c.id)
    )
    return (dict(row) for row in connection.execute(query).mappings())


def _documents(row: dict[str, Any]) -> Iterator[str]:
    for name in _JSON_COLUMNS:
        try:
            row[name] = json.loads(row[name])
        except (TypeError, ValueError, RecursionError):
            yield f"has a {name} that is no JSON"
            row["config"] = None
    if row["origin"] != "trained" or row["config"] is None:
        return
    try:
        spec = RunSpec.from_dict(row["config"])
    except SpecError:
        yield "has a configuration that cannot be read"
        row["config"] = None
        return
    if spec.key != row["key"]:
        yield "has a configuration that is not the one of its key"


def _totals(row: dict[str, Any]) -> Iterator[str]:
    if row["epochs_done"] != row["last"]:
        yield f"says that it has {row['epochs_done']} epochs, but its last row is epoch {row['last']}"
    whole = row["epochs_done"] == row["epochs_planned"] or row["reason"]
    if row["origin"] == "trained" and row["status"] == "done" and not whole:
        yield f"is done after {row['epochs_done']} of {row['epochs_planned']} epochs, without a reason"


def _gaps(connection: Connection, row: dict[str, Any]) -> Iterator[str]:
    """Find the epochs before the last that a trained run has to have, and has not, and those that were not due.

    Their number and their sum tell whether to look, as reading the epochs of every run takes long: one too many in
    place of one that is missing changes the sum.
    """
    if row["origin"] != "trained" or row["config"] is None:
        return
    due = due_epochs(RunSpec.from_dict(row["config"]), row["last"])
    if (len(due), sum(due)) != (row["rows"], row["sum"]):
        found = set(connection.scalars(select(schema.epochs.c.epoch).where(schema.epochs.c.run_id == row["id"])))
        if missing := sorted(set(due) - found):
            yield f"lacks the epochs {_some(missing)}"
        if strange := sorted(found - set(due)):
            yield f"has rows of epochs that were not due: {_some(strange)}"


def _some(epochs: list[int]) -> str:
    more = f" and {len(epochs) - 5} more" if len(epochs) > 5 else ""
    return f"{', '.join(map(str, epochs[:5]))}{more}"


def _strange_runs(connection: Connection) -> Iterator[tuple[str, str]]:
    """Find settings that are no numbers and times that are none, which SQLite takes in any column."""
    if connection.dialect.name != "sqlite":
        return
    runs = schema.runs
    numbers = {c.name: is_no_number(c) for c in runs.c if isinstance(c.type, (Double, Integer))}
    times = {c.name: is_no_time(c) for c in runs.c if isinstance(c.type, schema.UtcDateTime)}
    strange = [condition.label(name) for name, condition in (numbers | times).items()]
    query = select(runs.c.name.label("run"), *strange).where(or_(*numbers.values(), *times.values()))
    for row in connection.execute(query.order_by(runs.c.id).limit(20)).mappings():
        for name in (*numbers, *times):
            if row[name]:
                yield row["run"], f"has a {name} that is no {'number' if name in numbers else 'time'}"


def _strange_epochs(connection: Connection) -> Iterator[tuple[str, str]]:
    """Find measurements that are no numbers, and names of what is not finite that are none."""
    if connection.dialect.name != "sqlite":
        return
    runs, epochs = schema.runs, schema.epochs
    numbers = [column for column in epochs.c if isinstance(column.type, Double)]
    found = select(runs.c.name, epochs.c.epoch).join(runs, runs.c.id == epochs.c.run_id)
    strange = found.where(or_(*map(is_no_number, numbers)))
    for name, epoch in connection.execute(strange.order_by(runs.c.id, epochs.c.epoch).limit(20)):
        yield name, f"has something at epoch {epoch} that is no number"
    said = found.add_columns(cast(epochs.c.nonfinite, String)).where(epochs.c.nonfinite.is_not(None))
    for name, epoch, text in connection.execute(said.order_by(runs.c.id, epochs.c.epoch)):
        if not _names_nonfinite(text):
            yield name, f"says at epoch {epoch} that something is not finite, and not what"


def is_no_number(column: Column[Any]) -> ColumnElement[bool]:
    """Ask SQLite whether something else than a number is where one belongs."""
    return func.typeof(column).in_(("text", "blob"))


def is_no_time(column: Column[Any]) -> ColumnElement[bool]:
    """Ask SQLite whether something else than a time is where one belongs."""
    return column.is_not(None) & func.datetime(cast(column, String)).is_(None)


def _names_nonfinite(text: str) -> bool:
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        return False
    known = schema.epochs.c.keys()
    return isinstance(words, dict) and all(
        name in known and word in ("nan", "inf", "-inf") for name, word in words.items()
    )
