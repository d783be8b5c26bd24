"""What a command line that starts loads: every Tab and every --help starts Python anew."""

import json

import pytest
from clihelp import list_commands, run_ncdiag

HEAVY = ("torch", "torchvision", "numpy", "pandas", "scipy", "matplotlib", "sqlalchemy", "alembic", "sklearn")
# Runs a command line in a fresh process and prints, after what it prints itself, the modules it has loaded.
LIST_MODULES = """
import json, sys
from ncdiag.cli.app import run
code = run(sys.argv[1:])
print()
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def loaded_by(*arguments: str, program: str = LIST_MODULES, **environment: str) -> set[str]:
    done = run_ncdiag(*arguments, program=program, **environment)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    return set(modules)


@pytest.mark.parametrize("words", list_commands(), ids=" ".join)
def test_help_loads_nothing_heavy(words: tuple[str, ...]):
    loaded = loaded_by(*words, "--help")
    assert loaded.isdisjoint(HEAVY)
    assert "rich" not in loaded


def test_something_heavy_would_be_noticed():
    assert "numpy" in loaded_by("--version", program="import numpy" + LIST_MODULES)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("line", ["ncdiag ", "ncdiag predict ", "ncdiag train --dataset m", "ncdiag runs show "])
def test_a_completion_loads_nothing_heavy(shell: str, line: str):
    words = line.split(" ")
    loaded = loaded_by(
        _NCDIAG_COMPLETE=f"complete_{shell}",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
        _TYPER_COMPLETE_ARGS=line,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert loaded.isdisjoint(HEAVY)


def test_a_question_loads_scipy_stats_only_where_a_test_needs_it():
    """It takes as long to load as pandas, and most questions use its distribution functions from `scipy.special`."""
    program = "import sys, ncdiag.analysis.survey\nprint('scipy.stats' in sys.modules)"
    assert run_ncdiag(program=program).stdout.split() == ["False"]
