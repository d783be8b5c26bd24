from collections.abc import Iterator
from pathlib import Path

import pytest

from ncdiag.store.engine import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "test.db"), write=True) as opened:
        yield opened


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Say where a store can be made, beside that of `store`."""
    return str(tmp_path / "own.db")
