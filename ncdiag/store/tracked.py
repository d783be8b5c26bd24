"""Runs whose network somebody else trains, and tells of as it goes (`ncdiag.execution.tracking`)."""

from collections.abc import Mapping
from typing import Any

from ncdiag.domain.records import Run
from ncdiag.store.handle import Store
from ncdiag.store.rows import described_columns, runs_by_key
from ncdiag.store.runs import check_name, insert_runs
from ncdiag.store.waiting import retried

SOURCE = "ncdiag.track"


@retried
def add_tracked_run(store: Store, *, key: str, name: str | None, config: Mapping[str, Any]) -> Run:
    """Store a run that is about to begin, under a key that no other has; without a name it is called `run-<id>`.

    `config` is what was said of it, as in `ImportedRun`. Raises `SpecError` for a name that cannot be used or belongs
    to another run.
    """
    if name is not None:
        check_name(name)
    with store.write() as connection:
        known = runs_by_key(store, connection, [key])
        if not known:  # else an earlier try has made it
            insert_runs(store, connection, [described_columns(key, name=name, source=SOURCE, config=config)])
        return runs_by_key(store, connection, [key])[key]
