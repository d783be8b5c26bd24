from dataclasses import replace
from typing import Any

import pytest
import torch
from small import small_spec

from ncdiag.domain.records import Run
from ncdiag.domain.spec import RunSpec
from ncdiag.execution.grouping import MOST, Part, cut, list_devices, list_shapes, pack, size_on_gpu
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
    found = cut(shape, size, parts=parts)
    assert [len(part.runs) for part in found] == expected
    assert [run.id for part in found for run in part.runs] == [run.id for run in shape.runs]
    assert {part.share for part in found} == {1.0}
    beside = cut(shape, size, parts=parts, beside_others=True)
    assert [part.share for part in beside] == [number / size for number in expected]


@pytest.mark.parametrize(("optimizer", "copies"), [("adam", 10), ("sgd", 7)])
def test_a_group_fits_into_the_memory_of_the_gpu(optimizer: str, copies: int) -> None:
    spec = small_spec(depth=3, width=512, batch_size=128, optimizer=optimizer)
    network = build_network(spec.network, input_shape=(1, 28, 28), num_classes=10, generator=generator(0, "weights"))
    parameters = sum(p.numel() for p in network.parameters())
    member = 4 * (copies * parameters + 128 * (784 + 3 * 3 * 512)) + 2 * 8 * 60_000
    features = 3 * 4 * 60_000 * 512  # of the three that are measured at once
    sizes = {"n_train": 60_000, "n_test": 10_000, "num_classes": 10}

    def size(free_bytes: float) -> int:
        return size_on_gpu(spec, (1, 28, 28), sizes, free_bytes=int(free_bytes))

    assert size((features + 10.001 * member) / 0.8) == 10
    assert size((features + 9.999 * member) / 0.8) == 9
    assert size(0) == 1
    assert size(1e15) < 1000  # each of them holds a file open, of which a process may have 1,024
    part = replace(spec, metric_samples=6000, test_samples=1000)  # of which each member has a copy
    for members, expected in ((10.001, 10), (9.999, 9)):
        free_bytes = int((features + members * (member + 7000 * 784)) / 0.8)
        assert size_on_gpu(part, (1, 28, 28), sizes, free_bytes=free_bytes) == expected


def test_a_batch_takes_no_more_memory_than_all_images_do() -> None:
    sizes = {"n_train": 200, "n_test": 100, "num_classes": 10}
    found = {
        size_on_gpu(small_spec(batch_size=size), (1, 28, 28), sizes, free_bytes=2**28) for size in (200, 10_000_000)
    }
    assert len(found) == 1
    assert found != {1}


@pytest.mark.parametrize(
    ("shares", "least", "expected"),
    [
        ([0.1] * 10, 1, [10]),  # a sum of ten tenths is not above 1
        ([0.4, 0.5, 0.2], 1, [[1], [0, 2]]),
        ([0.1] * 5, 2, [[0, 2, 4], [1, 3]]),
        ([0.1] * 2, 4, [[0], [1]]),
        ([1.0, 0.3, 1.0, 0.3], 1, [[0], [2], [1, 3]]),
        ([1.0, 0.3, 1.0, 0.3], 4, [[0], [2], [1], [3]]),
        ([0.6, 0.6, 0.6, 0.4], 1, [[0, 3], [1], [2]]),
        ([1.0, 1.0], 1, [[0], [1]]),
        ([0.01] * 17, 1, [9, 8]),  # no more than sixteen streams
        ([], 1, []),
    ],
)
def test_parts_share_a_device_as_far_as_its_memory_goes(
    store: Store, shares: list[float], least: int, expected: list[Any]
) -> None:
    runs = add(store, *(small_spec(seed=seed) for seed in range(len(shares))))
    groups = pack([Part(runs=[run], share=share) for run, share in zip(runs, shares, strict=True)], least=least)
    if len(shares) >= 10:
        assert [len(group) for group in groups] == expected
    else:
        assert [[runs.index(run) for run in group] for group in groups] == expected


def test_a_group_of_several_parts_holds_no_more_files_open_than_one(store: Store) -> None:
    (run,) = add(store, small_spec())
    groups = pack([Part(runs=[run] * (MOST // 2 + 1), share=0.01) for _ in range(3)], least=1)
    assert [len(group) for group in groups] == [MOST // 2 + 1] * 3


def test_a_sweep_fills_every_gpu_unless_one_is_named() -> None:
    assert list_devices(torch.device("cuda"), 3) == ["cuda:0", "cuda:1", "cuda:2"]
    assert list_devices(torch.device("cuda:1"), 3) == ["cuda:1"]
    assert list_devices(torch.device("cpu"), 0) == ["cpu"]


@pytest.mark.parametrize(("what", "values"), [("threads", [1, 2, 2]), ("products", ["onednn", "default", "default"])])
def test_runs_that_began_with_other_threads_or_products_are_continued_apart(
    store: Store, what: str, values: list[Any]
) -> None:
    new, *begun = add(store, *(small_spec(seed=seed) for seed in range(4)))
    begun = [replace(run, fingerprint={what: value}) for run, value in zip(begun, values, strict=True)]
    assert [[run.id for run in shape.runs] for shape in list_shapes([new, *begun], key)] == [
        [new.id],
        [begun[0].id],
        [begun[1].id, begun[2].id],
    ]
