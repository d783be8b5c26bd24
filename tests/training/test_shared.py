import multiprocessing
import os
import pickle
import weakref
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from ncdiag.training.datasets import Dataset
from ncdiag.training.shared import SharedDataset, share


def test_what_is_shared_is_the_same_data_set(digits: Dataset) -> None:
    with share(digits.normalised()) as shared:
        data = shared.open()
    assert (data.class_names, data.sizes, data.sha256) == (digits.class_names, digits.sizes, digits.sha256)
    index = torch.tensor([[3, 1], [7, 3]])
    assert torch.equal(data.train_inputs(index), digits.train_inputs(index))
    assert torch.equal(data.train_labels, digits.train_labels)
    assert torch.equal(data.test_inputs(slice(0, 9)), digits.test_inputs(slice(0, 9)))


def test_what_is_shared_begins_where_a_tensor_of_torch_would(digits: Dataset) -> None:
    odd = replace(digits, train_images=digits.train_images[:, :, :7, :7].contiguous())  # 9,800 bytes
    with share(odd) as shared:
        data = shared.open()
    assert {value.data_ptr() % 64 for value in vars(data).values() if isinstance(value, torch.Tensor)} == {0}


def test_the_tensors_that_the_file_has_are_not_kept(digits: Dataset) -> None:
    copies: list[weakref.ref[torch.Tensor]] = []

    def fresh() -> Dataset:
        images = digits.train_images.clone()
        copies.append(weakref.ref(images))
        return replace(digits, train_images=images)

    with share(fresh()) as shared:
        assert copies[0]() is None
        assert torch.equal(shared.open().train_images, digits.train_images)


def total(shared: SharedDataset, pipe: Connection) -> None:
    data = shared.open()
    pipe.send([int(part.sum()) for part in (data.train_images, data.train_labels, data.test_images, data.test_labels)])


@pytest.mark.slow
def test_a_process_that_is_spawned_gets_the_data(digits: Dataset) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with share(digits) as shared:
        process = context.Process(target=total, args=(shared, theirs))
        process.start()
    process.join()
    parts = digits.train_images, digits.train_labels, digits.test_images, digits.test_labels
    assert ours.recv() == [int(part.sum()) for part in parts]


def test_opening_maps_the_file_and_never_changes_it(digits: Dataset) -> None:
    with share(digits) as shared:
        shared.open().train_images.zero_()
        assert torch.equal(shared.open().train_images, digits.train_images)


def test_the_file_has_no_name_that_could_be_left_behind(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with share(digits) as shared:
        assert os.fstat(shared.fd).st_size > digits.train_images.nbytes
        assert os.fstat(shared.fd).st_nlink == 0
        assert list(tmp_path.iterdir()) == []


def test_it_is_small_enough_to_be_sent(digits: Dataset) -> None:
    with share(digits) as shared:
        assert len(pickle.dumps((shared.places, shared.rest))) < 2000
