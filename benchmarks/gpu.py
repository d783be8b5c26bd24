"""The rows of the table that a GPU fills, all in one call: `python -m benchmarks --gpu`. Takes about ten minutes."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.engine import Training, made_up, mlp
from benchmarks.timing import Row, compare, in_turn
from ncdiag.cli.presets import PRESETS
from ncdiag.cli.training_options import read_axes
from ncdiag.domain.defaults import complete_spec
from ncdiag.execution.local import default_jobs, train_all
from ncdiag.execution.planning import make_plan
from ncdiag.execution.worker import TrainingOptions
from ncdiag.store.engine import open_store
from ncdiag.store.sweeps import plan_sweep
from ncdiag.training.reproducibility import full_precision

BANDWIDTH = {"H200": 4.3e12, "H100": 3.0e12, "A100": 1.8e12}  # bytes a second that a copy reaches
MLP_PRESETS = ("paper-depth", "paper-width", "paper-weight-decay", "paper-activation", "paper-intervention")
TOGETHER = 32


def rows(data_dir: Path | None, rounds: int) -> list[Row]:
    with full_precision():
        return [*_steps(rounds), *_resnet(rounds), *_presets(data_dir)]


def _timed(training: Training) -> Callable[[], float]:
    def epoch() -> float:
        torch.cuda.synchronize()
        started = time.perf_counter()
        training.train_epoch()
        torch.cuda.synchronize()
        return time.perf_counter() - started

    return epoch


def _steps(rounds: int) -> list[Row]:
    data = made_up().to("cuda")
    eager, graph = Training([mlp(512)], data), Training([mlp(512)], data)
    eager.steps._find_step = lambda: eager.steps._step_at_place  # type: ignore[method-assign]
    many = Training([mlp(512, seed=seed) for seed in range(TOGETHER)], data)
    times = in_turn({"eager": _timed(eager), "graph": _timed(graph), "many": _timed(many)}, rounds)
    each = [seconds / TOGETHER for seconds in times["many"]]
    parameters = sum(parameter.numel() for parameter in many.members[0].network.parameters())
    name = torch.cuda.get_device_name()
    bandwidth = next((value for part, value in BANDWIDTH.items() if part in name), None)
    # forward, backward and update touch the weights 10 times: read 2, gradient written and read, moments and weights
    limit = 10 * 4 * parameters * 469 / bandwidth if bandwidth else None
    rows = [
        compare("MLP 512x3, one run, CUDA graph", "eager", times["graph"], times["eager"], at_least=3),
        compare(f"MLP 512x3, {TOGETHER} runs together, per run", "one run", each, times["graph"], at_least=5),
    ]
    if limit:
        share = limit / statistics.median(each)
        rows.append(Row(work="of the memory-bandwidth limit", against=name, goal="-", seconds=limit, ratio=share))
    return rows


def _resnet(rounds: int) -> list[Row]:
    data = made_up((3, 32, 32)).to("cuda")
    found = []
    for precision in ("float32", "tf32"):
        spec = complete_spec({"arch": "resnet20", "dataset": "cifar10", "precision": precision})
        training = Training([spec], data)
        seconds = statistics.median(in_turn({"epoch": _timed(training)}, rounds)["epoch"])
        work = f"ResNet-20, 60,000 images, {precision}, an epoch"
        found.append(Row(work=work, against="-", goal="<= 0.7 s", seconds=seconds, met=seconds <= 0.7))
    return found


def _presets(data_dir: Path | None) -> list[Row]:
    """Train every MLP preset of the paper to its end, which for most runs is the onset."""
    started, number = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        for name in MLP_PRESETS:
            plan = make_plan(read_axes(dict(PRESETS[name].options)), data_dir=data_dir)
            with open_store(f"{folder}/{name}.db", write=True) as store:
                runs = plan_sweep(store, specs=plan.specs, data=plan.data)
            number += len(runs)
            options = TrainingOptions(device="cuda", data_dir=data_dir)
            jobs = default_jobs("cuda")
            train_all(f"{folder}/{name}.db", runs, options, jobs=jobs, listen=lambda run, event: None, say=print)
    seconds = time.perf_counter() - started
    work = f"the MLP presets of the paper, {number} runs"
    return [Row(work=work, against="-", goal="<= 600 s", seconds=seconds, met=seconds <= 600)]
