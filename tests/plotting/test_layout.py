from itertools import pairwise

import pytest

from ncdiag.plotting.layout import Sheet, balance, mark_handle, panel_grid, squeeze, start_figure, text_inches, wrap
from ncdiag.plotting.style import PAGES, figure_style

LINE = "12 runs: mlp, mnist, depth 5, width 512, relu; onset: nc1 < 0.01 for 3 evaluations"


def test_a_line_is_broken_where_it_must_be_and_loses_nothing():
    lines = wrap(LINE, 8, 2.0)
    assert " ".join(lines) == LINE
    assert all(text_inches(line, 8) <= 2.0 for line in lines)
    full = [f"{line} {following.split()[0]}" for line, following in pairwise(lines)]
    assert all(text_inches(line, 8) > 2.0 for line in full)  # no word of the next line would have fitted


def test_a_word_that_is_too_long_is_broken():
    lines = wrap("x" * 200, 8, 2.0)
    assert "".join(lines) == "x" * 200
    assert all(text_inches(line, 8) <= 2.0 for line in lines)


def test_a_balanced_line_has_as_many_parts_and_no_word_alone():
    text = "aaaa bbbb cccc dddd eeee f"
    inches = text_inches("aaaa bbbb cccc dddd eeee", 8) + 0.01
    assert wrap(text, 8, inches) == ["aaaa bbbb cccc dddd eeee", "f"]
    assert balance(text, 8, inches) == ["aaaa bbbb cccc", "dddd eeee f"]
    assert balance("", 8, 1) == []


def test_a_text_twice_as_large_is_twice_as_wide():
    assert text_inches(LINE, 16) == pytest.approx(2 * text_inches(LINE, 8), rel=0.02)


@pytest.mark.parametrize(
    ("count", "across", "grid"), [(1, 3, (1, 1)), (3, 3, (1, 3)), (4, 3, (2, 2)), (5, 3, (2, 3)), (7, 2, (4, 2))]
)
def test_panels_fill_a_grid(count: int, across: int, grid: tuple[int, int]):
    assert panel_grid(count, across) == grid


def test_the_line_above_and_the_legend_come_on_top_of_the_panels():
    with figure_style(PAGES["column"]):
        bare = start_figure(Sheet(width="column"), 2.0)
        full = start_figure(Sheet(width="column", title=LINE), 2.0, [mark_handle("o", "a run", 7)] * 3)
    assert bare.get_size_inches().tolist() == [3.5, 2.0]
    assert full.get_size_inches()[1] > 2.3


def test_names_that_differ_at_either_end_differ_when_they_are_cut() -> None:
    long = "convnext_xxlarge.clip_laion2b_soup_ft_in1k"
    names = [f"{long} mnist", f"{long} cifar10", f"vit {long} mnist"]
    cut = [squeeze(name, 8, 1.2) for name in names]
    assert len(set(cut)) == 3
    assert all(text_inches(name, 8) <= 1.2 and "…" in name for name in cut)
    assert [name[-5:] for name in cut] == ["mnist", "far10", "mnist"]
    assert squeeze("mlp mnist", 8, 2) == "mlp mnist"
    assert squeeze("mlp mnist", 8, 0.01) == "…"
