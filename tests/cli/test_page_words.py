import pytest

from ncdiag.cli.page_words import is_shown


@pytest.mark.parametrize(("p", "level", "shown"), [(1 / 20, 0.95, True), (1 / 10, 0.9, True), (1 / 10, 0.95, False)])
def test_a_p_of_one_less_the_level_is_shown_at_every_level(p: float, level: float, shown: bool) -> None:
    assert is_shown({"p": p, "level": level}) == shown
