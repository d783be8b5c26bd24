import re
import shlex

import pytest
from clihelp import list_commands
from typer.main import get_command
from typer.testing import CliRunner

from ncdiag.cli.app import app
from ncdiag.domain.questions import FIGURE_NAMES, QUESTIONS

COMMANDS = list_commands()
# Every command, and what belongs to it.
CONTRACT: dict[str, set[str]] = {
    **{name: set() for name in ("train", "sweep", "analyze", "predict", "plot", "export", "import")},
    **{name: set() for name in ("report", "serve", "watch")},
    "runs": {"ls", "show", "rm", "rename"},
    "store": {"path", "check", "upgrade", "backup", "merge", "repair"},
}


def help_of(words: tuple[str, ...]) -> list[str]:
    result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"}, prog_name="ncdiag")
    assert result.exit_code == 0
    return result.stdout.splitlines()


def examples_of(words: tuple[str, ...]) -> list[str]:
    lines = help_of(words)
    return [line.strip() for line in lines[lines.index("  Examples:") + 1 :]]


def test_the_commands_are_those_of_the_contract():
    assert {words[0] for words in COMMANDS if words} == CONTRACT.keys()
    for group, commands in CONTRACT.items():
        assert {words[1] for words in COMMANDS if words[:1] == (group,) and len(words) > 1} == commands


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_fits_80_columns_and_says_what_the_command_does(words: tuple[str, ...]):
    lines = help_of(words)
    assert max(map(len, lines)) <= 80
    assert "\\b" not in "".join(lines)  # Typer's mark for lines to keep, misspelt
    assert lines[0].startswith(" ".join(["Usage: ncdiag", *words]))
    assert lines[2].strip().endswith((".", ",")) or len(lines[2]) > 60


@pytest.mark.parametrize("words", [(), ("runs",), ("store",)], ids=" ".join)
def test_no_command_is_described_by_half_a_sentence(words: tuple[str, ...]):
    assert [line for line in help_of(words)[1:] if line.endswith("...")] == []


@pytest.mark.parametrize(("command", "names"), [("analyze", QUESTIONS), ("plot", FIGURE_NAMES)])
def test_what_may_be_asked_for_is_explained_before_the_options(command: str, names: tuple[str, ...]):
    lines = help_of((command,))
    explained = " ".join(" ".join(lines[: lines.index("Arguments:")]).split())
    assert [name for name in names if not re.search(rf"\b{name}\b[^.]*: ", explained)] == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_is_explained(words: tuple[str, ...]):
    command = get_command(app)
    for word in words:
        command = command.commands[word]  # type: ignore[attr-defined]
    unexplained = [parameter.name for parameter in command.params if not getattr(parameter, "help", None)]
    assert unexplained == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_ends_with_two_examples_that_the_command_line_accepts(words: tuple[str, ...]):
    examples = examples_of(words)
    assert len(examples) == 2
    for example in examples:
        # A pipe or a redirection is the shell's; what stands before it must parse.
        program, *arguments = shlex.split(example.partition(" | ")[0].partition(" > ")[0])
        assert program == "ncdiag"
        assert tuple(arguments[: len(words)]) == words
        parse(arguments)


def parse(arguments: list[str]) -> None:
    """Parse a command line without running it; a usage error raises."""
    command = get_command(app)
    while hasattr(command, "commands"):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    command.make_context(command.name, list(arguments))


def test_a_wrong_example_would_be_noticed():
    with pytest.raises(Exception, match="No such option"):
        parse(["runs", "ls", "--no-such-option"])
