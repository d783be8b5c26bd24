import pytest

from ncdiag.domain.importing.phases import PhasePlan, parse_phases, phase_plan
from ncdiag.domain.spec import PhaseSpec


@pytest.mark.parametrize(
    ("text", "phases"),
    [
        ("ce:200,mse:400", (("ce", 200), ("mse", 400))),
        ("ce:200, mse", (("ce", 200), ("mse", None))),
        ("ce", (("ce", None),)),
        (str(PhaseSpec(loss="ce", epochs=200, milestones=(100, 150))), (("ce", 200),)),
    ],
)
def test_phases_are_read_as_the_command_line_writes_them(text: str, phases: object):
    assert parse_phases(text) == phases


@pytest.mark.parametrize(
    "text",
    ["ce:5@abc,mse:35", "ce:5@,mse", "", "ce,mse:400", "ce:,mse", "ce:0", "ce:x", ":200", "ce:200,,mse", "c e:200"],
)
def test_what_is_no_list_of_phases_is_refused(text: str):
    with pytest.raises(ValueError, match="is not"):
        parse_phases(text)


def test_the_numbered_columns_of_a_manifest_are_a_plan_that_is_not_sure():
    plan = phase_plan({"phase1_loss": "ce", "phase1_epochs": 200, "phase2_loss": "mse", "depth": 5})
    assert plan == PhasePlan(phases=(("ce", 200), ("mse", None)), sure=False)
    assert plan.text() == "ce:200,mse"


def test_phases_come_before_the_numbered_columns():
    plan = phase_plan({"phases": "ce:600", "phase1_loss": "ce", "phase1_epochs": 200, "phase2_loss": "mse"})
    assert plan == PhasePlan(phases=(("ce", 600),), sure=True)


def test_a_plan_without_all_losses_has_no_text():
    assert phase_plan({"phase1_epochs": 200, "phase2_loss": "mse"}).text() is None
    assert phase_plan({}).text() is None


@pytest.mark.parametrize(("epoch", "phase"), [(0, 1), (1, 1), (200, 1), (201, 2), (600, 2), (601, None)])
def test_epochs_count_over_all_phases(epoch: int, phase: int | None):
    assert PhasePlan(phases=(("ce", 200), ("mse", 400)), sure=True).phase_of(epoch) == phase
