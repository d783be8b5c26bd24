"""What a page that follows a store says when its questions cannot be answered."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
from falling import make_falling_store

from ncdiag.analysis.terms import Terms
from ncdiag.cli.live_source import LiveSource
from ncdiag.errors import AnalysisError
from ncdiag.store.engine import open_store


@pytest.fixture
def source(tmp_path: Path) -> Iterator[LiveSource]:
    with open_store(str(make_falling_store(tmp_path / "runs.db"))) as store:
        source = LiveSource(store, Terms(), seconds=0.01)
        yield source
        source.stop()
        source._thread.join()


def until(condition: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def test_whatever_keeps_the_questions_from_being_answered_is_said_and_tried_again(
    source: LiveSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = {
        "no run has the phase 7": AnalysisError("no run has the phase 7"),
        "ZeroDivisionError: by nothing). This is a bug": ZeroDivisionError("by nothing"),
        "Out of memory": MemoryError(),
    }

    def says(text: str) -> bool:
        return text in source.answers()

    with monkeypatch.context() as patched:
        for said, error in errors.items():
            patched.setattr("ncdiag.cli.live_source.gather", Mock(side_effect=error))
            if not source._thread.is_alive():
                source.start()
            until(partial(says, said))
    until(lambda: not any(map(says, errors)))
    assert "The questions are being answered" not in source.answers()
