import math

import pytest

from ncdiag.domain.equivalence import equality_level
from ncdiag.domain.levels import alpha_of, check_level
from ncdiag.errors import SpecError


@pytest.mark.parametrize("level", [0.5, 1.0, 0.0, 95.0, math.nan])
def test_a_level_that_no_interval_has_is_refused(level: float) -> None:
    with pytest.raises(SpecError, match=f"--level is .* not {level}"):
        check_level(level, "--level")


def test_a_level_is_given_back() -> None:
    assert [check_level(level) for level in (0.51, 0.999)] == [0.51, 0.999]


@pytest.mark.parametrize(("level", "alpha", "equal"), [(0.95, 0.05, 0.9), (0.9, 0.1, 0.8), (0.99, 0.01, 0.98)])
def test_what_belongs_to_a_level_is_the_decimal_number(level: float, alpha: float, equal: float) -> None:
    """A p of one in ten is shown at 90 % as one in twenty is at 95 %, and the level 0.9 is found by 0.9."""
    assert (alpha_of(level), equality_level(level)) == (alpha, equal)
