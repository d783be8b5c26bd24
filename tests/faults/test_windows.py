"""What a system without POSIX file locks is told, by taking them from Python."""

import pytest
from clihelp import run_ncdiag

WITHOUT_LOCKS = """
import platform, sys
sys.modules["fcntl"] = None
platform.system = lambda: "Windows"
"""
COMMAND = WITHOUT_LOCKS + "from ncdiag.__main__ import main; main()"


@pytest.mark.parametrize("words", [("train", "--dataset", "digits"), ("analyze",)], ids=" ".join)
def test_a_command_says_where_ncdiag_runs(tmp_path, words: tuple[str, ...]):
    done = run_ncdiag(*words, program=COMMAND, cwd=tmp_path)
    assert done.returncode == 7
    assert done.stdout == ""
    assert done.stderr == (
        "ncdiag: error: ncdiag runs on Linux and macOS, whose file locks tell it which runs are being trained; "
        "this is Windows.\nOn Windows, use it inside WSL (wsl --install)\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_help_needs_no_locks(tmp_path):
    assert run_ncdiag("--help", program=COMMAND, cwd=tmp_path).stdout.startswith("Usage: ncdiag")


def test_a_network_of_ones_own_is_measured_without_them(tmp_path):
    assert run_ncdiag(program=WITHOUT_LOCKS + "import ncdiag; ncdiag.measure", cwd=tmp_path).returncode == 0
