"""Running command lines in tests: in this process, or in one of their own where only that shows what matters."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from typer.main import get_command

from ncdiag.cli.app import app

PYTHON = sys.executable
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command line came back with."""

    code: int
    out: str
    err: str


Cli = Callable[..., Answer]
Start = Callable[..., "subprocess.Popen[str]"]


def run_ncdiag(
    *arguments: str, cwd: Path | None = None, program: str | None = None, stdin: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m ncdiag ARGUMENTS`, or another Python program with them, on this checkout."""
    start = ["-c", program] if program else ["-m", "ncdiag"]
    return subprocess.run(
        [PYTHON, *start, *arguments],
        cwd=cwd,
        input=stdin,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def flat(text: str) -> str:
    """Give a text as one line, so that what it says is found wherever its lines break."""
    return " ".join(text.split())


def list_commands() -> list[tuple[str, ...]]:
    """Give the words of every command and every group of commands; those of ncdiag itself are none."""
    found: list[tuple[str, ...]] = []

    def visit(command: object, words: tuple[str, ...]) -> None:
        found.append(words)
        for name, inner in getattr(command, "commands", {}).items():
            visit(inner, (*words, name))

    visit(get_command(app), ())
    return found
