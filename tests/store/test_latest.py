import math
from pathlib import Path

from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs
from ncdiag.store.latest import list_latest


def imported(name: str, *records: EpochRecord) -> ImportedRun:
    return ImportedRun(name=name, config={"arch": "mlp"}, epochs=records, source="a.csv")


def test_each_run_has_its_newest_record_as_it_was_measured(tmp_path: Path):
    first, last = EpochRecord(epoch=10, nc1=0.5), EpochRecord(epoch=20, nc1=math.inf, nc3=math.nan)
    other = EpochRecord(epoch=300, feature_norm=1.5)
    with open_store(str(tmp_path / "runs.db"), write=True) as store:
        a, b = import_runs(store, [imported("a", first, last), imported("b", other)]).runs
        latest = list_latest(store, [a.id, b.id, 77])
        assert list_latest(store, [b.id]) == {b.id: other}
    assert latest.keys() == {a.id, b.id}
    assert latest[b.id] == other
    assert (latest[a.id].epoch, latest[a.id].nc1) == (20, math.inf)
    assert math.isnan(latest[a.id].nc3 or 0)


def test_an_unknown_run_has_none(tmp_path: Path):
    with open_store(str(tmp_path / "runs.db"), write=True) as store:
        assert list_latest(store, [1]) == {}
