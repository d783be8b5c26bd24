import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from clihelp import PYTHON, ROOT, Start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ncdiag in a process group of its own, and come back when it trains, or has said what `until` is."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, until: str = "epoch ") -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [PYTHON, "-m", "ncdiag", *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        started.append(process)
        assert process.stderr is not None
        said = iter(process.stderr.readline, "")
        assert any(until in line for line in said), "it ended before it trained"
        return process

    yield begin
    for process in started:
        with suppress(ProcessLookupError):  # what it started may have outlived it
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
