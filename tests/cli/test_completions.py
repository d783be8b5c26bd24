"""The committed scripts in completions/, and what they get to offer.

`PYTHONPATH=tests python tests/cli/test_completions.py` writes them anew; each is what
`_NCDIAG_COMPLETE=source_<shell> ncdiag` prints, without blank lines around it; that of zsh with an end of its own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from clihelp import PYTHON, ROOT, run_ncdiag

SCRIPTS = {"bash": "ncdiag.bash", "zsh": "_ncdiag", "fish": "ncdiag.fish"}
# From site-functions, zsh runs the whole file as the completion at the first Tab: what it defines has to be called.
FIRST_TAB = """
if [[ $funcstack[1] == _ncdiag ]]; then
  _ncdiag_completion "$@"
fi
"""


def generate(shell: str) -> str:
    done = run_ncdiag(_NCDIAG_COMPLETE=f"source_{shell}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() + "\n" + FIRST_TAB * (shell == "zsh")


def offered(line: str, cwd: Path, **environment: str) -> list[str]:
    """Give what Tab would offer at the end of a line in bash."""
    words = line.split(" ")
    done = run_ncdiag(
        cwd=cwd,
        _NCDIAG_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
        **environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_committed_script_is_current(shell: str):
    assert (ROOT / "completions" / SCRIPTS[shell]).read_text() == generate(shell)


@pytest.mark.parametrize(
    "line",
    [
        "ncdiag predict ",
        "ncdiag runs show ",
        "ncdiag runs rm ",
        "ncdiag runs rm deep-0 ",
        "ncdiag runs rename ",
        "ncdiag train --resume ",
    ],
)
def test_names_of_runs_are_offered_from_the_store_of_this_folder(line: str, store: Path):
    assert offered(line, store.parent) == ["deep-0", "deep-1", "shallow-0", "shallow-1", "short"]


@pytest.mark.parametrize(
    "line", ["ncdiag --store {} predict sh", "ncdiag predict --store {} sh", "ncdiag runs --store {} show sh"]
)
def test_names_of_runs_are_offered_from_the_store_that_the_line_names(line: str, pristine_store: Path, tmp_path: Path):
    assert offered(line.format(pristine_store), tmp_path) == ["shallow-0", "shallow-1", "short"]


def test_names_of_runs_are_offered_from_the_store_of_the_environment(pristine_store: Path, tmp_path: Path):
    assert offered("ncdiag predict d", tmp_path, NCDIAG_STORE=str(pristine_store)) == ["deep-0", "deep-1"]


def test_a_tab_makes_no_store_and_no_noise(tmp_path: Path):
    assert offered("ncdiag predict ", tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ncdiag p", ["predict", "plot"]),
        ("ncdiag store ", ["path", "check", "upgrade", "backup", "merge", "repair"]),
        ("ncdiag analyze ac", ["activation"]),
        ("ncdiag analyze --rule ", ["sustained", "first"]),
        ("ncdiag analyze --metric nc2_", ["nc2_equinorm", "nc2_equiangular", "nc2_etf"]),
        ("ncdiag analyze --format ", ["table", "csv", "json"]),
        ("ncdiag train --arch ", ["mlp", "cnn", "resnet20"]),
        ("ncdiag train --dataset f", ["fashion_mnist"]),
        ("ncdiag sweep --activation relu,t", ["relu,tanh"]),
    ],
)
def test_words_that_are_known_are_offered(line: str, words: list[str], tmp_path: Path):
    assert offered(line, tmp_path) == words


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_bash_script_completes_in_bash(store: Path):
    program = f"""
        source {ROOT}/completions/ncdiag.bash
        ncdiag() {{ "{PYTHON}" -m ncdiag "$@"; }}
        env() {{ local -x "${{@:1:3}}"; "$4"; }}  # the script calls env, which knows no shell functions
        COMP_WORDS=(ncdiag predict sha) COMP_CWORD=2
        _ncdiag_completion ncdiag
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", program],
        cwd=store.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["shallow-0", "shallow-1"], done.stderr


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_the_zsh_script_completes_at_the_first_tab(store: Path):
    program = f"""
        compdef() {{ }}
        compadd() {{ }}
        _arguments() {{ print -r -- "$@" }}
        ncdiag() {{ {PYTHON} -m ncdiag "$@" }}
        env() {{ local -x "${{@[1,2]}}"; "$3" }}  # the script calls env, which knows no shell functions
        fpath=({ROOT}/completions $fpath); autoload -Uz _ncdiag
        words=(ncdiag predict sha); CURRENT=3
        _ncdiag
    """
    done = subprocess.run(
        ["zsh", "-f", "-c", program],
        cwd=store.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "shallow-0" in done.stdout, done.stderr


if __name__ == "__main__":
    for shell, script in SCRIPTS.items():
        (ROOT / "completions" / script).write_text(generate(shell))
        sys.stderr.write(f"completions/{script}\n")
