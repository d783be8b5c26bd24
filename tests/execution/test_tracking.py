import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import update
from torch import nn
from tracked import ends_by, enter, interrupted, stored

import ncdiag
from ncdiag.domain.records import Run, RunStatus
from ncdiag.errors import SpecError, StoreError
from ncdiag.store import migrate, schema
from ncdiag.store.engine import open_store
from ncdiag.store.handle import make_file, make_store
from ncdiag.store.runs import list_runs


def test_what_is_logged_is_stored_as_the_run_goes(url: str) -> None:
    said = {"arch": "net", "dataset": "flowers", "width": 64, "epochs_planned": 3, "device": "tpu", "cluster": "b7"}
    with ncdiag.track("mine", store=url, **said) as run:
        assert (run.name, run.epoch) == ("mine", 0)
        run.log(nc1=0.5, feature_norm=np.float32(2.5), train_accuracy=torch.tensor(0.75), lr=None)
        during, rows = stored(url, "mine")
        assert during.status is RunStatus.RUNNING
        assert [(r.epoch, r.nc1, r.feature_norm, r.train_accuracy, r.lr) for r in rows] == [(1, 0.5, 2.5, 0.75, None)]
        run.log(3, nc1=math.inf, loss="mse", seconds=1.5, nc3=-1e-16, cdnv=0.0, test_accuracy=1.0)
        assert run.epoch == 3
    after, rows = stored(url, "mine")
    assert (after.status, after.reason, after.origin, after.source) == ("done", None, "imported", "ncdiag.track")
    assert (after.arch, after.dataset, after.width, after.epochs_planned) == ("net", "flowers", 64.0, 3)
    assert (after.device, after.environment["ncdiag"]) == ("tpu", ncdiag.__version__)
    assert after.config == {**said, "width": 64.0}
    assert (after.epochs_done, rows[1].nc1, rows[1].seconds) == (3, math.inf, 1.5)
    assert (rows[1].cdnv, rows[1].test_accuracy) == (0.0, 1.0)
    assert rows[0].seconds is not None
    assert rows[0].seconds >= 0


def test_a_run_without_a_name_is_called_by_its_number(url: str) -> None:
    with ncdiag.track(store=url) as first, ncdiag.track(store=url) as second:
        assert (first.name, second.name) == ("run-1", "run-2")


def test_the_store_is_that_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCDIAG_STORE", str(tmp_path / "elsewhere.db"))
    with ncdiag.track("mine") as run:
        run.log(nc1=1.0)
    assert stored(str(tmp_path / "elsewhere.db"), "mine")[0].epochs_done == 1


def test_a_change_of_the_loss_begins_a_phase(url: str) -> None:
    with ncdiag.track("mine", store=url) as run:
        for loss in ("ce", "ce", "mse", None, "mse", None, "ce"):
            run.log(nc1=1.0, loss=loss)
        run.log(nc1=1.0, loss="ce", phase=7)
    rows = stored(url, "mine")[1]
    assert [(row.phase, row.loss) for row in rows] == [
        *[(1, "ce")] * 2,
        *[(2, "mse"), (2, None)] * 2,
        (3, "ce"),
        (7, "ce"),
    ]


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (RuntimeError("CUDA error"), "failed", "RuntimeError: CUDA error"),
        (KeyboardInterrupt(), "interrupted", "stopped by a signal"),
        (SystemExit(143), "interrupted", "stopped by a signal"),
        (SystemExit(0), "interrupted", "ended by sys.exit before the block had ended"),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (SystemExit("no data"), "failed", "SystemExit: no data"),
        (GeneratorExit(), "interrupted", "stopped by a signal"),
    ],
)
def test_an_exception_ends_the_run_and_goes_on(url: str, error: BaseException, status: str, reason: str) -> None:
    with pytest.raises(type(error)):
        ends_by(error, url)
    run_after, rows = stored(url, "mine")
    assert (run_after.status, run_after.reason, len(rows)) == (status, reason, 1)


@pytest.mark.parametrize("name", ["train_loss", "feature_norm"])
def test_a_run_that_ends_in_nan_has_diverged(url: str, name: str) -> None:
    with ncdiag.track("mine", store=url) as run:
        run.log(nc1=1.0, **{name: math.nan})
    assert stored(url, "mine")[0].status is RunStatus.DIVERGED


def test_settings_are_known_by_what_else_they_are_called(url: str) -> None:
    with ncdiag.track("mine", store=url, wd=1e-4, learning_rate=0.1, bs=32, optim="sgd", batch=7) as run:
        run.log(nc1=0.5)
    config = stored(url, "mine")[0].config
    assert config == {"weight_decay": 1e-4, "lr": 0.1, "batch_size": 32, "optimizer": "sgd", "batch": 7}
    with pytest.raises(SpecError, match="lr is said twice, once as learning_rate"):
        enter("other", store=url, lr=0.1, learning_rate=0.1)
    with pytest.raises(SpecError, match="wd must be a number, not 'small'"):
        enter("other", store=url, wd="small")


def test_a_phase_does_not_fall(url: str) -> None:
    with ncdiag.track("mine", store=url) as run:
        run.log(nc1=1.0, phase=2)
        with pytest.raises(SpecError, match="phase 1 follows phase 2; expected phases not to fall"):
            run.log(nc1=0.7, phase=1)
        run.log(nc1=0.5)
    assert [(row.epoch, row.phase) for row in stored(url, "mine")[1]] == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("epoch", "values", "said"),
    [
        (None, {"nc2": 0.1}, r"nothing is stored under 'nc2' \(did you mean"),
        (None, {"nc1": "small"}, "nc1 must be a number, not 'small'"),
        (None, {"nc1": 10**400}, "nc1 must be a number, not 1000"),
        (None, {"nc1": -0.1}, "nc1 cannot be below 0"),
        (None, {"train_accuracy": 97.0}, "is a share, from 0 to 1; it is 97"),
        (None, {"loss": 0.3}, r"loss is the name of what is minimised, .*, not 0\.3; its value is train_loss"),
        (None, {"loss": "ce, smoothed"}, "without spaces, commas and colons, not 'ce, smoothed'"),
        (None, {"loss": ""}, "not ''"),
        (None, {"phase": 1.5}, "phase must be a whole number from 1"),
        (None, {"phase": 1001}, "phase must be a whole number from 1 to 1000, not 1001"),
        (2**31, {"nc1": 1.0}, "epoch must be a whole number from 1 to 2147483647, not 2147483648"),
        (5, {"nc1": 1.0}, "epoch 5 follows epoch 5; expected epochs to rise"),
        (0, {"nc1": 1.0}, "epoch must be a whole number from 1 to 2147483647, not 0"),
        (True, {"nc1": 1.0}, "epoch must be a whole number from 1 to 2147483647, not True"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_the_run_goes_on(
    url: str, epoch: int | None, values: dict[str, Any], said: str
) -> None:
    with ncdiag.track("mine", store=url) as run:
        run.log(5, nc1=1.0)
        with pytest.raises(SpecError, match=said):
            run.log(epoch, **values)
        run.log(nc1=0.5)
    assert [row.epoch for row in stored(url, "mine")[1]] == [5, 6]


@pytest.mark.parametrize("error", [None, ValueError])
def test_nothing_is_logged_after_the_end(url: str, error: type[Exception] | None) -> None:
    with suppress(ValueError), ncdiag.track("mine", store=url) as run:
        if error:
            raise error
    with pytest.raises(SpecError, match="mine has ended with the `with` block"):
        run.log(nc1=1.0)
    assert stored(url, "mine")[0].epochs_done == 0


def test_a_run_that_was_taken_over_after_its_last_epoch_is_an_error(url: str) -> None:
    with (  # noqa: PT012
        pytest.raises(StoreError, match="no longer trained by this process"),
        ncdiag.track("mine", store=url) as run,
    ):
        run.log(nc1=1.0)
        with open_store(url, write=True) as store, store.write() as connection:
            connection.execute(update(schema.runs).values(owner="somebody else"))
    assert stored(url, "mine")[0].status is RunStatus.LOST


def test_a_store_that_is_brought_up_to_date_says_so(url: str, caplog: pytest.LogCaptureFixture) -> None:
    old = make_store(url, write=True)
    make_file(old)
    migrate.run_migrations(old, "0001")
    enter("mine", store=url)
    (said,) = caplog.messages
    assert f"{url} was upgraded from schema 0001 to {schema.REVISION}; {url}.bak-0001 is a copy" in said


def test_a_run_outside_of_a_with_block_says_where_it_belongs(url: str) -> None:
    run = ncdiag.track("mine", store=url)
    with pytest.raises(SpecError, match=r"gives its run to a with block.*\n.*as run: run\.log"):
        run.log(feature_norm=1.0)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="entered by `with`, and has no 'finish'"):
        run.finish()  # type: ignore[attr-defined]
    assert not Path(url).exists()


def test_numbers_of_numpy_and_torch_describe_a_run_as_others_do(url: str) -> None:
    said = {"seed": np.int64(3), "lr": np.float64(0.1), "width": torch.tensor(64), "warm": np.bool_(True)}
    with ncdiag.track("mine", store=url, **said) as run:
        run.log(nc1=np.float32(0.5))
    found, _ = stored(url, "mine")
    assert (found.seed, found.lr, found.width) == (3, 0.1, 64.0)
    assert found.config == {"seed": 3, "lr": 0.1, "width": 64.0, "warm": True}
    for value in (Path("a"), np.ones(2), [1, 2]):
        with pytest.raises(SpecError, match="where must be a text, a number, True or False, not "):
            enter("other", store=url, where=value)


def test_an_intervention_that_is_no_rescaling_is_refused(url: str) -> None:
    """It would count as rescaled in one question, and not in another: what else was done has another name."""
    with (
        pytest.raises(SpecError, match="an intervention is ALPHA@EPOCH"),
        ncdiag.track("mine", store=url, intervention="3 at 20"),
    ):
        pass


def test_a_value_that_no_field_has_is_refused_before_anything_is_made(url: str) -> None:
    with pytest.raises(SpecError, match="depth must be a whole number, not 'deep'"):
        enter("mine", store=url, depth="deep")
    assert not Path(url).exists()


def test_a_model_is_measured_and_stored(url: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    batches = [(torch.randn(30, 5), torch.arange(30) % 3)]
    with ncdiag.track("mine", store=url, arch="net") as run:
        record = run.measure(model, "2", batches, loss="ce", test=batches, lr=0.1)
    expected = ncdiag.measure(model, "2", batches, loss="ce", test=batches)
    assert {name: value for name, value in asdict(record).items() if name in expected} == expected
    assert (record.epoch, record.phase, record.loss, record.lr) == (1, 1, "ce", 0.1)
    assert stored(url, "mine")[1] == [record]


def test_a_loss_of_another_name_is_stored_and_its_value_is_said(url: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    batches = [(torch.randn(30, 5), torch.arange(30) % 3)]
    with ncdiag.track("mine", store=url) as run:
        for loss, value in (("ce", None), ("focal", 0.25), ("focal", None)):
            run.measure(model, "2", batches, loss=loss, **({} if value is None else {"train_loss": value}))
    rows = stored(url, "mine")[1]
    assert [(row.phase, row.loss, row.train_loss) for row in rows[1:]] == [(2, "focal", 0.25), (2, "focal", None)]
    assert rows[0].train_loss == pytest.approx(nn.functional.cross_entropy(model(batches[0][0]), batches[0][1]).item())


def test_a_kill_leaves_a_lost_run_with_every_epoch_that_was_logged(url: str) -> None:
    script = """
    import os, signal, sys, ncdiag
    with ncdiag.track("mine", store=sys.argv[1], arch="net") as run:
        for epoch in range(1, 6):
            run.log(nc1=1 / epoch)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), url], check=False)
    assert done.returncode == -signal.SIGKILL
    run, rows = stored(url, "mine")
    assert (run.status, [row.epoch for row in rows]) == (RunStatus.LOST, [1, 2, 3, 4, 5])
    with ncdiag.track("mine", store=url, arch="net", resume=True) as resumed:
        assert resumed.log(nc1=0.1).epoch == 6
    assert stored(url, "mine")[0].status is RunStatus.DONE


def test_a_worker_that_outlives_a_killed_process_does_not_keep_its_run(url: str) -> None:
    script = """
    import multiprocessing, os, signal, sys, time, ncdiag
    with ncdiag.track("mine", store=sys.argv[1]) as run:
        run.log(nc1=1.0)
        worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        worker.start()
        print(worker.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), url], stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        worker = int(killed.stdout.readline())
        try:
            assert killed.wait() == -signal.SIGKILL
            os.kill(worker, 0)  # it is there
            assert stored(url, "mine")[0].status is RunStatus.LOST
        finally:
            os.kill(worker, signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:.*fork")  # which Python 3.12 warns of where there are threads
def test_a_worker_leaves_the_run_to_the_process_that_has_it(url: str) -> None:
    with ncdiag.track("mine", store=url) as run:
        worker = multiprocessing.get_context("fork").Process(target=str)
        worker.start()
        worker.join()
        assert stored(url, "mine")[0].status is RunStatus.RUNNING
        run.log(nc1=1.0)
    assert stored(url, "mine")[0].status is RunStatus.DONE


def ncdiag_command(url: str, *words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "ncdiag", *words, "--store", url], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def falling(onset: float, epochs: Sequence[int], seed: int) -> list[dict[str, float]]:
    """Give noisy curves on which NC1 falls below 0.01 at an epoch, and the feature norm to 1.8 in the same time."""
    noise = np.random.default_rng(seed)
    return [
        {
            "nc1": 0.01 ** (epoch / onset) * float(np.exp(noise.normal(0, 0.03))),
            "feature_norm": 1.5 + 3 * 0.1 ** (epoch / onset),
            "train_accuracy": 1.0,
        }
        for epoch in epochs
    ]


def test_a_run_is_forecast_while_it_is_tracked(url: str) -> None:
    for seed, onset in enumerate((55, 60, 62, 66, 71, 75)):
        with ncdiag.track(store=url, arch="net", dataset="flowers", seed=seed) as run:
            for values in falling(onset, range(1, 101), seed):
                run.log(**values)
    with ncdiag.track("live", store=url, arch="net", dataset="flowers", seed=9) as run:
        for values in falling(64, range(1, 31), 9):
            run.log(**values)
        found = ncdiag_command(url, "predict", "live", "--level", "0.8", "--format", "json")
        assert (found["status"], found["epoch_now"], found["n_calibration"]) == ("forecast", 30, 6)
        assert found["onset"] == pytest.approx(64, abs=6)
        assert 50 < found["lo"] < found["onset"] < found["hi"] < 80
    results = ncdiag_command(url, "analyze", "threshold", "--format", "json")["results"]
    (pair,) = [result for result in results if result["quantity"] == "fn_star"]
    assert (pair["n_runs"], pair["n_censored"]) == (7, 1)
    # NC1 = .01 at the onset, where the norm is 1.5 + .3
    assert pair["estimate"] == pytest.approx(1.8, rel=0.02)


def test_training_another_run_of_that_name_is_refused(url: str) -> None:
    interrupted(url)
    done = subprocess.run(
        [sys.executable, "-m", "ncdiag", "train", "--resume", "mine", "--store", url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "mine" in done.stderr) == (2, True)
    assert len(list_all(url)) == 1


def list_all(url: str) -> list[Run]:
    with open_store(url) as store:
        return list_runs(store)


def test_the_package_itself_loads_nothing_heavy() -> None:
    script = "import sys, ncdiag; print([name for name in ('torch', 'numpy', 'sqlalchemy') if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'trace'"):
        _ = ncdiag.trace  # type: ignore[attr-defined]
    assert set(ncdiag.__all__) == set(ncdiag._PUBLIC) <= set(dir(ncdiag))  # type: ignore[attr-defined]
