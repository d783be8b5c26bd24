import math

import pytest

from ncdiag.domain.importing.phases import PhasePlan
from ncdiag.domain.importing.records import look_alike, match_columns, read_records, with_phases
from ncdiag.domain.importing.rows import read_csv
from ncdiag.domain.records import EpochRecord

NO_PLAN = PhasePlan(phases=(), sure=False)


def read(text: str, **mapped: str) -> tuple[dict[str | None, list[EpochRecord]], list[tuple[int, str]]]:
    table = read_csv(text)
    runs, problems = read_records(table, match_columns(table.columns, mapped))
    return runs, [(problem.line, problem.what) for problem in problems]


def test_a_file_of_one_run_gives_records_with_what_is_missing_left_out():
    runs, problems = read("epoch,phase,loss,nc1,feature_norm\n10,1,ce,,2.5\n20,2,mse,nan,inf\n")
    assert problems == []
    assert runs[None][0] == EpochRecord(epoch=10, phase=1, loss="ce", feature_norm=2.5)
    assert math.isnan(runs[None][1].nc1 or 0)
    assert runs[None][1].feature_norm == math.inf


def test_the_rows_of_several_runs_may_be_mixed():
    runs, problems = read("run,epoch,nc1\na,1,0.5\nb,1,0.6\na,2,0.4\n")
    assert problems == []
    assert {name: [record.nc1 for record in records] for name, records in runs.items()} == {"a": [0.5, 0.4], "b": [0.6]}


def test_a_map_names_the_column_of_a_field_and_may_exchange_two():
    runs, _ = read("epoch,a,nc1,nc3\n1,9,0.1,0.3\n", feature_norm="a", nc1="nc3", nc3="nc1")
    assert runs[None] == [EpochRecord(epoch=1, feature_norm=9.0, nc1=0.3, nc3=0.1)]


def test_a_field_can_be_left_out():
    runs, _ = read("epoch,nc1,nc3\n1,0.1,0.3\n", nc3="")
    assert runs[None] == [EpochRecord(epoch=1, nc1=0.1)]


def test_columns_that_nothing_reads_and_that_are_not_there_are_named():
    mapped = {"test_accuracy": "test", "nc1": "NC1", "lr": ""}
    columns = match_columns(("epoch", "NC1", "note", "feat_norm", "lr_", "nc1_"), mapped)
    assert columns.sources == {"epoch": "epoch", "nc1": "NC1"}
    assert columns.extra == ("note", "feat_norm", "lr_", "nc1_")
    assert columns.absent == ("test",)
    assert columns.misspelt == {"feat_norm": "feature_norm"}


def test_a_mapped_column_that_is_not_there_leaves_the_fields_own_name():
    columns = match_columns(("epoch", "train_accuracy"), {"train_accuracy": "train"})
    assert columns.sources == {"epoch": "epoch", "train_accuracy": "train_accuracy"}


@pytest.mark.parametrize(
    ("name", "field"), [("feat_norm", "feature_norm"), ("Epoch", "epoch"), ("train_acc", "train_accuracy")]
)
def test_a_misspelt_field_is_recognised(name: str, field: str):
    assert look_alike(name, ("epoch", "feature_norm", "train_accuracy")) == field


@pytest.mark.parametrize("name", ["train", "test", "nc2", "note", "val_loss", "test_loss", "log_every"])
def test_a_column_of_its_own_meaning_is_not_taken_for_a_misspelt_field(name: str):
    known = ("epoch", "train_loss", "train_accuracy", "test_accuracy", "feature_norm", "nc1", "nc2_equiangular", "nc3")
    assert look_alike(name, known) is None


def test_rows_that_say_nothing_of_an_epoch_are_passed_over():
    runs, problems = read("run,epoch,nc1,gpu\na,1,0.5,\na,,,0.9\nb,,,0.8\na,2,0.4,\n")
    assert problems == []
    assert {name: [record.epoch for record in records] for name, records in runs.items()} == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("epoch,nc1\n", (1, "a header and no rows")),
        ("epoch,nc1,gpu\n,,0.9\n", (1, "no row fills a column that is read")),
        ("nc1\n1\n", (1, "no column epoch among nc1; name it with --map epoch=COLUMN")),
        (
            "epoch,loss,nc1\n1,,0.6\n2,0.35,0.5\n",
            (1, "column 'loss' holds numbers, and loss is a name, ce or mse; read them with --map train_loss=loss"),
        ),
        ("epoch,loss\n1,ce\n", (1, "no measured column among epoch, loss; see --map")),
        ("epoch,nc1\n,0.5\n", (2, "epoch: the cell is empty")),
        ("epoch,nc1\n-1,0.5\n", (2, "epoch: '-1' is not a whole number from 0 to 2147483647")),
        ("epoch,nc1\n1.5,0.5\n", (2, "epoch: '1.5' is not a whole number from 0 to 2147483647")),
        ("epoch,nc1\n1,0.5x\n", (2, "nc1: '0.5x' is not a number")),
        ("epoch,phase,nc1\n1,0,0.5\n", (2, "phase: '0' is not a whole number from 1 to 1000")),
        ("epoch,loss,nc1\n1,ce mse,0.5\n", (2, "loss: 'ce mse' is not the name of a loss, such as ce or mse")),
        (
            "epoch,train_accuracy\n1,99.5\n",
            (2, "train_accuracy: '99.5' is not in [0, 1]; divide a percentage by 100"),
        ),
        ("epoch,nc4\n1,1.5\n", (2, "nc4: '1.5' is not in [0, 1]; divide a percentage by 100")),
        (
            "epoch,nc1\n1,0.5\n2,-2.3\n",
            (3, "nc1: '-2.3' is below 0, which nc1 never is; --map nc1= leaves the column out"),
        ),
        (
            "epoch,weight_norm\n1,-inf\n",
            (2, "weight_norm: '-inf' is below 0, which weight_norm never is; --map weight_norm= leaves the column out"),
        ),
        (
            "epoch,seconds,nc1\n1,-1,0.5\n",
            (2, "seconds: '-1' is below 0, which seconds never is; --map seconds= leaves the column out"),
        ),
        ("epoch,nc1\n1,0.5\n1,0.4\n", (3, "epoch 1 twice, with nc1 in both rows")),
        ("epoch,nc1\n1,0.5\n1,0.5\n", (3, "epoch 1 twice, with nc1 in both rows")),
        ("epoch,nc1,phase\n1,0.5,1\n1,,2\n", (3, "epoch 1 twice, with phase in both rows")),
        ("epoch,nc1\n1,0.5\n2,0.4\n1,\n", (4, "epoch 1 twice")),
        ("epoch,nc1\n5,0.5\n4,0.4\n", (3, "epoch 4 after epoch 5; epochs must rise")),
        (
            "epoch,phase,nc1\n5,2,0.5\n6,1,0.4\n",
            (3, "epoch 6 is of phase 1, after one of phase 2; phases must not fall"),
        ),
        (
            "epoch,phase,nc1\n5,2,0.5\n6,,0.4\n7,1,0.3\n",
            (4, "epoch 7 is of phase 1, after one of phase 2; phases must not fall"),
        ),
        (
            "epoch,phase,nc1,nc3\n5,2,0.5,\n6,,0.4,\n6,1,,0.3\n",
            (4, "epoch 6 is of phase 1, after one of phase 2; phases must not fall"),
        ),
        ("run,epoch,nc1\na,1,0.5\na,1,0.4\n", (3, "epoch 1 of run 'a' twice, with nc1 in both rows")),
        (
            "run,epoch,nc1\n../x,1,0.5\n",
            (
                2,
                "run: '../x' is no name for a run; expected letters, digits, . _ and -, at most 128, "
                "a letter or digit first",
            ),
        ),
    ],
)
def test_what_is_wrong_with_a_row_is_named_with_its_line(text: str, problem: tuple[int, str]):
    assert read(text)[1] == [problem]


def test_a_row_without_a_phase_is_of_no_earlier_one():
    runs, problems = read("epoch,phase,nc1\n1,1,0.5\n2,,0.4\n3,2,0.3\n")
    assert (phases_and_losses(runs[None]), problems) == ([(1, None), (None, None), (2, None)], [])


def test_rows_of_one_epoch_that_say_different_things_of_it_are_one():
    """As Lightning's CSVLogger writes them, which logs some columns at steps and others at the end of an epoch."""
    rows = ["epoch,step,step_loss,test_accuracy,train_loss,loss", "0,4,2.2,,,", "0,9,1.9,,,", "0,9,,0.5,,ce"]
    rows += ["0,9,,,2.1,ce", "1,14,1.6,,,", "1,19,,0.75,,", "1,19,,,1.5,mse"]
    runs, problems = read("\n".join(rows) + "\n")
    assert not problems
    assert runs == {
        None: [
            EpochRecord(epoch=0, test_accuracy=0.5, train_loss=2.1, loss="ce"),
            EpochRecord(epoch=1, test_accuracy=0.75, train_loss=1.5, loss="mse"),
        ]
    }


def test_rows_of_one_epoch_may_stand_between_those_of_other_runs():
    runs, problems = read("run,epoch,nc1,nc3\na,1,0.5,\nb,1,0.6,\na,1,,0.3\nb,1,0.7,\n")
    assert runs["a"] == [EpochRecord(epoch=1, nc1=0.5, nc3=0.3)]
    assert problems == [(5, "epoch 1 of run 'b' twice, with nc1 in both rows")]


def test_problems_come_in_the_order_of_the_lines():
    assert [line for line, _ in read("epoch,nc1\nx,1\n1\n2,y\n")[1]] == [2, 3, 4]


def test_a_measured_nan_is_an_accuracy_too():
    runs, problems = read("epoch,train_accuracy\n1,nan\n")
    assert problems == []
    assert math.isnan(runs[None][0].train_accuracy or 0)


def test_what_may_be_negative_and_what_is_zero_is_read():
    runs, problems = read("epoch,train_loss,nc1,nc3\n1,-0.5,-0.0,-1e-16\n")
    assert problems == []
    assert (runs[None][0].train_loss, runs[None][0].nc1, runs[None][0].nc3) == (-0.5, 0.0, -1e-16)
    assert math.copysign(1, runs[None][0].nc1 or 0.0) == 1  # one number, hence one key


def records(*phases: int | None) -> list[EpochRecord]:
    return [EpochRecord(epoch=place * 100, phase=phase) for place, phase in enumerate(phases, start=1)]


def phases_and_losses(found: list[EpochRecord]) -> list[tuple[int | None, str | None]]:
    return [(record.phase, record.loss) for record in found]


def test_a_plan_that_is_sure_gives_every_row_its_phase():
    plan = PhasePlan(phases=(("ce", 200), ("mse", None)), sure=True)
    assert phases_and_losses(with_phases(records(None, None, None), plan)) == [(1, "ce"), (1, "ce"), (2, "mse")]


def test_a_plan_that_is_not_sure_is_believed_up_to_the_end_of_the_first_phase():
    """The log of a run that never switched looks the same, and came with the same plan."""
    for epochs in (None, 400):
        plan = PhasePlan(phases=(("ce", 200), ("mse", epochs)), sure=False)
        assert phases_and_losses(with_phases(records(None, None, None), plan)) == [(1, "ce"), (1, "ce"), (None, None)]


def test_what_the_file_says_comes_before_the_plan():
    plan = PhasePlan(phases=(("ce", 200), ("mse", None)), sure=True)
    assert phases_and_losses(with_phases(records(1, 2, None), plan)) == [(1, "ce"), (2, "mse"), (2, "mse")]
    assert phases_and_losses(with_phases([EpochRecord(epoch=300, loss="ce")], plan)) == [(2, "ce")]


def test_a_plan_that_is_not_sure_names_losses_but_fills_no_gap_in_a_phase_column():
    plan = PhasePlan(phases=(("ce", 200), ("mse", None)), sure=False)
    assert phases_and_losses(with_phases(records(1, None, 2), plan)) == [(1, "ce"), (None, None), (2, "mse")]


def test_without_a_plan_nothing_is_made_up():
    assert with_phases(records(None, 1), NO_PLAN) == records(None, 1)
