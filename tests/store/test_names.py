import os
import subprocess
import sys
import time

import pytest

from ncdiag.store.names import complete_run_names
from ncdiag.store.runs import add_run


@pytest.fixture
def named(store, url, make_spec):
    for seed, name in enumerate(["a_b", "axb", "A_c", "mlp.1", "zz"]):
        add_run(store, make_spec(seed=seed), name=name)
    return url


@pytest.mark.parametrize(
    ("prefix", "names"),
    [("a_", ["a_b"]), ("a", ["a_b", "axb"]), ("%", []), ("mlp.", ["mlp.1"]), ("'", []), ("\udcff", []), ("zzz", [])],
)
def test_a_prefix_is_taken_as_it_is(named, prefix, names):
    assert complete_run_names(named, prefix) == names


def test_every_form_of_the_location(named, monkeypatch):
    everything = ["A_c", "a_b", "axb", "mlp.1", "zz"]
    folder, file = os.path.split(named)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", folder)
    for location in (
        named,
        file,
        f"~/{file}",
        f"sqlite:///{named}",
        f"sqlite:///{file}",
        f"sqlite+pysqlite:///{file}?a=b",
    ):
        assert complete_run_names(location, "") == everything, location


def test_at_most_two_hundred(store, url, make_spec):
    from ncdiag.store.sweeps import plan_sweep

    plan_sweep(store, specs=[make_spec(seed=seed) for seed in range(201)])
    assert len(complete_run_names(url, "")) == 200


def test_whatever_is_in_the_way_gives_no_names(tmp_path, named):
    bad = tmp_path / "bad"
    bad.write_bytes(os.urandom(4096))
    (tmp_path / "loop").symlink_to("loop")
    for location in (
        tmp_path / "missing.db",
        tmp_path,
        bad,
        tmp_path / "loop",
        "postgresql://u:p@h/db",
        "sqlite://",
        "a\0b",
        "~nobody-x/y",
    ):
        assert complete_run_names(str(location), "") == []
    assert not (tmp_path / "missing.db").exists()


def test_a_locked_store_does_not_keep_the_shell_waiting(store, named):
    with store.write() as connection:
        connection.exec_driver_sql("PRAGMA locking_mode = EXCLUSIVE")
        connection.exec_driver_sql("PRAGMA cache_spill = 1")
        connection.exec_driver_sql("PRAGMA cache_size = 1")
        connection.exec_driver_sql("UPDATE runs SET reason = hex(randomblob(500000))")
        start = time.monotonic()
        assert complete_run_names(named, "") == []
        assert time.monotonic() - start < 2


def test_completing_loads_the_standard_library_only(named):
    code = (
        "import sys; before = set(sys.modules)\n"
        "from ncdiag.store.names import complete_run_names\n"
        f"assert complete_run_names({named!r}, 'zz') == ['zz']\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - sys.stdlib_module_names == {"ncdiag"}
