from dataclasses import replace

import pytest
import torch
from small import small_spec

from ncdiag.domain.records import Run
from ncdiag.domain.spec import RunSpec
from ncdiag.execution.grouping import cut, list_devices, list_shapes, size_on_gpu
from ncdiag.store.engine import Store
from ncdiag.store.runs import add_run
from ncdiag.training.networks import build_network
from ncdiag.training.reproducibility import generator


def add(store: Store, *specs: RunSpec) -> list[Run]:
    return [add_run(store, spec)[0] for spec in specs]


def key(run: Run) -> tuple[str, ...]:
    return (str(run.dataset), str(run.train_size))


def test_runs_that_differ_only_in_what_members_may_have_one_shape(store: Store) -> None:
    members = [
        small_spec(),
        small_spec(seed=1),
        small_spec(weight_decay=0.1),
        small_spec(lr=0.5),
        small_spec(optimizer="sgd"),
        small_spec(eval_every="log"),
        small_spec(stop_at_onset=True),
    ]
    others = [small_spec(width=17), small_spec(depth=3), small_spec(activation="tanh"), small_spec(batch_size=7)]
    others += [small_spec(precision="bf16"), small_spec(train_size=100)]
    shapes = list_shapes(add(store, *members, *others), key)
    assert [len(shape.runs) for shape in shapes] == [7, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("size", "parts", "expected"),
    [(8, 1, [7]), (8, 2, [3, 4]), (3, 1, [2, 2, 3]), (1, 2, [1] * 7), (8, 20, [1] * 7)],
)
def test_groups_are_nearly_equal_and_hold_every_run_once(
    store: Store, size: int, parts: int, expected: list[int]
) -> None:
    (shape,) = list_shapes(add(store, *(small_spec(seed=seed) for seed in range(7))), key)
    groups = cut(shape, size, parts=parts)
    assert [len(group) for group in groups] == expected
    assert [run.id for group in groups for run in group] == [run.id for run in shape.runs]


@pytest.mark.parametrize(("optimizer", "copies"), [("adam", 10), ("sgd", 7)])
def test_a_group_fits_into_the_memory_of_the_gpu(optimizer: str, copies: int) -> None:
    spec = small_spec(depth=3, width=512, batch_size=128, optimizer=optimizer)
    network = build_network(spec.network, input_shape=(1, 28, 28), num_classes=10, generator=generator(0, "weights"))
    parameters = sum(p.numel() for p in network.parameters())
    member = 4 * (copies * parameters + 128 * (784 + 3 * 3 * 512)) + 2 * 8 * 60_000
    features = 4 * 60_000 * 512
    sizes = {"n_train": 60_000, "n_test": 10_000, "num_classes": 10}

    def size(free_bytes: float) -> int:
        return size_on_gpu(spec, (1, 28, 28), sizes, free_bytes=int(free_bytes))

    assert size((features + 10.5 * member) / 0.8) == 10
    assert size((features + 9.5 * member) / 0.8) == 9
    assert size(0) == 1
    assert size(1e15) < 1000  # each of them holds a file open, of which a process may have 1,024
    part = replace(spec, metric_samples=6000, test_samples=1000)  # of which each member has a copy
    free_bytes = int((features + 10.5 * (member + 7000 * 784)) / 0.8)
    assert size_on_gpu(part, (1, 28, 28), sizes, free_bytes=free_bytes) == 10


def test_a_sweep_fills_every_gpu_unless_one_is_named() -> None:
    assert list_devices(torch.device("cuda"), 3) == ["cuda:0", "cuda:1", "cuda:2"]
    assert list_devices(torch.device("cuda:1"), 3) == ["cuda:1"]
    assert list_devices(torch.device("cpu"), 0) == ["cpu"]


def test_runs_that_began_with_other_threads_are_continued_apart(store: Store) -> None:
    new, *begun = add(store, *(small_spec(seed=seed) for seed in range(4)))
    threads = [1, 2, 2]
    begun = [replace(run, fingerprint={"threads": number}) for run, number in zip(begun, threads, strict=True)]
    assert [[run.id for run in shape.runs] for shape in list_shapes([new, *begun], key)] == [
        [new.id],
        [begun[0].id],
        [begun[1].id, begun[2].id],
    ]
