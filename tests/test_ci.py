"""What `.ci/run` does, with stand-ins for Python and for the programs of the environment that it makes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from clihelp import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / ".ci").is_dir(), reason="only a checkout has it")

PROGRAMS = ("pip", "python", "ruff", "mypy", "lint-imports")
# `python3 -m venv FOLDER` makes an environment of programs that write down how they were called.
PYTHON3 = """#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 9
mkdir -p "$3/bin"
for program in {programs}; do
    cp {stand_in} "$3/bin/$program"
done
"""
STAND_IN = """#!/bin/sh
echo "$0${*:+ $*}" >> calls
[ "$(basename "$0")" != "$FAILS" ]
"""


def run_ci(checkout: Path, *, fails: str = "") -> tuple[int, list[str]]:
    """Run `.ci/run` in a checkout; give its exit code and the calls of the programs, of which one may fail."""
    programs = checkout.with_name("programs")
    programs.mkdir()
    (programs / "stand-in").write_text(STAND_IN)
    (programs / "python3").write_text(
        PYTHON3.format(programs=" ".join(PROGRAMS), stand_in=programs / "stand-in"),
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "FAILS": fails}
    done = subprocess.run(
        ["bash", ".ci/run"], cwd=checkout, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return done.returncode, (checkout / "calls").read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    shutil.copy(ROOT / "README.md", folder)
    return folder


def test_it_tests_in_an_environment_of_its_own_and_leaves_the_developers_alone(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "mine").touch()
    (checkout / ".venv-ci").mkdir()
    (checkout / ".venv-ci" / "of-last-time").touch()
    code, calls = run_ci(checkout)
    assert code == 0
    assert calls == [
        ".venv-ci/bin/pip install -q -e .[dev]",
        ".venv-ci/bin/python -m pytest -q",
        ".venv-ci/bin/ruff check",
        ".venv-ci/bin/ruff format --check",
        ".venv-ci/bin/mypy",
        ".venv-ci/bin/lint-imports",
    ]
    assert [path.name for path in (checkout / ".venv").iterdir()] == ["mine"]
    assert not (checkout / ".venv-ci" / "of-last-time").exists()


@pytest.mark.parametrize("program", PROGRAMS)
def test_whatever_fails_it_fails_and_still_tries_the_rest(checkout: Path, program: str) -> None:
    code, calls = run_ci(checkout, fails=program)
    assert code == 1
    assert calls[-1] == ".venv-ci/bin/lint-imports"
