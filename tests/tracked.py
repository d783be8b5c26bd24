"""Runs that are tracked, ended and looked at."""

from typing import Any

import pytest

import ncdiag
from ncdiag.domain.records import EpochRecord, Run
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.runs import get_run


def stored(url: str, name: str) -> tuple[Run, list[EpochRecord]]:
    with open_store(url) as store:
        run = get_run(store, name)
        return run, list_epochs(store, run.id)


def ends_by(error: BaseException, url: str, epochs: int = 1, **said: Any) -> None:
    with ncdiag.track("mine", store=url, **said) as run:
        for epoch in range(1, epochs + 1):
            run.log(epoch, nc1=1.0 / epoch, loss="ce")
        raise error


def interrupted(url: str, **said: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        ends_by(KeyboardInterrupt(), url, epochs=4, **said)


def enter(*names: str, **given: Any) -> None:
    with ncdiag.track(*names, **given):
        pass
