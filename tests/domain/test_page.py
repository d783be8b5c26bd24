import pytest

from ncdiag.domain.page import Cautions, Paragraph, Part, Reading, find_commands


def test_readings_begin_as_sentences_do_but_for_names() -> None:
    part = Part([Reading("at onset it is 1.385."), Paragraph("no."), Reading("fn* is unknown."), Reading("Both.")])
    assert part.readings == ["At onset it is 1.385.", "fn* is unknown.", "Both."]


def test_the_cautions_of_a_part_are_those_of_all_its_blocks() -> None:
    assert Part([Cautions(["a.", "b."]), Paragraph("no."), Cautions(["c."])]).cautions == ["a.", "b.", "c."]


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("This trains them: ncdiag sweep --preset intervention --lr 0.01", ["sweep --preset intervention --lr 0.01"]),
        ("So (ncdiag train --lr 1e-3) or `ncdiag plot depth`; no.", ["train --lr 1e-3", "plot depth"]),
        ("ncdiag import a.csv --set arch=mlp. Then more.", ["import a.csv --set arch=mlp"]),
        ("ncdiag cannot train these itself.", []),
    ],
)
def test_commands_inside_sentences_can_be_pasted(text: str, commands: list[str]) -> None:
    assert find_commands(text) == [f"ncdiag {command}" for command in commands]
