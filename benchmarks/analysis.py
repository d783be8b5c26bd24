"""How long `ncdiag analyze` takes on a large store, and how much memory: `python benchmarks/analysis.py`.

Makes a store of 10,000 runs with 400 epochs each (`--runs`, `--epochs`, `--pairs`), 4 million rows, in bulk: runs of
four depths, five weight decays and many seeds, whose feature norm and NC1 fall on one clock with noise, one in ten of
which never collapses. Then asks each question in a process of its own, and prints its wall time and peak memory, with
the size of a pair. `--keep` leaves the store where it says; a store that is there already is used as it is.
"""

import argparse
import itertools
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ncdiag.domain.records import EPOCH_COLUMNS
from ncdiag.store.engine import open_store

QUESTIONS = ("claims", "threshold", "lead", "attractor", "additivity", "depth", "weight-decay", "")
DATASETS = ("mnist", "fashion_mnist", "cifar10", "digits")
ARCHS = ("mlp", "cnn", "resnet20", "vit", "mixer")
DEPTHS, DECAYS = (2, 3, 5, 7), (1e-5, 5e-5, 1e-4, 5e-4, 1e-3)
MEASURED = (
    *("train_loss", "feature_norm", "nc1", "nc1_pinv", "cdnv", "nc2_equinorm", "nc2_equiangular", "nc2_etf"),
    *("nc3", "nc3_duality", "weight_norm", "feature_norm_centred"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=20, choices=range(1, 21), metavar="1..20")
    parser.add_argument("--questions", default=",".join(QUESTIONS), help="an empty one is the summary of all")
    parser.add_argument("--keep", type=Path, help="where to make the store, or to find it")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = said.keep or Path(folder) / "bench.db"
        if not path.exists():
            start = time.perf_counter()
            make_store(path, runs=said.runs, epochs=said.epochs, pairs=said.pairs)
            print(f"{said.runs:,} runs x {said.epochs} epochs in {said.pairs} pairs: ", end="")
            print(f"{path.stat().st_size / 1e6:,.0f} MB, made in {time.perf_counter() - start:.0f} s\n")
        print(f"{'question':<14}{'seconds':>8}{'of CPU':>8}{'peak MB':>9}")
        for question in said.questions.split(","):
            seconds, busy, peak = ask(path, question)
            print(f"{question or '(all of them)':<14}{seconds:>8.1f}{busy:>8.1f}{peak:>9,.0f}", flush=True)


def ask(path: Path, question: str) -> tuple[float, float, float]:
    """Give the wall time of a question and the processor time of its process, in seconds, and its peak memory in MB."""
    words = [sys.executable, "-m", "ncdiag", "analyze", *([question] if question else []), "--format", "json"]
    code = (
        "import resource, subprocess, sys; "
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss); sys.exit(done.returncode)"
    )
    command = [sys.executable, "-c", code, *words, "--store", str(path)]
    start = time.perf_counter()
    child = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True
    )
    busy, peak = map(float, child.stdout.split())
    return time.perf_counter() - start, busy, peak / (1e6 if sys.platform == "darwin" else 1e3)


def make_store(path: Path, *, runs: int, epochs: int, pairs: int) -> None:
    """Make a store of runs that are done; written with sqlite3 itself, since `import` checks every row."""
    with open_store(str(path), write=True):
        pass
    generator = np.random.default_rng(0)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    cells = list(itertools.product(ARCHS, DATASETS))[:pairs]
    conditions = list(itertools.product(DEPTHS, DECAYS))
    for number in range(1, runs + 1):
        place = number - 1
        arch, dataset = cells[place % pairs]
        depth, decay = conditions[place // pairs % len(conditions)]
        seed = place // (pairs * len(conditions))
        insert(connection, "runs", about(number, arch, dataset, depth, decay, seed, epochs))
        speed = np.exp(0.1 * depth / 7 + generator.normal(0, 0.15))
        rows = trajectory(generator, number, epochs, speed if place % 10 else 0.2)
        connection.executemany(f"INSERT INTO epochs ({', '.join(NAMES)}) VALUES ({', '.join('?' * len(NAMES))})", rows)
    connection.commit()
    connection.close()


NAMES = ("run_id", "epoch", "phase", "loss", "lr", "train_accuracy", *MEASURED)


def trajectory(generator: np.random.Generator, run: int, epochs: int, speed: float) -> list[tuple[object, ...]]:
    """Give the rows of a run: every observable falls by its own power of NC1, with noise of its own."""
    t = np.arange(1, epochs + 1)
    log_nc1 = 1.0 - 8.0 * t * speed / epochs
    powers = np.linspace(0.2, 1.0, len(MEASURED))
    powers[MEASURED.index("nc1")] = 1.0
    values = np.exp(powers[:, None] * log_nc1 + generator.normal(0, 0.03, (len(MEASURED), epochs)))
    phase = (1 + (t > epochs // 4)).tolist()
    loss = ["ce" if p == 1 else "mse" for p in phase]
    rows = zip(
        itertools.repeat(run),
        t.tolist(),
        phase,
        loss,
        itertools.repeat(1e-3),
        itertools.repeat(1.0),
        *values.tolist(),
        strict=False,
    )
    return list(rows)


def about(number: int, arch: str, dataset: str, depth: int, decay: float, seed: int, epochs: int) -> dict[str, object]:
    return {
        "id": number,
        "name": f"run-{number}",
        "key": f"{number:064x}",
        "origin": "imported",
        "status": "done",
        "arch": arch,
        "dataset": dataset,
        "depth": depth,
        "width": 512.0,
        "activation": "relu",
        "weight_decay": decay,
        "seed": seed,
        "phases": f"ce:{epochs // 4},mse:{epochs - epochs // 4}",
        "epochs_done": epochs,
        "seconds": 0.0,
        **dict.fromkeys(("config", "data", "environment", "fingerprint"), "{}"),
        "inexact": 0,
        "created_at": "2026-01-01 00:00:00.000000",
    }


def insert(connection: sqlite3.Connection, table: str, row: dict[str, object]) -> None:
    connection.execute(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values())
    )


assert set(NAMES) <= {"run_id", *EPOCH_COLUMNS}

if __name__ == "__main__":
    main()
