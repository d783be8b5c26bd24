import pytest

from ncdiag.cli.norm_words import norm_texts


@pytest.mark.parametrize(
    ("value", "limits", "found"),
    [
        (1.354, (1.2412, 1.4764), ("1.354", ("1.24", "1.48"))),
        (1.16754, (1.16727, 1.16781), ("1.1675", ("1.1673", "1.1678"))),
        (0.5, (0.4996, 0.5004), ("0.5000", ("0.4996", "0.5004"))),
        (2.0, (2.0, 2.0), ("2.000", ("2.00", "2.00"))),
        (5.0, (5.0, 6.0), ("5.000", ("5.00", "6.00"))),  # no digits would
        (1234.0, (1000.0, 15000.0), ("1234", ("1000", "15000"))),
        (1.5, (None, None), ("1.500", ())),
    ],
)
def test_limits_have_as_many_digits_as_show_the_norm_between_them(
    value: float, limits: tuple[float | None, float | None], found: tuple[str, tuple[str, ...]]
) -> None:
    assert norm_texts({"estimate": value, "lo": limits[0], "hi": limits[1]}) == found
