from typing import Any

import pytest
from small import small_spec

from ncdiag.domain.other_settings import REMARKS, other_settings
from ncdiag.domain.records import IMPORT_FIELDS


def test_what_was_said_besides_is_one_text_by_name() -> None:
    said = {"seed": 3, "label_smoothing": 0.1, "arch": "net", "augment": "flip", "amp": True, "accumulate": 2}
    assert other_settings(said) == "accumulate=2, amp=True, augment=flip, label_smoothing=0.1"


def test_one_number_is_one_setting_however_it_was_written() -> None:
    assert other_settings({"accumulate": 2}) == other_settings({"accumulate": 2.0}) == "accumulate=2"
    assert other_settings({"mixup": 1e-05}) == "mixup=1e-05"


@pytest.mark.parametrize("name", [*IMPORT_FIELDS, *REMARKS, "Note", "phase1_loss", "phase2_epochs"])
def test_fields_and_remarks_are_none(name: str) -> None:
    assert other_settings({name: "x"}) is None


def test_a_setting_called_as_a_field_of_our_own_configurations_is_one_like_any_other() -> None:
    assert other_settings({"network": "resnet18", "label_smoothing": 0.1}) == "label_smoothing=0.1, network=resnet18"


def test_a_run_of_ncdiag_has_its_precision_at_most() -> None:
    config: dict[str, Any] = small_spec(metric_samples=100, eval_every=2).to_dict()
    assert other_settings(config) is None
    assert other_settings(small_spec(precision="bf16").to_dict()) == "precision=bf16"
