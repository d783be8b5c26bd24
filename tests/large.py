"""A store of any number of runs, written in bulk."""

import sqlite3
from contextlib import closing
from pathlib import Path

from small import small_spec

from ncdiag.domain.spec import canonical_json
from ncdiag.store.engine import open_store
from ncdiag.store.rows import spec_columns

PAIR = 8


def make_large_store(path: Path, runs: int, epochs: int = 3) -> None:
    """Write a store with `runs` runs, the first `PAIR` of them of a CNN, the others of an MLP, with a few epochs each.

    NC1 falls below 0.01 at the last epoch. Keys are numbers: nothing trains these runs.
    """
    with open_store(str(path), write=True):
        pass
    spec = small_spec()
    columns = spec_columns(spec, name="", data={}) | {
        "origin": "imported",
        "status": "done",
        "epochs_done": epochs,
        "epochs_planned": epochs,
    }
    plain = {name: canonical_json(value) if isinstance(value, dict) else value for name, value in columns.items()} | {
        "created_at": "2026-01-01 00:00:00.000"
    }
    rows = [
        {
            **plain,
            "name": f"run-{number}",
            "key": f"{number:064}",
            "seed": number,
            "arch": "cnn" if number <= PAIR else "mlp",
        }
        for number in range(1, runs + 1)
    ]
    with closing(sqlite3.connect(path)) as connection:
        names = list(rows[0])
        connection.executemany(
            f"INSERT INTO runs ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})", rows
        )
        connection.execute(
            "WITH RECURSIVE n(epoch) AS (SELECT 1 UNION ALL SELECT epoch + 1 FROM n WHERE epoch < ?)"
            " INSERT INTO epochs (run_id, epoch, phase, loss, train_accuracy, feature_norm, nc1)"
            " SELECT id, epoch, 1, 'ce', 1.0, 1.5, CASE WHEN epoch < ? THEN 0.5 ELSE 0.005 END FROM runs, n",
            (epochs, epochs),
        )
        connection.commit()
