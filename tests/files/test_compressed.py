import gzip
from pathlib import Path

import pytest

from ncdiag.errors import DataError
from ncdiag.files.compressed import pack, read_whole


def test_only_a_file_that_is_called_so_is_unpacked(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"epoch"))
    (tmp_path / "a.csv.gz").write_bytes(pack(b"epoch"))
    assert read_whole(tmp_path / "a.csv").startswith(b"\x1f\x8b")
    assert read_whole(tmp_path / "a.csv.gz") == b"epoch"


def test_the_same_content_gives_the_same_bytes_whenever(monkeypatch: pytest.MonkeyPatch):
    packed = set()
    for now in (1e9, 1.5e9):
        monkeypatch.setattr("time.time", lambda now=now: now)
        packed.add(pack(b"epoch"))
    assert len(packed) == 1


@pytest.mark.parametrize("content", [b"epoch,nc1\n", gzip.compress(b"epoch" * 100)[:-12], b"\x1f\x8b\x08garbage here"])
def test_what_is_no_whole_gzip_file_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "a.csv.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.csv\.gz is called \.gz and is no whole gzip file"):
        read_whole(tmp_path / "a.csv.gz")


def test_a_small_file_that_unpacks_to_too_much_is_refused(tmp_path: Path):
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(bytes(100_000)))
    with pytest.raises(DataError, match="unpacks to more than 99,999 bytes"):
        read_whole(tmp_path / "bomb.csv.gz", largest=99_999)
    assert len(read_whole(tmp_path / "bomb.csv.gz", largest=100_000)) == 100_000
