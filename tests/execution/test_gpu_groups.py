"""Which runs of a sweep a GPU trains together, by its free memory; nothing is trained."""

from collections.abc import Callable

import pytest
import torch
from small import ignore, small_spec

from ncdiag.domain.records import Run, RunStatus
from ncdiag.execution.local import train_all
from ncdiag.execution.worker import Outcome, TrainingOptions
from ncdiag.store.engine import Store
from ncdiag.store.sweeps import plan_sweep


@pytest.mark.parametrize(
    ("given", "free", "gain", "sizes"),
    [
        ({}, 10**9, None, [7]),  # a GPU is filled as far as its memory goes, without a trial
        ({}, 10**5, None, [1] * 7),
        ({}, 5 * 10**5, None, [4, 3]),  # four of 80 kB beside what measuring takes
        ({"arch": "cnn", "depth": 2, "width": 8}, 10**9, 1.5, [3, 4]),
        ({"arch": "cnn", "depth": 2, "width": 8}, 10**9, 1.0, [1] * 7),
        ({"arch": "cnn", "depth": 2, "width": 8}, 10**9, None, [1] * 7),  # too little memory to try
    ],
)
def test_groups_of_a_gpu(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, object],
    free: int,
    gain: float | None,
    sizes: list[int],
) -> None:
    def tried(*shape: object) -> float:
        if gain is None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return gain

    monkeypatch.setattr("ncdiag.execution.local.speedup", tried)
    runs = plan_sweep(store, specs=[small_spec(seed=seed, **given) for seed in range(7)])
    assert [len(group) for group in groups_on_gpu(store, runs, monkeypatch, free=free)] == sizes


def test_shapes_on_one_data_set_share_a_gpu(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    of_one_set = [small_spec(width=width, seed=seed) for width in (16, 17) for seed in range(2)]
    others = [small_spec(train_size=100), *(small_spec(arch="cnn", depth=2, width=width) for width in (8, 9))]
    runs, said = plan_sweep(store, specs=[*of_one_set, *others]), list[str]()
    groups = groups_on_gpu(store, runs, monkeypatch, free=10**9, say=said.append)
    assert sorted(groups) == [[0, 1, 2, 3], [4], [5], [6]]
    assert said == ["4 runs of 2 shapes train side by side"]


def groups_on_gpu(
    store: Store, runs: list[Run], monkeypatch: pytest.MonkeyPatch, *, free: int, say: Callable[[str], None] = print
) -> list[list[int]]:
    """Give the groups that a GPU with so much free memory would train, by the places of their runs."""
    groups: list[list[int]] = []

    def train_runs(store: Store, group: list[Run], *rest: object) -> list[Outcome]:
        groups.append(sorted(runs.index(run) for run in group))
        return [Outcome(run=run, status=RunStatus.DONE) for run in group]

    monkeypatch.setattr("ncdiag.execution.local.train_runs", train_runs)
    monkeypatch.setattr("ncdiag.execution.local.pick_device", torch.device)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free, 10**12))
    train_all(store.url, runs, TrainingOptions(device="cuda"), jobs=1, listen=ignore, say=say)
    return groups
