"""What lower precision of training's products does to fn and NC1: `python benchmarks/precision.py`, about two minutes.

Five seeds of the quickstart's MLP under one weight decay, trained in float32, in `--precision bf16`, and with the
operands of every product, forward and backward, rounded to the 11 significant bits of TF32 and multiplied in float32.
That is what an NVIDIA tensor core does, so its effect shows on a processor too; its order of summation does not.

Prints mean and standard deviation over the seeds.
"""

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

_FIGURES = {"feature_norm": "feature norm at the end", "nc1": "NC1 at the end", "fn_star": "feature norm at onset"}


def main() -> None:
    print(f"| {'precision':<15} | {' | '.join(_FIGURES.values())} |")
    for name, options in (("float32", []), ("bf16", ["--precision", "bf16"])):
        report(name, train(options))
    local.group_size = lambda *_: 1  # a network alone computes by the layers of its module
    torch.nn.functional.linear = linear
    report("tf32, simulated", train([]))


def linear(x: Tensor, w: Tensor, bias: Tensor) -> Tensor:
    """Round in training alone: whatever the precision, a network is measured in float32."""
    return RoundedProduct.apply(x, w, bias) if torch.is_grad_enabled() else torch.addmm(bias, x, w.T)


class RoundedProduct(torch.autograd.Function):
    """x @ w.T + bias, with all three products of a layer on rounded operands."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor) -> Tensor:
        x, w = rounded(x), rounded(w)
        ctx.save_for_backward(x, w)
        return torch.addmm(bias, x, w.T)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, w = ctx.saved_tensors
        g = rounded(gradient)
        return g @ w, g.T @ x, gradient.sum(0)


def rounded(x: Tensor) -> Tensor:
    """Round to the nearest number of 11 significant bits, ties to even: the 13 lowest bits of a float32 become 0."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def train(options: list[str]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        line = ["sweep", "--preset", "quickstart", "--weight-decay", "1.5e-4", "--seed", "0:5", "--jobs", "1"]
        done = CliRunner().invoke(app, [*line, *options, "--format", "json", "--store", f"{folder}/precision.db"])
    if done.exit_code:
        sys.exit(done.output)
    return json.loads(done.stdout)["runs"]


def report(name: str, runs: list[dict[str, Any]]) -> None:
    cells = []
    for key in _FIGURES:
        values = [run[key] for run in runs if run[key] is not None]
        cells.append(f"{statistics.mean(values):.4g} +- {statistics.stdev(values):.2g} ({len(values)})")
    print(f"| {name:<15} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
