import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from clihelp import ROOT
from falling import make_falling_store
from typer.main import get_command

from ncdiag import errors
from ncdiag.cli.app import EXIT_BROKEN_PIPE, EXIT_BUG, app
from ncdiag.domain.questions import FIGURE_NAMES
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.runs import list_runs

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(text: str) -> list[list[str]]:
    """Give the words of every `ncdiag` command in the shell blocks of a page; a prompt before it is no part of it."""
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", text, flags=re.DOTALL)
    whole = [re.sub(r" \\\n *", " ", block) for block in blocks]  # a line that ends in a backslash goes on
    lines = [line.strip().removeprefix("$ ") for block in whole for line in block.splitlines()]
    parts = [part for line in lines for part in re.split(r"&+|\||>|;|\$\(", line)]
    words = [
        shlex.split(part.split(" #")[0].rstrip(") ")) for part in parts if re.match(r"\s*(\.venv/bin/)?ncdiag ", part)
    ]
    return [found[1:] for found in words]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_shown_is_accepted(page: Path) -> None:
    for words in commands(page.read_text(encoding="utf-8")):
        command = get_command(app)
        rest = list(words)
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]  # type: ignore[attr-defined]
        if rest not in (["--help"], ["--version"], ["--preset", "list"]):
            command.make_context("ncdiag", rest)


def test_commands_are_found_in_the_readme() -> None:
    assert ["sweep", "--preset", "quickstart"] in commands(README)
    assert len(commands(README)) >= 5


def test_first_commands_are_a_line_each() -> None:
    assert len(re.findall(r"```sh\npython3 -m venv [^\n]*\n```", README)) == 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def anchors(page: Path) -> set[str]:
    """Give what a link to a heading of a page ends in."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_headings_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    assert [(name, title) for name, title in links if title not in anchors(page.parent / name if name else page)] == []


def test_pictures_of_the_figures_stay_small() -> None:
    pictures = list((ROOT / "docs" / "figures").glob("*.png"))
    assert {picture.stem for picture in pictures} == set(FIGURE_NAMES)
    assert sum(picture.stat().st_size for picture in pictures) < 1_000_000


def test_the_script_of_a_network_of_ones_own_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "own-network.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"<!-- the example -->\n```python\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "train.py").write_text(script, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "train.py", "0", "2"], cwd=tmp_path, env=environment, check=True)
    with open_store(str(tmp_path / "ncdiag.db")) as store:
        (run,) = list_runs(store)
        rows = list_epochs(store, run.id)
    assert (run.name, run.status, run.arch, run.epochs_planned) == ("mine-0", "done", "mynet", 2)
    assert [(row.epoch, row.loss) for row in rows] == [(1, "mse"), (2, "mse")]
    assert all(None not in (row.nc1, row.feature_norm, row.nc4, row.test_accuracy) for row in rows)


def test_the_notebook_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"<!-- the notebook -->\n```python\n(.*?)```", page, flags=re.DOTALL)
    make_falling_store(tmp_path / "ncdiag.db")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("NCDIAG_STORE", None)
    run = [sys.executable, "-W", "error", "-c", script]
    answer = subprocess.run(run, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert "fn* = 1.000" in answer.stdout  # the geometric mean of 1.1, 1 / 1.1, 1.2, 1 / 1.2
    assert "1 of 5 censored" in answer.stdout


def test_every_exit_code_is_listed() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    table = page.partition("## Exit codes")[2].partition("\n## ")[0]
    listed = {
        int(code) for cell in re.findall(r"^\| ([\d, ]+) \|", table, flags=re.MULTILINE) for code in cell.split(",")
    }
    raised = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}
    stopped = {128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    assert listed == {0, EXIT_BUG, EXIT_BROKEN_PIPE} | stopped | raised
