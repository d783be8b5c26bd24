"""Values that no training should have, and that a log may hold all the same: each has an answer."""

import json
import math
from pathlib import Path

import pytest
from clihelp import Cli

from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs


def store_with(path: Path, norms: dict[tuple[float, int], float], **values: float) -> Path:
    """Make a store of runs that collapse, of some learning rates and seeds, each with one norm throughout."""
    runs = [
        ImportedRun(
            name=f"lr{rate}-{seed}",
            config={"arch": "net", "dataset": "flowers", "lr": rate, "seed": seed},
            epochs=tuple(
                EpochRecord(epoch=t, nc1=math.exp(-t * (0.2 + 0.01 * seed)), feature_norm=norm, **values)
                for t in range(1, 41)
            ),
            source="test",
        )
        for (rate, seed), norm in norms.items()
    ]
    with open_store(str(path), write=True, create=True) as store:
        import_runs(store, runs)
    return path


@pytest.mark.parametrize("question", ["claims", "threshold", "lead", "forecast", "additivity", "attractor", "depth"])
def test_an_infinite_norm_at_onset_is_no_norm(cli: Cli, tmp_path: Path, question: str) -> None:
    norms = {(0.1, 0): 1.0, (0.1, 1): 1.1, (0.01, 0): 1.2, (0.01, 1): math.inf}
    store = store_with(tmp_path / "odd.db", norms)
    answer = cli("analyze", question, "--format", "json", "--store", store)
    assert (answer.code, answer.err) == (0, "")
    if question == "threshold":
        fn_star = json.loads(answer.out)["results"][0]
        assert (fn_star["n_collapsed"], fn_star["n_without_norm"]) == (4, 1)
        conditions = [math.sqrt(1.0 * 1.1), 1.2]
        assert fn_star["estimate"] == pytest.approx(math.sqrt(math.prod(conditions)))
    assert cli("analyze", question, "--store", store).code == 0


def test_seconds_that_add_up_to_more_than_a_number_can_be_are_kept(cli: Cli, tmp_path: Path) -> None:
    store = store_with(tmp_path / "odd.db", {(0.1, 0): 1.0}, seconds=1.7e308)
    rows = json.loads(cli("export", "epochs", "--format", "json", "--store", store).out)
    assert {row["seconds"] for row in rows["epochs"]} == {1.7e308}
