"""What a process that trains puts into a store, without the training."""

from sqlalchemy import text

from ncdiag.domain.records import EpochRecord, InterventionRecord, Run
from ncdiag.store.engine import Store
from ncdiag.store.recorder import Recorder, store_together


def append(store: Store, run: Run, *records: EpochRecord | InterventionRecord, owner: str) -> None:
    """Store what was measured in a run that `owner` trains, in one transaction."""
    recorder = Recorder(store, run, owner=owner, tell=print)
    store_together([(recorder, record) for record in records])


def sweeps_of(store: Store) -> dict[str, tuple[int, ...]]:
    """Give the grids of a store by their names, each with the ids of its runs in order."""
    query = "SELECT s.name, p.run_id FROM sweeps AS s LEFT JOIN sweep_points AS p ON p.sweep_id = s.id"
    found: dict[str, tuple[int, ...]] = {}
    with store.read() as connection:
        for name, run_id in connection.execute(text(f"{query} ORDER BY s.id, p.position")):
            found[name] = (*found.get(name, ()), run_id)
    return found
