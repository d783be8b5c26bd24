"""What the options of a training say of places: the device, and where the data lies."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small import small_spec

from ncdiag.errors import SpecError
from ncdiag.execution.worker import TrainingOptions, data_key, load_data, pick_device
from ncdiag.store.engine import Store
from ncdiag.store.runs import add_run


@pytest.mark.parametrize(
    ("stored", "given", "data_dir", "path"),
    [
        ({}, None, None, None),
        ({"data_dir": "/there"}, None, Path("/there"), None),
        ({"data_dir": "/there"}, Path("/here"), Path("/here"), None),
        ({"path": "/mine.npz"}, Path("/here"), Path("/here"), Path("/mine.npz")),
    ],
)
def test_data_is_looked_for_where_it_was_unless_a_place_is_named(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    stored: dict[str, str],
    given: Path | None,
    data_dir: Path | None,
    path: Path | None,
) -> None:
    run = replace(add_run(store, small_spec())[0], data=stored)
    asked: list[object] = []
    monkeypatch.setattr(
        "ncdiag.execution.worker.load_dataset", lambda spec, **where: asked.extend([where["data_dir"], where["path"]])
    )
    load_data(run, TrainingOptions(data_dir=given))
    assert asked == [data_dir, path]
    assert data_key(run, TrainingOptions(data_dir=given))[-1] == str(path or data_dir)


def test_unknown_device_is_named() -> None:
    with pytest.raises(SpecError, match="warp"):
        pick_device("warp")
    if not torch.cuda.is_available():
        with pytest.raises(SpecError, match="no CUDA device"):
            pick_device("cuda")
        assert pick_device("auto") == torch.device("cpu")


@pytest.mark.parametrize(("count", "said"), [(1, "1 CUDA device"), (2, "2 CUDA devices")])
def test_a_gpu_beyond_those_there_are_is_refused(monkeypatch: pytest.MonkeyPatch, count: int, said: str) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    assert [pick_device(name) for name in ("auto", "cuda", f"cuda:{count - 1}")] == [
        torch.device(name) for name in ("cuda", "cuda", f"cuda:{count - 1}")
    ]
    with pytest.raises(SpecError, match=rf"device 'cuda:{count}' is not here; torch .* sees {said}\. Use"):
        pick_device(f"cuda:{count}")


def test_data_that_another_process_has_loaded_is_not_loaded_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shared:
        def open(self) -> str:
            return "the data"

    monkeypatch.setattr("ncdiag.execution.worker.load_dataset", lambda *args, **where: "loaded anew")
    (one, _), (other, _) = add_run(store, small_spec()), add_run(store, small_spec(train_size=100))
    shared: dict[tuple[str, ...], Any] = {data_key(one, TrainingOptions()): Shared()}
    found: list[Any] = [load_data(run, TrainingOptions(shared=shared)) for run in (one, other)]
    assert found == ["the data", "loaded anew"]
