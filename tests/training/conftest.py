import pytest

from ncdiag.domain.spec import DataSpec
from ncdiag.training.datasets import Dataset, load_dataset


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """Real digits, few enough that an epoch takes milliseconds."""
    return load_dataset(DataSpec(dataset="digits", train_size=200), arch="mlp")
