import os
import pickle
import re
import shutil
import stat
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
import torch

from ncdiag.errors import DataError, StoreError
from ncdiag.run_files import checkpoint_path
from ncdiag.training.checkpoint import (
    FORMAT,
    DamagedCheckpointError,
    load_checkpoint,
    remove_checkpoints,
    save_checkpoint,
    set_aside,
)

STATE = {"epoch": 7, "weights": {"a": torch.arange(6.0).reshape(2, 3)}, "below": 1, "key": "k"}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 7, STATE)
    loaded = load_checkpoint(tmp_path, 7)
    assert torch.equal(loaded["weights"]["a"], STATE["weights"]["a"])
    assert (loaded["epoch"], loaded["below"], loaded["key"]) == (7, 1, "k")


def test_a_checkpoint_is_on_the_disk_before_it_takes_its_place_and_then_so_is_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, bool]] = []

    def sync(number: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(number).st_mode), checkpoint_path(tmp_path, 7).exists()))

    monkeypatch.setattr(os, "fsync", sync)
    save_checkpoint(tmp_path, 7, STATE)
    assert synced == [(False, False), (True, True)]


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    victim = tmp_path / "touched"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {victim}",)

    torch.save({"format": 1, "weights": Evil()}, checkpoint_path(tmp_path, 1))
    with pytest.raises(DataError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path, 1)
    assert not victim.exists()
    pickle.loads(pickle.dumps(Evil()))  # the proof can fail: loaded without care, it does run
    assert victim.exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 cut short"])
def test_damage_is_named(tmp_path: Path, content: bytes) -> None:
    checkpoint_path(tmp_path, 1).write_bytes(content)
    with pytest.raises(DataError, match="epoch-000001"):
        load_checkpoint(tmp_path, 1)


@pytest.mark.parametrize("place", [0, -1])
def test_a_file_with_one_compressed_part_is_damage(tmp_path: Path, place: int) -> None:
    path = save_checkpoint(tmp_path, 7, STATE)
    with zipfile.ZipFile(path) as archive:
        parts = {member.filename: archive.read(member) for member in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content, zipfile.ZIP_DEFLATED if name == list(parts)[place] else zipfile.ZIP_STORED)
    with pytest.raises(DamagedCheckpointError, match="compressed parts"):
        load_checkpoint(tmp_path, 7)


def test_a_file_that_is_none_of_a_run_is_damage_and_one_of_another_format_is_not(tmp_path: Path) -> None:
    for epoch, content in ((1, {"weights": torch.ones(3)}), (2, torch.ones(3)), (3, {**STATE, "format": 1})):
        torch.save(content, checkpoint_path(tmp_path, epoch))
    for epoch in (1, 2):
        with pytest.raises(DamagedCheckpointError, match="is no checkpoint of a run"):
            load_checkpoint(tmp_path, epoch)
    with pytest.raises(DataError, match=rf"format 1; this ncdiag reads {FORMAT}\. Update ncdiag") as error:
        load_checkpoint(tmp_path, 3)
    assert not isinstance(error.value, DamagedCheckpointError)  # which would be set aside


def test_a_file_that_cannot_be_moved_or_removed_is_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, STATE)
    for in_the_way in ("epoch-000001.pt.damaged", "epoch-000002.pt"):
        (tmp_path / in_the_way).mkdir()
    with pytest.raises(StoreError, match=r"cannot rename the damaged checkpoint .*epoch-000001\.pt"):
        set_aside(tmp_path, 1)
    with pytest.raises(StoreError, match=r"cannot remove the outdated checkpoint .*epoch-000002\.pt"):
        remove_checkpoints(tmp_path, [1, 2])
    assert not checkpoint_path(tmp_path, 1).exists()


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (MemoryError(), MemoryError, "^$"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), RuntimeError, "allocate"),
        (AssertionError(), DamagedCheckpointError, "is not a readable checkpoint: AssertionError$"),
        (ValueError("a\nb"), DamagedCheckpointError, "is not a readable checkpoint: a$"),
    ],
)
def test_too_little_memory_to_load_it_is_no_damage_and_any_other_error_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception], said: str
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    save_checkpoint(tmp_path, 7, STATE)
    monkeypatch.setattr("torch.load", fail)
    with pytest.raises(expected, match=said):
        load_checkpoint(tmp_path, 7)


def test_full_disk_leaves_the_earlier_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    # a limit on the size of files is what a full disk looks like, without being root
    script = f"""
        import resource, signal, torch
        from pathlib import Path
        from ncdiag.training.checkpoint import save_checkpoint
        from ncdiag.errors import StoreError
        folder = Path({str(tmp_path)!r})
        save_checkpoint(folder, 1, {{"w": torch.zeros(10)}})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            save_checkpoint(folder, 1, {{"w": torch.ones(900_000), "moments": {{"m": [torch.ones(2, 50_000)]}}}})
        except StoreError as error:
            print("refused", error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    refused, sizes, _ = done.stdout.splitlines()
    assert refused.startswith(f"refused cannot write the checkpoint {tmp_path / 'epoch-000001.pt'}: ")
    free = re.match(r"It takes 4\.0 MB, and ([0-9.]+) MB are free there", sizes)
    assert free is not None
    assert float(free[1]) == pytest.approx(shutil.disk_usage(tmp_path).free / 1e6, rel=0.2)
    assert [p.name for p in tmp_path.iterdir()] == ["epoch-000001.pt"]
    assert torch.equal(load_checkpoint(tmp_path, 1)["w"], torch.zeros(10))


def test_unwritable_folder_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write"):
        save_checkpoint(tmp_path / "file", 1, STATE)
