"""What `store check` finds beyond what the database itself guards: each promise broken on purpose."""

import sqlite3
from contextlib import closing

import pytest
from recorded import append

from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.domain.spec import PhaseSpec
from ncdiag.store.imports import import_runs
from ncdiag.store.maintenance import check_store
from ncdiag.store.runs import finish_run


@pytest.fixture
def whole(store, url, running, owner, record):
    """A run of sixty epochs that is done, and an imported one whose epochs are ten apart."""
    append(store, running, *(record(epoch) for epoch in range(1, 61)), owner=owner)
    finish_run(store, running.id, owner=owner, status="done")
    epochs = tuple(EpochRecord(epoch=10 * n) for n in (1, 2, 3))
    import_runs(store, [ImportedRun(name="foreign", config={"arch": "mlp"}, epochs=epochs, source="a.csv")])
    return url


def test_what_ncdiag_has_written_is_sound(whole):
    assert check_store(whole) == []


BROKEN = [
    ("DELETE FROM epochs WHERE run_id = 1 AND epoch IN (7, 9)", ["run-1 lacks the epochs 7, 9"]),
    (
        "DELETE FROM epochs WHERE run_id = 1 AND epoch BETWEEN 11 AND 16",
        ["run-1 lacks the epochs 11, 12, 13, 14, 15 and 1 more"],
    ),
    ("INSERT INTO epochs (run_id, epoch) VALUES (1, 0)", ["run-1 has rows of epochs that were not due: 0"]),
    (
        "UPDATE epochs SET epoch = 0 WHERE run_id = 1 AND epoch = 7",
        ["run-1 lacks the epochs 7", "run-1 has rows of epochs that were not due: 0"],
    ),
    (
        "INSERT INTO epochs (run_id, epoch) VALUES (1, 67)",
        [
            "run-1 says that it has 60 epochs, but its last row is epoch 67",
            "run-1 has rows of epochs that were not due: 67",
        ],
    ),
    ("DELETE FROM epochs WHERE run_id = 2 AND epoch = 30", ["foreign says that it has 30 epochs, but its last row is"]),
    (
        "UPDATE runs SET epochs_done = 59 WHERE id = 1",
        [
            "run-1 says that it has 59 epochs, but its last row is epoch 60",
            "run-1 is done after 59 of 60 epochs, without a reason",
        ],
    ),
    (
        "UPDATE runs SET config = replace(config, '32', '33') WHERE id = 1",
        ["run-1 has a configuration that is not the"],
    ),
    ("UPDATE runs SET config = '{}' WHERE id = 1", ["run-1 has a configuration that cannot be read"]),
    ("UPDATE runs SET data = '{' WHERE id = 1", ["run-1 has a data that is no JSON"]),
    (
        "UPDATE epochs SET nc1 = 'x' WHERE run_id = 1 AND epoch = 3",
        ["run-1 has something at epoch 3 that is no number"],
    ),
    (
        "UPDATE runs SET config = '" + "[" * 50_000 + "]" * 50_000 + "' WHERE id = 1",
        ["run-1 has a config that is no JSON"],
    ),
    ("UPDATE runs SET depth = 'deep' WHERE id = 1", ["run-1 has a depth that is no number"]),
    ("UPDATE runs SET lr = x'00ff' WHERE id = 2", ["foreign has a lr that is no number"]),
    ("UPDATE runs SET created_at = 'never' WHERE id = 2", ["foreign has a created_at that is no time"]),
    (
        """UPDATE epochs SET nonfinite = '{"nc1":"zap"}' WHERE run_id = 1 AND epoch = 3""",
        ["run-1 says at epoch 3 that something is not finite, and not what"],
    ),
    (
        """UPDATE epochs SET nonfinite = '{"nc1":"nan","nc9":"nan"}' WHERE run_id = 1 AND epoch = 3""",
        ["run-1 says at epoch 3 that something is not finite, and not what"],
    ),
    (
        "UPDATE epochs SET nonfinite = '[' WHERE run_id = 1 AND epoch = 3",
        ["run-1 says at epoch 3 that something is not finite, and not what"],
    ),
]


@pytest.mark.parametrize(("statement", "expected"), BROKEN, ids=lambda value: str(value)[:40])
def test_a_broken_promise_is_found(whole, statement, expected):
    with closing(sqlite3.connect(whole)) as connection:
        assert connection.execute(statement).rowcount > 0
        connection.commit()
    found = check_store(whole)
    assert len(found) == len(expected), found
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True)), found


def test_a_run_that_is_done_too_early_is_found_unless_it_says_why(store, url, running, owner, record):
    append(store, running, *(record(epoch) for epoch in range(1, 11)), owner=owner)
    finish_run(store, running.id, owner=owner, status="done")
    assert check_store(url) == ["run-1 is done after 10 of 60 epochs, without a reason"]
    with closing(sqlite3.connect(url)) as connection:
        connection.execute("UPDATE runs SET reason = 'stopped at onset'")
        connection.commit()
    assert check_store(url) == []


def test_epochs_that_were_never_due_are_no_gap(store, url, make_spec, owner, record):
    from dataclasses import replace

    from ncdiag.store.leases import hold_lease
    from ncdiag.store.runs import add_run, claim_run

    spec = replace(make_spec(), eval_every=4, phases=(PhaseSpec(loss="ce", epochs=6), PhaseSpec(loss="mse", epochs=6)))
    run, _ = add_run(store, spec)
    with hold_lease(store, run.id, owner):
        claim_run(store, run.id, owner=owner, device="cpu", environment={})
        append(store, run, *(record(epoch) for epoch in (4, 6, 8, 12)), owner=owner)
        assert check_store(url) == []
        finish_run(store, run.id, owner=owner, status="done")
    assert check_store(url) == []
