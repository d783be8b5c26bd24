from pathlib import Path

import pytest

from ncdiag.run_files import checkpoint_path, list_checkpoints, remove_unfinished, replacing


def test_epochs_are_listed_in_order_and_leftovers_are_not(tmp_path: Path) -> None:
    for epoch in (999_950, 1_000_000, 50):
        checkpoint_path(tmp_path, epoch).touch()
    for other in (".epoch-000300.pt.123.tmp", "epoch-000050.pt.damaged", "lock"):
        (tmp_path / other).touch()
    assert list_checkpoints(tmp_path) == [50, 999_950, 1_000_000]
    assert list_checkpoints(tmp_path / "absent") == []


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content, error in (("first", None), ("second", ValueError), ("third", None)):
        before = path.read_text() if path.exists() else None
        try:
            with replacing(path) as unfinished:
                unfinished.write_text(content)
                assert (path.read_text() if path.exists() else None) == before
                if error:
                    raise error
        except ValueError:
            assert path.read_text() == "first"
        else:
            assert path.read_text() == content
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["epoch-000001.pt", "pending.jsonl"])
def test_what_a_killed_process_had_begun_is_removed(tmp_path: Path, name: str) -> None:
    with replacing(tmp_path / name) as unfinished:
        unfinished.write_text("whole")
    unfinished.write_text("half")  # as a kill would leave it
    remove_unfinished(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [name]
