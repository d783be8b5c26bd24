from pathlib import Path

import pytest

from ncdiag.store import engine
from ncdiag.store.engine import open_store
from ncdiag.store.mounts import find_network_type

MOUNTS = r"""
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/sdb1 /home/scratch xfs rw 0 0
//nas/share /mnt/my\040share cifs rw 0 0
tmpfs /homework tmpfs rw 0 0
me@host: /home/me/remote fuse.sshfs rw 0 0
server:/work /work nfs rw 0 0
overlay /work overlay rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/data/ncdiag.db", None),
        ("/home/me/ncdiag.db", "nfs4"),
        ("/home/scratch/ncdiag.db", None),
        ("/homework/ncdiag.db", None),
        ("/mnt/my share/ncdiag.db", "cifs"),
        ("/home/me/remote/a/ncdiag.db", "fuse.sshfs"),
        ("/work/ncdiag.db", None),  # the later mount hides the one before
    ],
)
def test_the_nearest_mount_decides(tmp_path, path, expected):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS.lstrip())
    assert find_network_type(Path(path), mounts) == expected


def test_where_nobody_can_tell_nothing_is_said(tmp_path):
    assert find_network_type(tmp_path, tmp_path / "missing") is None
    assert find_network_type(tmp_path / "ncdiag.db") in (None, "9p")  # read as it is on this machine


def test_a_new_store_on_a_network_says_so_once_and_never_keeps_a_write_ahead_log(url, monkeypatch):
    monkeypatch.setattr(engine, "find_network_type", lambda path: "nfs4")
    with open_store(url, write=True) as store:
        (note,) = store.notes
        with store.read() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
    assert "network file system (nfs4)" in note
    assert "postgresql" in note
    with open_store(url, write=True) as store:
        assert store.notes == ()
