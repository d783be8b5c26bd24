"""A page as text: every word of it, where it belongs, in 80 columns."""

import shlex

import pytest

from ncdiag.cli.page_text import text_of
from ncdiag.domain.page import (
    Block,
    Cautions,
    Command,
    Glossary,
    Item,
    Legend,
    Page,
    Paragraph,
    Part,
    Reading,
    Table,
)

TABLE = Table([["pair", "runs"], ["mlp digits", "9/9"], ["  deep", "3/3"]], right=[False, True])


def lines_of(*blocks: Block, heading: str = "") -> list[str]:
    _, part = text_of(Page("What?", [Part(blocks, heading=heading)])).split("\n\n")
    return part.splitlines()


def test_a_page_with_one_block_of_every_kind() -> None:
    part = Part(
        [
            Reading("it varies."),
            Paragraph("Runs: 9 of 9 collapsed."),
            TABLE,
            Legend("runs: collapsed of evaluated."),
            Item("1", "refuted: too far."),
            Item("", "So is this."),
            Item("for 1, 2:"),
            Command("ncdiag sweep --seed 0:3"),
            Glossary([("lead", "epochs"), ("fn", "a norm")]),
            Cautions(["few runs.", "one condition."]),
        ],
        heading="mlp digits",
    )
    assert text_of(Page("What is fn*?", [Part([TABLE]), part], rule="nc1 < 0.01")) == (
        "What is fn*? (nc1 < 0.01)\n"
        "\n"
        "pair        runs\n"
        "mlp digits   9/9\n"
        "  deep       3/3\n"
        "\n"
        "mlp digits\n"
        "  In short: it varies.\n"
        "  Runs: 9 of 9 collapsed.\n"
        "    pair        runs\n"
        "    mlp digits   9/9\n"
        "      deep       3/3\n"
        "    runs: collapsed of evaluated.\n"
        "  1   refuted: too far.\n"
        "      So is this.\n"
        "  for 1, 2:\n"
        "    ncdiag sweep --seed 0:3\n"
        "  lead  epochs\n"
        "  fn    a norm\n"
        "  Keep in mind:\n"
        "    - few runs.\n"
        "    - one condition."
    )


@pytest.mark.parametrize("heading", ["", "mlp digits"])
@pytest.mark.parametrize("kind", [Reading, Paragraph, Legend, lambda text: Item("6a", text), lambda t: Cautions([t])])
def test_what_is_long_is_wrapped_below_its_beginning_and_loses_no_word(kind: type[Paragraph], heading: str) -> None:
    words = [f"word{place}-of-many" for place in range(40)]
    first, *rest = lines_of(kind(" ".join(words)), heading=heading)[bool(heading) :]
    if kind not in (Reading, Paragraph, Legend) and "Keep" in first:
        first, *rest = rest
    assert max(map(len, [first, *rest])) <= 80
    assert " ".join([first, *rest]).split()[-40:] == words
    start = first.index("In short") if "In short" in first else first.index("word0")
    assert {len(line) - len(line.lstrip()) for line in rest} == {start}


def test_a_first_cell_that_is_too_long_for_a_page_goes_on_below() -> None:
    label = ", ".join(f"setting_{n}=0.001" for n in range(8))
    rows = [["condition", "runs"], [label, "3/5"], ["  short", "10/10"]]
    _, *lines = lines_of(Table(rows, right=[False, True]), heading="pair")
    assert max(map(len, lines)) <= 80
    assert [line[-5:].strip() for line in lines if "/" in line] == ["3/5", "10/10"]
    assert lines[1].startswith("    setting_0=0.001, ")
    assert lines[2].startswith("      setting_")
    assert lines[-1].startswith("      short ")
    assert " ".join(lines[1:-1]).replace("3/5", "").split() == label.split()


@pytest.mark.parametrize("heading", ["", "What to train"])
def test_a_command_over_several_lines_is_the_same_command(heading: str) -> None:
    command = "ncdiag sweep --arch mlp --dataset 'a b' " + " ".join(f"--option-{n} {n}e-3" for n in range(12))
    lines = lines_of(Command(command), heading=heading)[bool(heading) :]
    assert max(map(len, lines)) <= 80
    assert len(lines) > 2
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == shlex.split(command)
    assert not any(line.rstrip(" \\").split()[-1].startswith("--") for line in lines)  # an option keeps its value


def test_a_page_without_parts_is_its_title() -> None:
    assert text_of(Page("run-1 collapsed at epoch 5.", [])) == "run-1 collapsed at epoch 5."
