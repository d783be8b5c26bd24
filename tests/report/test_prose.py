import pytest

from ncdiag.cli.output import layout, paragraph, unwrapped
from ncdiag.report.prose import Block, Caution, read_page

TABLE = [
    ["", "claim", "here", "verdict"],
    ["1", "one norm", "CV 7.45% to 17.5%", "inconclusive"],
    ["", "  mlp digits", "", "refuted"],
    ["6a", "depth turns", "-", "not testable"],
]


def kinds(page: str) -> list[str]:
    return [block.kind for block in read_page(page).blocks]


def test_a_page_as_the_questions_print_it() -> None:
    page = """\
What is fn*? (nc1 < 0.01)

pair        runs    fn*
mlp digits   9/9  1.385
mlp mnist    0/3      -

runs: collapsed of evaluated. fn*: geometric mean.

mlp digits
  In short: at onset it is 1.385 (1.17 to 1.63); it varies.
  Runs: 9 of 9 collapsed.
    below eps  runs
    0.01          9
    0.02          9
  Keep in mind:
    - 3 conditions only.
    - no run has more.

mlp mnist
  In short: fn* is unknown.
"""
    read = read_page(page)
    assert read.title == "What is fn*? (nc1 < 0.01)"
    assert read.readings == [
        ("mlp digits", "At onset it is 1.385 (1.17 to 1.63); it varies."),
        ("mlp mnist", "fn* is unknown."),  # a name keeps its small letter
    ]
    assert read.cautions == [Caution(about="mlp digits", texts=["3 conditions only.", "no run has more."])]
    assert [(block.kind, block.text) for block in read.blocks if block.kind != "table"] == [
        ("legend", "runs: collapsed of evaluated. fn*: geometric mean."),
        ("heading", "mlp digits"),
        ("paragraph", "Runs: 9 of 9 collapsed."),
    ]
    first, second = [block for block in read.blocks if block.kind == "table"]
    assert first.rows == [["pair", "runs", "fn*"], ["mlp digits", "9/9", "1.385"], ["mlp mnist", "0/3", "-"]]
    assert first.numeric == [False, True, True]
    assert second.rows == [["below eps", "runs"], ["0.01", "9"], ["0.02", "9"]]


@pytest.mark.parametrize("right", [[False] * 4, [False, False, True, True]])
def test_a_table_keeps_its_empty_cells_however_it_is_aligned(right: list[bool]) -> None:
    (block,) = read_page("\n\n".join(["Title", "\n".join(layout(TABLE, right=right))])).blocks
    assert block.kind == "table"
    assert [[cell.strip("\u2003") for cell in row] for row in block.rows] == [
        [cell.strip() for cell in row] for row in TABLE
    ]
    assert block.rows[2][1] == "\u2003mlp digits"  # indented, as it was


def test_a_line_of_one_cell_among_others_belongs_to_the_table() -> None:
    rows = [["", "claim", "here"], ["1", "one norm", "yes"], ["", "  and 3 more", ""]]
    (block,) = read_page("\n\n".join(["Title", "\n".join(layout(rows, right=[False] * 3))])).blocks
    assert block.rows[2] == ["", "\u2003and 3 more", ""]


def test_numbered_reasons_are_items_and_what_is_indented_with_them_too() -> None:
    page = """\
Title

Why
  1   inconclusive: the CV may be as large as 17.5%.
  4   mlp digits: refuted: the features stay apart.
      mlp mnist: refuted: the features stay apart.
"""
    assert read_page(page).blocks == [
        Block(kind="heading", text="Why"),
        Block(kind="item", label="1", text="inconclusive: the CV may be as large as 17.5%."),
        Block(kind="item", label="4", text="mlp digits: refuted: the features stay apart."),
        Block(kind="item", label="", text="mlp mnist: refuted: the features stay apart."),
    ]


def test_a_table_below_a_colon_explains_terms() -> None:
    page = "Title\n\nColumns:\n  margin  alarm at or below fn*\n  known   the same once confirmed\nOne is picked.\n"
    assert read_page(page).blocks == [
        Block(kind="heading", text="Columns"),
        Block(
            kind="terms",
            rows=[["margin", "alarm at or below fn*"], ["known", "the same once confirmed"]],
            numeric=[False, False],
        ),
        Block(kind="paragraph", text="One is picked."),
    ]


def test_a_command_over_several_lines_is_one_to_paste() -> None:
    page = "Title\n\nWhat to train\n  for 1, 2:\n    ncdiag sweep --arch mlp \\\n      --seed 0:10 --store a.db\n"
    read = read_page(page)
    assert read.blocks[-1] == Block(kind="command", text="ncdiag sweep --arch mlp --seed 0:10 --store a.db")
    assert read.commands == []


def test_a_command_inside_a_sentence_can_be_pasted_as_well() -> None:
    page = "Attractor\n\nNo run was rescaled. This trains them: ncdiag sweep --preset intervention --lr 0.01\n"
    assert read_page(page).commands == ["ncdiag sweep --preset intervention --lr 0.01"]


def test_no_word_of_a_page_gets_lost() -> None:
    page = "Title\n\n  a  b\n\n-  x\n\nKeep in mind\n\n  - one\n  two  three  four\n  Keep in mind:\n    five\n\nsix"
    read = read_page(page)
    words = " ".join(
        [
            read.title,
            *(text for pair in read.readings for text in pair),
            *(cell for block in read.blocks for row in block.rows for cell in row),
            *(f"{block.label} {block.text}" for block in read.blocks),
            *(text for caution in read.cautions for text in (caution.about, *caution.texts)),
        ]
    )
    assert sorted(set(words.split())) == sorted(set(page.replace("Keep in mind:", "").replace("- ", "").split()))


def test_an_empty_page_is_empty() -> None:
    read = read_page("")
    assert (read.title, read.blocks, read.readings) == ("", [], [])


def test_paragraphs_are_a_line_each_while_unwrapped() -> None:
    text = "word " * 100
    assert "\n" in paragraph(text)
    with unwrapped():
        assert paragraph(text, indent="  ") == f"  {text.strip()}"
        with pytest.raises(ValueError, match="stop"), unwrapped():
            raise ValueError("stop")
        assert "\n" not in paragraph(text)
    assert "\n" in paragraph(text)
    assert kinds(f"Title\n\n{text}") == ["legend"]
