import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ncdiag

TEXTS = {"amp=False, label_smoothing=0", "amp=True, label_smoothing=0.1"}
OTHER = "amp=True, label_smoothing=0.1"


def ncdiag_command(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "ncdiag", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a store of six runs: three seeds of two settings that no column has."""
    store = str(tmp_path_factory.mktemp("own") / "own.db")
    for smoothing in (0.0, 0.1):
        for seed, onset in enumerate((55, 60, 62)):
            said = {"seed": seed, "label_smoothing": smoothing, "amp": bool(smoothing), "note": f"try {seed}"}
            noise = np.random.default_rng(seed)
            with ncdiag.track(f"{smoothing}-{seed}", store=store, arch="net", dataset="flowers", **said) as run:
                for epoch in range(1, 101):
                    share = epoch / (onset + 100 * smoothing)
                    nc1 = 0.01**share * float(np.exp(noise.normal(0, 0.03)))
                    run.log(nc1=nc1, feature_norm=1.5 + 3 * 0.1**share, train_accuracy=1.0)
    return store


def test_a_setting_of_ones_own_tells_conditions_apart(url: str) -> None:
    found = ncdiag.analyze("threshold", store=url)
    pair = found[found["quantity"] == "fn_star"].iloc[0]
    assert (pair.n_runs, pair.n_conditions) == (6, 2)
    assert set(ncdiag.read_onsets(url)["other"]) == TEXTS


def test_it_picks_runs_out_and_makes_pairs(url: str) -> None:
    smooth = ["0.1-0", "0.1-1", "0.1-2"]
    assert ncdiag.read_runs(url, where=f"other={OTHER!r}")["run"].tolist() == smooth
    listed = ncdiag_command("runs", "ls", "--store", url, "--where", f"other={OTHER!r}", "--format", "json")
    assert [row["run"] for row in json.loads(listed)["runs"]] == smooth
    apart = ncdiag.analyze("threshold", store=url, by=("arch", "other"))
    assert apart.loc[apart["quantity"] == "fn_star", "n_runs"].tolist() == [3, 3]
    assert ncdiag.predict("0.1-0", store=url, by=("arch", "other")).status == "collapsed"


def test_it_is_kept_on_the_way_to_another_store(url: str, tmp_path: Path) -> None:
    for what in ("epochs", "runs"):
        ncdiag_command("export", what, "--store", url, "-o", str(tmp_path / f"{what}.csv"))
    elsewhere = str(tmp_path / "elsewhere.db")
    manifest = str(tmp_path / "runs.csv")
    ncdiag_command("import", str(tmp_path / "epochs.csv"), "--manifest", manifest, "--store", elsewhere)
    assert set(ncdiag.read_onsets(elsewhere)["other"]) == TEXTS
