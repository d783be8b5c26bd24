import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clihelp import Cli
from small import SMALL_OPTIONS, small_spec
from tracked import ends_by

from ncdiag.domain.spec import PhaseSpec, RunSpec
from ncdiag.execution.planning import make_plan
from ncdiag.store.engine import open_store
from ncdiag.store.runs import add_run, get_run

pytestmark = pytest.mark.usefixtures("here")


def stored_spec(name: str = "run-1") -> RunSpec:
    with open_store("ncdiag.db") as store:
        return RunSpec.from_dict(get_run(store, name).config)


def test_stdout_is_the_name_and_nothing_else(cli: Cli) -> None:
    answer = cli("train", *SMALL_OPTIONS)
    assert (answer.code, answer.out) == (0, "run-1\n")
    assert "epoch 1/6" in answer.err
    assert "fn" in answer.err
    assert "NC1" in answer.err
    assert "\x1b" not in answer.err
    assert stored_spec() == small_spec()


def test_the_same_command_again_trains_nothing(cli: Cli) -> None:
    cli("train", *SMALL_OPTIONS)
    answer = cli("train", *SMALL_OPTIONS)
    assert (answer.code, answer.out) == (0, "run-1\n")
    assert "already holds" in answer.err
    assert "epoch" not in answer.err.replace("6 epochs", "")


def test_commands_that_are_suggested_are_about_the_same_store(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = ("--store", tmp_path / "my runs.db")
    named = f"--store '{tmp_path / 'my runs.db'}'`"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ncdiag.execution.worker.train_run", stop)
        answer = cli("train", *SMALL_OPTIONS, *elsewhere)
    assert answer.code == 130
    assert f"`ncdiag train --resume run-1 {named}" in answer.err
    assert f"`ncdiag analyze threshold {named}" in cli("sweep", *SMALL_OPTIONS, "--seed", "7,8", *elsewhere).err
    assert cli("train", *SMALL_OPTIONS, *elsewhere).code == 0  # which trains it to its end
    assert f"`ncdiag runs rm run-1 {named}" in cli("train", *SMALL_OPTIONS, *elsewhere).err


def test_name_is_used(cli: Cli) -> None:
    assert cli("train", *SMALL_OPTIONS, "--name", "first").out == "first\n"
    answer = cli("train", *SMALL_OPTIONS, "--name", "second")
    assert answer.out == "first\n"
    assert "--name second was not used" in answer.err


def test_configuration_file_gives_way_to_the_line(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(
        'depth = 2\nwidth = 16\ntrain-size = 200\nphase = ["ce:3", "mse:3"]\nweight_decay = 5e-4\nseed = 7\n'
    )
    assert cli("train", "--config", file, "--seed", "3").code == 0
    assert stored_spec() == small_spec(weight_decay=5e-4, seed=3)


@pytest.mark.parametrize(
    ("content", "flag"),
    [
        ("weight-decay = [1e-4, 2e-4]", "--weight-decay"),
        ('seed = "0:3"', "--seed"),
        ('phase = ["ce:2,ce:3", "mse:1"]', "--phase"),
    ],
)
@pytest.mark.parametrize("preset", [(), ("--preset", "quickstart")])
def test_a_list_in_a_configuration_file_is_for_sweep(
    cli: Cli, tmp_path: Path, content: str, flag: str, preset: tuple[str, ...]
) -> None:
    file = tmp_path / "grid.toml"
    file.write_text(content)
    answer = cli("train", *preset, "--config", file)
    assert answer.code == 2
    assert f"{flag} takes one value" in answer.err
    assert "grid.toml" in answer.err
    assert "ncdiag sweep" in answer.err
    assert not Path("ncdiag.db").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("stop-at-onset = 1", "expected true or false for 'stop-at-onset', not 1"),
        ("depth = true", "expected a value or a list of values for 'depth', not True"),
    ],
)
def test_what_a_configuration_file_may_hold_is_said(cli: Cli, tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(content)
    answer = cli("train", "--config", file)
    assert (answer.code, answer.err) == (2, f"ncdiag: error: {file}: {said}\n")


def test_a_list_on_the_line_is_for_sweep(cli: Cli) -> None:
    answer = cli("train", *SMALL_OPTIONS, "--seed", "0,1")
    assert answer.code == 2
    assert "--seed takes one value in `ncdiag train`, and got 2." in answer.err
    assert cli("train", *SMALL_OPTIONS, "--seed", "0", "--seed", "1").err == answer.err


def test_of_a_preset_that_is_a_grid_its_first_point_is_trained_and_said_to_be(cli: Cli) -> None:
    small = ("--depth", "1", "--width", "4", "--train-size", "100", "--phase", "ce:1")
    answer = cli("train", "--preset", "quickstart", *small)
    assert answer.code == 0
    assert "--preset quickstart is a grid of 9 points" in answer.err
    assert stored_spec().optimizer.weight_decay == 1e-4
    answer = cli("train", "--preset", "quickstart", *small, "--weight-decay", "2e-4", "--seed", "2")
    assert "grid" not in answer.err
    assert (stored_spec("run-2").optimizer.weight_decay, stored_spec("run-2").seed) == (2e-4, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("wieght_decay = 1", "did you mean weight-decay"),
        ("depth = [", "not readable TOML"),
        ("depth = " + "[" * 5000 + "]" * 5000, "not readable TOML"),
        ("seed = " + "9" * 5000, "not readable TOML"),
        ('dataset = "a\\u0000b"', "holds a NUL"),
        ("[optimizer]\nname = 'sgd'", "is a table"),
        ("train-size = 50\ntrain_size = 60", "'train_size' is there twice"),
    ],
)
def test_configuration_file_with_a_mistake_is_refused(cli: Cli, tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(content)
    answer = cli("train", "--config", file)
    assert answer.code == 2
    assert message in answer.err
    assert not Path("ncdiag.db").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--depth", "0"], "depth"),
        (["--width", "1e9"], "width"),
        (["--phase", "ce:-1"], "epochs"),
        (["--phase", "cx:5"], "expected one of ce, mse"),
        (["--eps", "nan", "--stop-at-onset"], "eps"),
        (["--lr", "fast"], "--lr: expected a number"),
        (["--arch", "resnet"], "did you mean resnet20"),
        (["--dataset", "minst"], "did you mean mnist"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--preset", "quikstart"], "did you mean quickstart"),
        (["--resume", "run-1", "--depth", "3"], "leave the options"),
        (["--depht", "3"], "--depth"),
    ],
)
def test_mistake_is_named_and_nothing_is_trained(cli: Cli, options: list[str], message: str) -> None:
    answer = cli("train", *options)
    assert answer.code == 2, answer.err
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_divergence_has_its_own_exit_code(cli: Cli) -> None:
    answer = cli("train", *SMALL_OPTIONS, "--optimizer", "sgd", "--lr", "1e20")
    assert (answer.code, answer.out) == (8, "run-1\n")
    assert "smaller --lr" in answer.err


def test_unknown_run_cannot_be_resumed(cli: Cli) -> None:
    cli("train", *SMALL_OPTIONS, "--name", "mine")
    answer = cli("train", "--resume", "mime")
    assert answer.code == 4
    assert "did you mean mine" in answer.err


def own_data() -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {
        "x_train": random.integers(0, 255, (60, 8, 8), dtype=np.uint8),
        "y_train": np.arange(60) % 3,
        "x_test": random.integers(0, 255, (12, 8, 8), dtype=np.uint8),
        "y_test": np.arange(12) % 3,
    }


def test_a_run_whose_data_has_moved_is_resumed_where_it_lies_now(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    np.savez("mine.npz", **own_data())
    with open_store("ncdiag.db", write=True) as store:
        plan = make_plan({"dataset": ["mine.npz"], "depth": [1], "width": [4], "phases": [(PhaseSpec.parse("ce:1"),)]})
        add_run(store, plan.specs[0], data=plan.data[0])
    Path("mine.npz").rename("new/other.npz")
    answer = cli("train", "--resume", "run-1")
    assert (answer.code, "Say where it lies: --dataset DIR or --dataset FILE.npz" in answer.err) == (7, True)
    np.savez("wrong.npz", **own_data() | {"y_test": np.arange(12) % 2})
    answer = cli("train", "--resume", "run-1", "--dataset", "wrong.npz")
    assert (answer.code, "wrong.npz is not what run-1 is trained on" in answer.err) == (6, True)
    answer = cli("train", "--resume", "run-1", "--dataset", "digits")
    assert (answer.code, "run-1 is trained on mine, not on digits" in answer.err) == (2, True)
    assert cli("train", "--resume", "run-1", "--dataset", "new/other.npz").out == "run-1\n"
    with open_store("ncdiag.db") as store:
        run = get_run(store, "run-1")
    assert (run.status, run.data["path"]) == ("done", str(tmp_path / "new/other.npz"))


def test_a_run_that_a_script_trains_is_gone_on_with_there(cli: Cli) -> None:
    with pytest.raises(KeyboardInterrupt):
        ends_by(KeyboardInterrupt(), "ncdiag.db")
    answer = cli("train", "--resume", "mine")
    assert (answer.code, "ncdiag.track('mine', resume=True, ...)" in answer.err) == (2, True)
    assert "tracked by  ncdiag.track" in cli("runs", "show", "mine").out


def test_user_data_is_known_by_its_content(cli: Cli, tmp_path: Path) -> None:
    arrays, options = own_data(), ["--depth", "1", "--width", "4", "--phase", "ce:1"]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "mine.npz", **arrays)
    assert cli("train", *options, "--dataset", "a/mine.npz").out == "run-1\n"
    assert cli("train", *options, "--dataset", "b/mine.npz").out == "run-1\n"  # the same content elsewhere
    arrays["x_train"][0, 0, 0] ^= 1
    np.savez(tmp_path / "b" / "mine.npz", **arrays)
    assert cli("train", *options, "--dataset", "b/mine.npz").out == "run-2\n"
    shown = json.loads(cli("runs", "show", "run-2", "--format", "json").out)
    assert "mine" in json.dumps(shown)
