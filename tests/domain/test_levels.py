import math

import pytest

from ncdiag.domain.levels import check_level
from ncdiag.errors import SpecError


@pytest.mark.parametrize("level", [0.5, 1.0, 0.0, 95.0, math.nan])
def test_a_level_that_no_interval_has_is_refused(level: float) -> None:
    with pytest.raises(SpecError, match=f"--level is .* not {level}"):
        check_level(level, "--level")


def test_a_level_is_given_back() -> None:
    assert [check_level(level) for level in (0.51, 0.999)] == [0.51, 0.999]
