"""Measure ncdiag against the usual ways, and write the tables that docs/performance.md shows.

    python -m benchmarks --data-dir DIR            CPU, about ten minutes on two cores
    python -m benchmarks --samples 3000 --rounds 1 a try, under a minute
    python -m benchmarks --gpu --data-dir DIR      GPU, under nine minutes

Every row compares ways that take turns within one run: medians of the rounds, and ratios round by round. Run it on a
machine that does nothing else.
"""

import argparse
import platform
import time
from pathlib import Path

import torch

from benchmarks.breakdown import HEADINGS as PARTS
from benchmarks.breakdown import profile, rates
from benchmarks.cpu import (
    Setting,
    row_of_grouping,
    row_of_overhead,
    rows_of_one_run,
    rows_of_resnet,
    rows_of_sweeps,
)
from benchmarks.engine import first, mnist
from benchmarks.timing import HEADINGS, table
from ncdiag.execution.local import usable_cores
from ncdiag.training.memory import keep_freed_memory
from ncdiag.training.products import pick_products, products_in_use, using_products
from ncdiag.training.reproducibility import device_name, flushed_denormals

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="where MNIST lies")
    parser.add_argument("--rounds", type=int, default=3, help="times that every way is measured (default: 3)")
    parser.add_argument("--samples", type=int, default=60_000, help="training images (default: 60000)")
    parser.add_argument("--gpu", action="store_true", help="fill the rows of a GPU")
    parser.add_argument("--minutes", type=float, default=8, help="when --gpu stops what still trains (default: 8)")
    parser.add_argument("--precision", default="float32", help="of the presets that --gpu trains (default: float32)")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    said = parser.parse_args()
    if said.gpu:
        _measure_gpu(said)
    else:
        _measure_cpu(said)


def _measure_cpu(said: argparse.Namespace) -> None:
    with flushed_denormals(), using_products(pick_products()):
        keep_freed_memory()
        data = first(mnist(said.data_dir), train=said.samples, test=10_000)
        setting = Setting(data=data, data_dir=said.data_dir, rounds=said.rounds)
        rows = []
        for part in (rows_of_one_run, row_of_overhead, row_of_grouping, rows_of_resnet, rows_of_sweeps):
            for row in part(setting):
                print("; ".join(row.cells()), flush=True)
                rows.append(row)
        speeds = rates()
        profiled = profile(setting, speeds[products_in_use()])
    where = (
        f"{device_name(torch.device('cpu'))}, {usable_cores()} cores, {platform.system()}, torch {torch.__version__}, "
        f"products by {pick_products()};\n"
        f"{data.name}, {len(data.train_labels):,} images, medians of {said.rounds} rounds."
    )
    parts = [where, table(HEADINGS, [row.cells() for row in rows])]
    fast = ", ".join(f"{rate / 1e9:.0f} by {library}" for library, rate in speeds.items())
    parts += [
        f"Where an epoch goes, on one thread, where products of a thousand rows and columns run at {fast} (GFLOP/s):",
        table(PARTS, profiled),
    ]
    _finish("cpu", parts, write=said.write)


def _measure_gpu(said: argparse.Namespace) -> None:
    if not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here; without --gpu the CPU is measured")
    from benchmarks import gpu

    deadline = time.perf_counter() + 60 * said.minutes
    rows = []
    setting = gpu.Setting(data_dir=said.data_dir, rounds=said.rounds, deadline=deadline, precision=said.precision)
    for row in gpu.rows(setting):
        print("; ".join(row.cells()), flush=True)
        rows.append(row)
    where = f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}."
    _finish("gpu", [where, table(HEADINGS, [row.cells() for row in rows])], write=said.write)


def _finish(name: str, parts: list[str], *, write: bool) -> None:
    text = "\n\n".join(parts)
    print(f"\n{text}")
    if write:
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
