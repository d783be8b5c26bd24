"""Settings that ncdiag has no column for choose runs and make pairs like any other."""

import json
from pathlib import Path

import pytest
from clihelp import Cli

import ncdiag


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight runs of one network, with two values of either of two settings, which moves the onset."""
    path = tmp_path / "own.db"
    monkeypatch.setenv("NCDIAG_STORE", str(path))
    for smoothing in (0.1, 0.2):
        for augment in ("flip", "none"):
            for seed in (0, 1):
                said = {"arch": "net", "dataset": "flowers", "seed": seed, "smoothing": smoothing, "augment": augment}
                with ncdiag.track(f"{smoothing}-{augment}-{seed}", store=path, **said) as run:
                    for epoch in range(1, 40):
                        run.log(
                            nc1=0.6 ** (epoch * (1.2 - smoothing)) + 1e-9 * seed, feature_norm=smoothing * 10 + seed
                        )
    return path


def norms(cli: Cli, *arguments: str) -> dict[tuple[object, ...], int]:
    answer = cli("analyze", "threshold", "--format", "json", *arguments)
    assert (answer.code, answer.err) == (0, "")
    results = json.loads(answer.out)["results"]
    return {tuple(r["group"].values()): r["n_runs"] for r in results if r["quantity"] == "fn_star"}


def test_a_setting_of_ones_own_chooses_runs(cli: Cli, store: Path) -> None:
    assert norms(cli, "--where", "other.smoothing=0.1") == {("net", "flowers"): 4}
    assert norms(cli, "--where", "other.smoothing < 0.15 and other.augment=flip") == {("net", "flowers"): 2}
    listed = cli("runs", "ls", "--where", "other.augment='none' and not other.smoothing=0.2", "--format", "csv").out
    assert [row.split(",")[0] for row in listed.splitlines()[1:]] == ["0.1-none-0", "0.1-none-1"]


def test_a_setting_of_ones_own_makes_pairs(cli: Cli, store: Path) -> None:
    assert norms(cli, "--by", "arch,other.smoothing") == {("net", 0.1): 4, ("net", 0.2): 4}
    assert norms(cli, "--by", "other.augment,other.smoothing") == {
        (augment, smoothing): 2 for augment in ("flip", "none") for smoothing in (0.1, 0.2)
    }
    misspelt = cli("analyze", "threshold", "--by", "other.smothing")
    assert misspelt.code == 2
    assert "none of these runs says 'smothing' (did you mean other.smoothing?)" in misspelt.err
    page = cli("analyze", "threshold", "--by", "other.smoothing").out
    assert "other.smoothing=0.1" in page
    cells = json.loads(cli("analyze", "additivity", "--by", "other.augment,other.smoothing", "--format", "json").out)
    assert len(cells["results"][-1]["cells"]) == 4


def test_a_forecast_learns_from_the_pair_that_a_setting_makes(cli: Cli, store: Path) -> None:
    with ncdiag.track("new", store=store, arch="net", dataset="flowers", smoothing=0.3) as run:
        run.log(nc1=0.5, feature_norm=2.0)
    answer = json.loads(cli("predict", "new", "--by", "arch,other.smoothing", "--format", "json").out)
    assert answer["message"] == "no other run of net, 0.3 has been evaluated"
    assert json.loads(cli("predict", "new", "--format", "json").out)["n_calibration"] == 8


def test_the_only_other_run_may_be_the_same_one_again(cli: Cli, store: Path) -> None:
    for name in ("one", "again"):
        with ncdiag.track(name, store=store, arch="net", dataset="leaves", seed=0) as run:
            run.log(nc1=0.5, feature_norm=2.0)
    answer = cli("predict", "again").out
    assert "no other run of net, leaves has been evaluated, but for 1 run with the same settings and seed" in " ".join(
        answer.split()
    )


def test_a_column_that_may_be_a_setting_is_explained(cli: Cli, store: Path) -> None:
    for option in (("--where", "smoothing=0.1"), ("--by", "smoothing")):
        answer = cli("analyze", "threshold", *option)
        assert answer.code == 2
        assert "other.NAME for a setting of your own" in " ".join(answer.err.split())
