"""Choices of training and measuring, each against its alternative in the same run: `python benchmarks/kernels.py`.

Denormals: the published MLP (5 x 512, batch 256) in the state that weight decay leaves behind, with the weights into a
third of the hidden units (dead ones) below 1e-38; training steps with denormal numbers kept, and flushed to zero.
Channels last: ResNet-20 on 32 x 32 images, batch 128; training steps with both memory layouts.
Measuring: ResNet-20 on 4,096 such images, in the batch of an MLP and in that of convolutional networks.
Way back: MLPs of 3 hidden layers on 28 x 28 images, batch 128; training steps with autograd's, and written out.
Sums: 1,024 features of 512 units summed by class in float64, by a product with the classes' indicators and by adding
the rows.
ReLU: 4,096 such features from as many inputs, by a linear layer and a ReLU, and by one kernel of oneDNN for both.
Update: Adam on the weights of that MLP, in tensor operations, by torch.optim, and by the kernel behind its `fused`.

Prints CPU seconds of a step or a pass, the median of the rounds with their range, and the ratio of the medians. One
thread.
"""

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from ncdiag.domain.defaults import complete_spec
from ncdiag.training.measure import measuring, sum_by_class
from ncdiag.training.member import EVAL_BATCH, EVAL_BATCH_OF_CONVOLUTIONS
from ncdiag.training.mlp import MLP
from ncdiag.training.network import Network, as_it_lies
from ncdiag.training.networks import build_network
from ncdiag.training.objectives import LOSSES, WITH_GRADIENT
from ncdiag.training.optimizers import make_optimizer
from ncdiag.training.products import linear_relu_kernel, using_products
from ncdiag.training.stack import Alone, OneMLP, Stack, make_stacks
from ncdiag.training.stages import finish

ROUNDS = 7


def main() -> None:
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread, {ROUNDS} rounds\n")
    compare_denormals()
    compare_layouts()
    compare_batches_of_measuring()
    compare_ways_back()
    compare_sums()
    compare_relus()
    compare_updates()


def compare_denormals() -> None:
    network = build("mlp", (1, 28, 28))
    with torch.no_grad():
        for layer in (module for module in network.modules() if isinstance(module, torch.nn.Linear)):
            if layer is not network.head:
                layer.weight[: layer.out_features // 3] *= 1e-38
                layer.bias[: layer.out_features // 3] = -1.0  # dead: no gradient revives the unit
    images = torch.randn(256, 1, 28, 28)
    # a network each: a step that flushes leaves zeros, which cost nothing afterwards
    step_kept, step_flushed = (make_step("mlp", copy.deepcopy(network), images) for _ in range(2))

    def kept() -> None:
        torch.set_flush_denormal(False)
        step_kept()

    def flushed() -> None:
        torch.set_flush_denormal(True)
        step_flushed()

    report("MLP step, dead units: denormals kept", kept, "flushed to zero", flushed)
    torch.set_flush_denormal(True)


def compare_layouts() -> None:
    plain = build("resnet20", (3, 32, 32))
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    images = torch.randn(128, 3, 32, 32)
    report(
        "ResNet-20 step: channels first",
        make_step("resnet20", plain, images),
        "channels last",
        make_step("resnet20", last, images),
    )


def compare_batches_of_measuring() -> None:
    network = build("resnet20", (3, 32, 32)).to(memory_format=torch.channels_last)
    images, labels = torch.randn(EVAL_BATCH, 3, 32, 32), torch.arange(EVAL_BATCH) % 10

    def in_batches(size: int) -> Callable[[], object]:
        batches = list(zip(images.split(size), labels.split(size), strict=True))
        options: Any = {"num_samples": EVAL_BATCH, "num_classes": 10, "loss_of": LOSSES["ce"]}
        return lambda: finish(measuring(network, lambda: batches, **options))

    large, small = EVAL_BATCH, EVAL_BATCH_OF_CONVOLUTIONS
    report(f"ResNet-20 measured in batches of {large}", in_batches(large), f"in batches of {small}", in_batches(small))


def compare_ways_back() -> None:
    images = torch.randn(128, 1, 28, 28)
    for width in (64, 512):
        by_autograd, written_out = (cast(MLP, build("mlp", (1, 28, 28), depth=3, width=width)) for _ in range(2))
        report(
            f"100 MLP steps, width {width}: autograd",
            repeated(step_of("mlp", Alone(by_autograd), images)),
            "written out",
            repeated(step_of("mlp", OneMLP(written_out), images)),
        )


def compare_sums() -> None:
    labels = torch.arange(1024) % 10
    members, rows = (labels[:, None] == torch.arange(10)).double(), torch.randn(1024, 512, dtype=torch.float64)
    report(
        "100 sums by class: a product",
        repeated(lambda: members.T @ rows),
        "adding the rows",
        repeated(lambda: sum_by_class(rows, labels, members)),
    )


@torch.no_grad()
def compare_relus() -> None:
    layer = cast(MLP, build("mlp", (1, 28, 28), depth=3, width=512)).layers[1]
    x = torch.randn(4096, 512)
    with using_products("onednn"):
        if kernel := linear_relu_kernel(x):
            report("Linear layer, then ReLU", lambda: layer(x).relu_(), "by one kernel", lambda: kernel(x, layer))


def compare_updates() -> None:
    network = build("mlp", (1, 28, 28))
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    weights = [parameter.detach() for parameter in network.parameters()]
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    first, second = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
    ours = make_optimizer(complete_spec({"weight_decay": 1e-4}).optimizer, weights)
    ours.rate.fill_(1e-3)
    theirs = torch.optim.Adam(network.parameters(), weight_decay=1e-4, fused=True)

    def in_operations() -> None:
        for weight, gradient, m, v in zip(weights, gradients, first, second, strict=True):
            decayed = gradient.add(weight, alpha=1e-4)
            m.lerp_(decayed, 0.1)
            v.mul_(0.999).addcmul_(decayed, decayed, value=0.001)
            weight.addcdiv_(m, v.sqrt().add_(1e-8), value=-1e-3)

    def by_kernel() -> None:
        ours.step(weights, gradients)

    report("Adam in tensor operations", in_operations, "by the fused kernel", by_kernel)
    report("Adam by torch.optim, fused", theirs.step, "by the kernel itself", by_kernel)


def repeated(way: Callable[[], object]) -> Callable[[], object]:
    return lambda: [way() for _ in range(100)]


def build(arch: str, shape: tuple[int, int, int], **given: Any) -> Network:
    spec = complete_spec({"arch": arch, **given}).network
    return build_network(spec, input_shape=shape, num_classes=10, generator=torch.Generator().manual_seed(0))


def make_step(arch: str, network: Network, images: Tensor) -> Callable[[], None]:
    (stack,) = make_stacks([network])
    return step_of(arch, stack, images)


def step_of(arch: str, stack: Stack, images: Tensor) -> Callable[[], None]:
    labels = torch.arange(len(images)) % 10
    optimizer = make_optimizer(
        complete_spec({"arch": arch, "weight_decay": 0.0}).optimizer,
        [as_it_lies(p) for p in stack.networks[0].parameters()],
    )
    optimizer.rate.fill_(1e-3)
    (weights,) = stack.by_network(stack.parameters)

    def step() -> None:
        logits, backward = stack.forward(images[None])
        _, gradient = WITH_GRADIENT["ce"](logits[0], labels, 1 / len(labels))
        (gradients,) = stack.by_network(backward(gradient[None]))
        optimizer.step(weights, gradients)

    return step


def report(name: str, slow: Callable[[], object], other: str, fast: Callable[[], object]) -> None:
    times: dict[Callable[[], object], list[float]] = {slow: [], fast: []}
    for _ in range(ROUNDS + 1):  # interleaved, and the first round only warms up
        for way, taken in times.items():
            start = time.process_time()
            way()
            taken.append(time.process_time() - start)
    (a, b) = (statistics.median(taken[1:]) for taken in times.values())
    ranges = [f"{min(taken[1:]):.4f} to {max(taken[1:]):.4f}" for taken in times.values()]
    print(f"{name} {a:.4f} s ({ranges[0]}), {other} {b:.4f} s ({ranges[1]}): {a / b:.1f}x")


if __name__ == "__main__":
    main()
