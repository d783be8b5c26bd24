import math

import pytest

from ncdiag.cli.sparkline import log_limits, sparkline


def test_a_decade_a_step_is_a_straight_line() -> None:
    """Eight values a factor of ten apart fall into the eight bars, since the scale is logarithmic."""
    values = [10.0**-exponent for exponent in range(8)]
    assert sparkline(values, log_limits(values)) == "█▇▆▅▄▃▂▁"


def test_what_a_logarithm_does_not_have_is_a_gap() -> None:
    assert sparkline([1.0, None, math.nan, 0.0, -1.0, math.inf, 100.0], (1.0, 100.0)) == "▁     █"


def test_curves_on_one_scale_can_be_compared() -> None:
    assert sparkline([100.0, 10.0], (1.0, 100.0)) == "█▅"
    assert sparkline([10.0, 1.0], (1.0, 100.0)) == "▅▁"


@pytest.mark.parametrize("values", [[], [None], [0.0, -3.0], [math.nan, math.inf]])
def test_without_a_value_there_is_no_scale(values: list[float | None]) -> None:
    assert log_limits(values) is None
    assert sparkline(values, None) == " " * len(values)


def test_a_constant_is_a_flat_line() -> None:
    assert sparkline([2.0, 2.0], log_limits([2.0, 2.0])) == "▁▁"
