"""A PostgreSQL server of the tests alone, or the one whose URL is in NCDIAG_TEST_POSTGRES."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


class Server:
    """A PostgreSQL server that listens in a folder, and nowhere else."""

    def __init__(self, folder: Path, binaries: Path, user: str | None) -> None:
        self.folder = folder
        self.binaries = binaries
        self.user = user
        self.url = f"postgresql+psycopg://ncdiag@/postgres?host={folder}"

    def run(self, program: str, *arguments: str) -> None:
        command = [str(self.binaries / program), *arguments]
        done = subprocess.run(command, user=self.user, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self.folder}"
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-l", f"{self.folder}/log", "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "stop")


@contextmanager
def running_server() -> Iterator[Server]:
    """Start a server in a folder of its own, and stop it at the end; skips where its programs or the driver lack."""
    pytest.importorskip("psycopg", reason="needs psycopg, the driver of PostgreSQL")
    found = shutil.which("pg_ctl")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places:
        pytest.skip("needs the programs of a PostgreSQL server (pg_ctl)")
    user = "nobody" if os.getuid() == 0 else None  # the server refuses to run as root
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # pytest's own folders are closed to other users
        folder = Path(name)
        folder.chmod(0o777)
        server = Server(folder, places[-1], user)
        server.run("initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "ncdiag", "-N")
        server.start()
        try:
            yield server
        finally:
            with suppress(AssertionError):
                server.stop()


@contextmanager
def database() -> Iterator[str]:
    """Give the URL of a database that may be wiped."""
    if named := os.environ.get("NCDIAG_TEST_POSTGRES"):
        yield named
        return
    with running_server() as server:
        yield server.url
