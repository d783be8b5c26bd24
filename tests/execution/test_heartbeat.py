import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from small import small_spec

from ncdiag.errors import StoreError
from ncdiag.execution import heartbeat
from ncdiag.store.engine import Store
from ncdiag.store.runs import add_run, claim_run

LONG_AGO = "2000-01-01 00:00:00.000"


def beats(path: Path) -> dict[int, str]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT id, heartbeat_at FROM runs"))


def test_what_lives_beats_again_and_again_and_nothing_else_does(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.01)
    assert store.path
    ids = [add_run(store, small_spec(seed=seed))[0].id for seed in range(4)]
    for place, run_id in enumerate(ids):
        owner = "somebody else" if place == 2 else "me"
        assert claim_run(store, run_id, owner=owner, device="cpu", environment={})
    living, asked = ids[:3], 0  # the last one has ended

    def ask() -> list[int]:
        nonlocal asked
        asked += 1
        return living

    def wait_for(arrived: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not arrived():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    with heartbeat.beating(store, "me", ask):
        for alive in (ids[:2], ids[1:2]):  # the first one ends meanwhile
            living, before = alive + ids[2:3], asked
            wait_for(lambda before=before: asked >= before + 2)  # the beat that was under way is over
            with closing(sqlite3.connect(store.path, timeout=30)) as connection, connection:
                connection.execute("UPDATE runs SET heartbeat_at = ?", [LONG_AGO])
            wait_for(lambda alive=alive: all(beats(store.path)[run_id] != LONG_AGO for run_id in alive))
            assert [run_id for run_id, at in beats(store.path).items() if at != LONG_AGO] == alive


def test_a_beat_that_is_missed_is_not_the_last(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = 0
    third = threading.Event()

    def miss(*_: object) -> None:
        nonlocal tried
        tried += 1
        if tried == 3:
            third.set()
        raise StoreError("held by somebody")

    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(heartbeat.runs, "heartbeat", miss)
    with heartbeat.beating(store, "me", lambda: [1]):
        assert third.wait(30)
