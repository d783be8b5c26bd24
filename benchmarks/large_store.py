"""How long the first commands take in a store of 100,000 runs: PYTHONPATH=tests python benchmarks/large_store.py"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from large import make_large_store

COMMANDS = (
    ["runs", "ls"],
    ["runs", "ls", "--where", "arch=mlp"],
    ["runs", "show", "run-7"],
    ["predict", "run-3"],
    ["runs", "ls", "--limit", "0", "--format", "csv"],
    ["store", "check"],
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = (100, asked.runs)
        stores = [Path(folder) / f"{runs}.db" for runs in sizes]
        for runs, store in zip(sizes, stores, strict=True):
            make_large_store(store, runs)
        print(f"{'seconds, best of 3':40s}" + "".join(f"{runs:>10,d}" for runs in sizes))
        for command in COMMANDS:
            print(f"ncdiag {' '.join(command):33s}" + "".join(f"{best(command, store):10.2f}" for store in stores))
        tab = {"_NCDIAG_COMPLETE": "complete_bash", "COMP_WORDS": "ncdiag runs show run-9", "COMP_CWORD": "3"}
        print(
            f"{'Tab after ncdiag runs show run-9':40s}" + "".join(f"{best([], store, tab):10.2f}" for store in stores)
        )


def best(command: list[str], store: Path, more: Mapping[str, str] = MappingProxyType({})) -> float:
    """Give the seconds of the fastest of three."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "ncdiag", *command],
            env={**os.environ, **more, "NCDIAG_STORE": str(store)},
            capture_output=True,
            check=False,
        )
        times.append(time.perf_counter() - began)
        assert done.returncode == 0, done.stderr
    return min(times)


if __name__ == "__main__":
    main()
