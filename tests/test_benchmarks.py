"""The benchmarks run: those of a GPU on a CPU too, as far as they can."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small import small_spec

gpu = pytest.importorskip("benchmarks.gpu", reason="the benchmarks are not installed with the package")


def setting(minutes: float = 60.0) -> "gpu.Setting":  # type: ignore[name-defined]
    deadline = time.perf_counter() + 60 * minutes
    return gpu.Setting(data_dir=None, rounds=1, deadline=deadline, device="cpu", samples=256, together=2)


@pytest.mark.slow
def test_the_rows_of_a_gpu_are_those_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_specs_of_presets", lambda setting: [small_spec(seed=seed) for seed in range(3)])
    works = [row.work for row in gpu.rows(setting())]
    assert works == [
        "MLP 512x3, one run, CUDA graph",
        "MLP 512x3, 2 runs together, per run",
        "metrics of training and test set, as a share of training 2 together",
        "ResNet-20, 256 images, float32, an epoch",
        "the same, 4 side by side, per run",
        "the MLP presets of the paper, float32: 3 of 3 runs to their end, 18 measurements",
    ]


def test_presets_stop_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_specs_of_presets", lambda setting: [small_spec()])
    monkeypatch.setattr(gpu, "default_jobs", lambda device: 1)
    row = gpu._row_of_presets(setting(minutes=0))
    assert "0 of 1 runs" in row.work
    assert row.met is None


def test_the_kernel_for_products_computes_them() -> None:
    pytest.importorskip("triton", reason="Triton comes with torch on Linux alone")
    program = Path(__file__).parent.parent / "benchmarks" / "batched_products.py"
    environment = os.environ | {"TRITON_INTERPRET": "1"}  # which Triton reads when a kernel is defined
    said = subprocess.run(
        [sys.executable, str(program), "--small"], env=environment, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert len(said) == 3 * (2 + 3 * 4)
    assert all(float(line.rpartition(" ")[2]) < 1e-6 for line in said), said


def test_the_presets_make_a_hundred_runs() -> None:
    specs = gpu._specs_of_presets(setting())
    assert len(specs) == len({spec.key for spec in specs}) == 120
    assert {spec.network.arch for spec in specs} == {"mlp"}
