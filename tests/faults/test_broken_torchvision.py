"""A torchvision that was built for another torch stops nothing but the fetching of data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from public_sets import make_all, put

ROOT = Path(__file__).parents[2]

# As torchvision fails beside a torch that it does not fit.
BROKEN = "raise RuntimeError('operator torchvision::nms does not exist')\n"

ALL = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from public_sets import make_all
from ncdiag.cli.app import run
from ncdiag.training import builtin_sets
for name, (files, _) in make_all().items():
    setattr(builtin_sets, name, files)
small = ["--depth", "1", "--width", "8", "--phase", "ce:2", "--phase", "mse:1", "--device", "cpu", "--data-dir", "here"]
for line in (
    ["--help"],
    ["import", "log.csv"],
    ["train", *small, "--dataset", "mnist"],
    ["train", *small, "--dataset", "cifar10"],
    ["analyze", "threshold"],
    ["predict", "old", "--eps", "0.1"],
    ["runs", "ls"],
    ["train", *small, "--dataset", "fashion_mnist"],
):
    sys.stderr.write(f"{line[0]} {line[-1]}: {run(line)}\\n")
"""


@pytest.mark.slow
def test_local_data_and_every_other_command_work_beside_it(tmp_path: Path) -> None:
    (tmp_path / "broken" / "torchvision").mkdir(parents=True)
    (tmp_path / "broken" / "torchvision" / "__init__.py").write_text(BROKEN)
    for name in ("MNIST", "CIFAR10"):
        put(*make_all()[name], tmp_path / "here")
    epochs = "".join(f"{epoch},1,{2.0**-epoch},{epoch / 7}\n" for epoch in range(1, 12))
    (tmp_path / "log.csv").write_text(f"epoch,train_accuracy,nc1,feature_norm\n{epochs}")
    (tmp_path / "log.csv").rename(tmp_path / "old.csv")
    script = ALL.replace("log.csv", "old.csv")
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "broken"), str(ROOT / "tests")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    codes = [line.rpartition(": ") for line in done.stderr.splitlines() if line.rpartition(": ")[2].isdigit()]
    assert [code for _, _, code in codes] == ["0"] * 7 + ["7"], done.stderr
    *_, last = done.stderr.rpartition("ncdiag: error: ")
    first, *rest = last.splitlines()
    assert first.startswith("FashionMNIST is not in here: torchvision ")
    assert first.endswith("operator torchvision::nms does not exist.")
    assert pytest.importorskip("torch").__version__.partition("+")[0] in first
    assert str(Path("here", "FashionMNIST", "raw")) in " ".join(rest)
