from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from small import small_spec

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.repeats import drop_repeats
from ncdiag.analysis.terms import Terms
from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.domain.spec import RunSpec
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import count_measured
from ncdiag.store.frames import epochs_frame, runs_frame
from ncdiag.store.imports import import_runs
from ncdiag.store.runs import add_run


def kept(
    tmp_path: Path, specs: list[RunSpec], keep: str | None = None, *, evaluations: Mapping[int, int] | None = None
) -> list[str]:
    tmp_path.mkdir(exist_ok=True)
    with open_store(str(tmp_path / "runs.db"), write=True) as store:
        for spec in specs:
            add_run(store, spec)
        return drop_repeats(runs_frame(store), lambda _: evaluations or {}, keep=keep)["run"].tolist()


def test_one_trajectory_counts_once_however_it_was_evaluated_or_stopped(tmp_path: Path) -> None:
    specs = [small_spec(eval_every=2), small_spec(eval_every="log"), small_spec(), small_spec(seed=1)]
    assert kept(tmp_path, specs, evaluations={1: 3, 2: 4, 3: 6}) == ["run-3", "run-4"]


def test_which_of_equals_is_kept_is_no_matter_of_their_place_in_the_store(tmp_path: Path) -> None:
    specs = [small_spec(), small_spec(stop_at_onset=True)]
    (one,), (other,) = (kept(tmp_path / name, some) for name, some in (("a", specs), ("b", specs[::-1])))
    assert {one, other} == {"run-1", "run-2"}


def test_the_run_that_is_asked_about_stays(tmp_path: Path) -> None:
    assert kept(tmp_path, [small_spec(), small_spec(eval_every=2)], keep="run-2") == ["run-2"]


@pytest.mark.parametrize("other", [{"weight_decay": 3e-4}, {"subset_seed": 1}, {"depth": 3}, {"precision": "bf16"}])
def test_other_experiments_are_no_repetitions(tmp_path: Path, other: dict[str, Any]) -> None:
    assert len(kept(tmp_path, [small_spec(), small_spec(**other)])) == 2


def test_the_longest_is_kept_and_runs_without_a_seed_all_stay(tmp_path: Path) -> None:
    def logged(seed: int | None, epochs: int, source: str) -> ImportedRun:
        config = {"arch": "mlp", "dataset": "digits"} | ({} if seed is None else {"seed": seed})
        rows = tuple(EpochRecord(epoch=epoch, nc1=1.0) for epoch in range(1, epochs + 1))
        return ImportedRun(name=source, config=config, epochs=rows, source=source)

    runs = [logged(0, 3, "short"), logged(0, 5, "long"), logged(None, 4, "a"), logged(None, 5, "b")]
    with open_store(str(tmp_path / "runs.db"), write=True) as store:
        import_runs(store, runs)
        assert set(drop_repeats(runs_frame(store), partial(count_measured, store, "nc1"))["run"]) == {"long", "a", "b"}


def test_runs_that_do_not_tell_how_often_are_counted(tmp_path: Path) -> None:
    """Of logs of one training, that which has the metric most often; one without it is no match however long."""

    def logged(name: str, every: int, epochs: int = 12, column: str = "nc1") -> ImportedRun:
        rows = tuple(EpochRecord(epoch=epoch, **{column: 1.0}) for epoch in range(every, epochs + 1, every))
        return ImportedRun(name=name, config={"arch": "net", "seed": 0}, epochs=rows, source=name)

    runs = [logged("thin", 4), logged("whole", 1), logged("thinner", 6), logged("losses", 1, 50, "train_loss")]
    with open_store(str(tmp_path / "runs.db"), write=True) as store:
        import_runs(store, runs)
        frame, count = runs_frame(store), partial(count_measured, store, "nc1")
        assert count(frame["run_id"].tolist()) == {1: 3, 2: 12, 3: 2}
        everything = Asked(runs=frame, epochs=epochs_frame(store), terms=Terms())
        assert everything.count_evaluations(frame["run_id"].tolist()) == {1: 3, 2: 12, 3: 2}
        for found in (drop_repeats(frame, count), everything.counted.runs):
            assert found["run"].tolist() == ["whole"]


def test_settings_without_a_column_make_another_experiment_and_remarks_do_not(tmp_path: Path) -> None:
    def logged(name: str, **said: str | float) -> ImportedRun:
        rows = (EpochRecord(epoch=1, nc1=1.0),)
        return ImportedRun(name=name, config={"arch": "net", "seed": 0, **said}, epochs=rows, source=name)

    runs = [logged("plain"), logged("smooth", label_smoothing=0.1), logged("again", label_smoothing=0.1, note="x")]
    with open_store(str(tmp_path / "runs.db"), write=True) as store:
        import_runs(store, runs)
        found = set(drop_repeats(runs_frame(store), partial(count_measured, store, "nc1"))["run"])
    assert len(found) == 2
    assert "plain" in found
