import pickle
from pathlib import Path

import torch

from ncdiag.training.datasets import Dataset
from ncdiag.training.shared import share


def test_what_is_shared_is_the_same_data_set(digits: Dataset, tmp_path: Path) -> None:
    shared = pickle.loads(pickle.dumps(share(digits.normalised(), tmp_path / "digits")))  # as it reaches a worker
    data = shared.open()
    assert (data.class_names, data.sizes, data.sha256) == (digits.class_names, digits.sizes, digits.sha256)
    index = torch.tensor([[3, 1], [7, 3]])
    assert torch.equal(data.train_inputs(index), digits.train_inputs(index))
    assert torch.equal(data.train_labels, digits.train_labels)
    assert torch.equal(data.test_inputs(slice(0, 9)), digits.test_inputs(slice(0, 9)))


def test_opening_maps_the_files_and_never_changes_them(digits: Dataset, tmp_path: Path) -> None:
    shared = share(digits, tmp_path / "digits")
    before = (tmp_path / "digits" / "train_images.npy").read_bytes()
    data = shared.open()
    data.train_images.zero_()
    assert (tmp_path / "digits" / "train_images.npy").read_bytes() == before
    assert torch.equal(shared.open().train_images, digits.train_images)
