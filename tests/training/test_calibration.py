import pytest
import torch
from small import small_spec

from ncdiag.training.calibration import speedup


def test_what_cannot_gain_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def tried(*args: object, **options: object) -> None:
        raise AssertionError("tried")

    monkeypatch.setattr("ncdiag.training.calibration.Steps", tried)
    assert speedup(small_spec(arch="cnn"), (1, 8, 8), 10) == 1
    assert speedup(small_spec(width=512, batch_size=256), (1, 28, 28), 10) == 1
    with pytest.raises(AssertionError, match="tried"):
        speedup(small_spec(width=64), (1, 28, 28), 10)


def test_trying_gives_a_ratio_and_leaves_nothing_behind() -> None:
    before = torch.get_rng_state(), torch.get_num_threads()
    assert speedup(small_spec(batch_size=32, metric_samples=2000), (1, 8, 8), 10, members=3) > 0
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]
