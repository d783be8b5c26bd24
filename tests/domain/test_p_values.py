import math

import pytest

from ncdiag.domain.p_values import p_is, p_text


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.5791, ".58"), (0.05, ".05"), (0.00123, ".0012"), (1e-4, ".0001"), (9e-5, "< .0001"), (0.0, "< .0001"),
     (0.994, ".99"), (0.996, "1"), (1.0, "1"), (None, "-"), (math.nan, "-")],
)  # fmt: skip
def test_a_p_value_has_two_digits_and_is_never_0(p: float | None, text: str):
    assert p_text(p) == text


def test_in_a_sentence_it_is_equal_to_something_or_below():
    assert (p_is(0.031), p_is(1e-9)) == ("p = .031", "p < .0001")
