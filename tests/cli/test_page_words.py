from dataclasses import replace
from pathlib import Path

import pytest
from cli.conftest import collapsing
from clihelp import Cli

from ncdiag.cli.page_words import by_pair, is_shown
from ncdiag.domain.result import Result
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs

NEAR = {"lr=0.001000001": 1.0, "lr=0.001000002": 5.0}  # with four digits, and with six, these are one


@pytest.mark.parametrize(("p", "level", "shown"), [(1 / 20, 0.95, True), (1 / 10, 0.9, True), (1 / 10, 0.95, False)])
def test_a_p_of_one_less_the_level_is_shown_at_every_level(p: float, level: float, shown: bool) -> None:
    assert is_shown({"p": p, "level": level}) == shown


def test_results_are_put_together_by_their_group_and_not_by_its_name() -> None:
    groups = [{"lr": 0.00100001}, {"lr": 0.00100002}, {"lr": 0.00100001}]
    results = [Result(question="q", quantity=str(place), group=group) for place, group in enumerate(groups)]
    found = [(name, [value["quantity"] for value in values]) for name, values in by_pair(results)]
    assert found == [("lr=0.00100001", ["0", "2"]), ("lr=0.00100002", ["1"])]


@pytest.fixture
def near(tmp_path: Path) -> str:
    """Give a store with two pairs of four runs, all of another condition, whose learning rates are nearly the same."""
    path = str(tmp_path / "near.db")
    with open_store(path, write=True) as store:
        for name, norm in NEAR.items():
            runs = [
                collapsing(
                    f"{name[3:]}-{seed}", depth=3 + seed, seed=seed, norm=norm * (1 + seed / 50), time=31 + 2 * seed
                )
                for seed in range(4)
            ]
            import_runs(store, [replace(run, config={**run.config, "lr": float(name[3:])}) for run in runs])
    return path


@pytest.mark.parametrize("question", ["threshold", "lead", "forecast"])
def test_pairs_that_are_nearly_the_same_have_each_a_part_of_the_page(cli: Cli, near: str, question: str) -> None:
    answer = cli("analyze", question, "--by", "lr", "--store", near)
    assert answer.code == 0, answer.err
    assert [line for line in answer.out.splitlines() if line.startswith("lr=") and " " not in line] == list(NEAR)


def test_each_pair_has_the_fn_star_at_other_eps_of_its_own(cli: Cli, near: str) -> None:
    page = cli("analyze", "threshold", "--by", "lr", "--store", near).out
    for name, norm in NEAR.items():
        table = page.split(f"\n{name}\n")[1].split("eps  runs")[1].splitlines()
        assert float(table[1].split()[2]) == pytest.approx(norm, rel=0.1)
