"""What lower precision of training's products does to fn and NC1: `python benchmarks/precision.py`, about two minutes.

Five seeds of the quickstart's MLP under one weight decay, trained in float32, in `--precision bf16`, and with the
operands of every product, forward and backward, rounded to the 11 significant bits of TF32 and multiplied in float32.
That is what an NVIDIA tensor core does, so its effect shows on a processor too; its order of summation does not. On a
machine with such a GPU it is `--precision tf32` instead.

Prints mean and standard deviation over the seeds.
"""

import argparse
import json
import statistics
import sys
import tempfile
from typing import Any

import torch
from torch import Tensor
from typer.testing import CliRunner

from ncdiag.cli.app import app
from ncdiag.execution import local
from ncdiag.training.stack import OneMLP

_FIGURES = {"feature_norm": "feature norm at the end", "nc1": "NC1 at the end", "fn_star": "feature norm at onset"}


def main() -> None:
    print(f"| {'precision':<15} | {' | '.join(_FIGURES.values())} |")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    options = ["--seed", f"0:{parser.parse_args().seeds}"]
    for precision in ("float32", "bf16", "tf32") if torch.cuda.is_available() else ("float32", "bf16"):
        report(precision, train([*options, "--precision", precision]))
    if not torch.cuda.is_available():
        patched: Any = local, OneMLP
        patched[0].group_size = lambda *_: 1
        patched[1].affine = lambda self, bias, x, weight: torch.addmm(bias, rounded(x), rounded(weight))
        patched[1].product = lambda self, a, b: torch.mm(rounded(a), rounded(b))
        report("tf32, simulated", train(options))


def rounded(x: Tensor) -> Tensor:
    """Round to the nearest number of 11 significant bits, ties to even: the 13 lowest bits of a float32 become 0."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def train(options: list[str]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        line = ["sweep", "--preset", "quickstart", "--weight-decay", "1.5e-4", "--jobs", "1"]
        done = CliRunner().invoke(app, [*line, *options, "--format", "json", "--store", f"{folder}/precision.db"])
    if done.exit_code:
        sys.exit(done.output)
    runs: list[dict[str, Any]] = json.loads(done.stdout)["runs"]
    return runs


def report(name: str, runs: list[dict[str, Any]]) -> None:
    cells = []
    for key in _FIGURES:
        values = [run[key] for run in runs if run[key] is not None]
        cells.append(f"{statistics.mean(values):.4g} +- {statistics.stdev(values):.2g} ({len(values)})")
    print(f"| {name:<15} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
