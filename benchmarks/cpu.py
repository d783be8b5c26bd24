"""The rows of the table that a CPU fills."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from benchmarks.engine import Training, first, mlp, resnet20
from benchmarks.rival import MLP, Arrays, ResNet20, Script
from benchmarks.timing import Row, compare, in_turn
from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.records import Run
from ncdiag.domain.spec import PhaseSpec, RunSpec
from ncdiag.execution.held import Note
from ncdiag.execution.local import train_all, usable_cores
from ncdiag.execution.worker import TrainingOptions
from ncdiag.store.engine import open_store
from ncdiag.store.sweeps import plan_sweep
from ncdiag.training.datasets import Dataset
from ncdiag.training.events import EpochDone, Event
from ncdiag.training.network import as_it_lies
from ncdiag.training.networks import build_network
from ncdiag.training.optimizers import make_optimizer
from ncdiag.training.reproducibility import batch_order, generator
from ncdiag.training.threads import computing_threads


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is measured, and how often."""

    data: Dataset
    data_dir: Path | None
    rounds: int
    width: int = 512
    small: int = 64


def rows_of_one_run(setting: Setting) -> list[Row]:
    """Compare a run of ncdiag to the usual script: an epoch with all metrics, training alone, metrics alone."""
    times = _epochs(Training([mlp(setting.width)], setting.data.normalised()), _script(setting, setting.width), setting)
    whole, theirs = _whole(times)
    both = [a + b for a, b in zip(times["measure"], times["test"], strict=True)]
    share = statistics.median(b / a for a, b in zip(times["train"], both, strict=True))
    name = f"MLP 784-{setting.width}x3"
    return [
        compare(f"{name}, all metrics every epoch", "usual script", whole, theirs, at_least=8),
        compare(f"{name}, training alone", "DataLoader script", times["train"], times["their train"], at_least=4.5),
        compare(
            "metrics of the training set",
            "two loader passes, d x d",
            times["measure"],
            times["their measure"],
            at_least=15,
        ),
        Row(
            work="metrics of training and test set, as a share of training",
            against="-",
            goal="<= 0.4",
            seconds=statistics.median(both),
            ratio=share,
            met=share <= 0.4,
        ),
    ]


def _epochs(ours: Training, script: Script, setting: Setting) -> dict[str, list[float]]:
    """Give the seconds of the parts of an epoch, ours and the script's."""
    ways: dict[str, Callable[[], None]] = {
        "train": ours.train_epoch,
        "measure": ours.measure,
        "test": ours.test,
        "their train": script.train_epoch,
        "their measure": script.measure,
        "their test": script.test,
    }
    return in_turn(ways, setting.rounds)


def _whole(times: dict[str, list[float]]) -> tuple[list[float], list[float]]:
    """Give the seconds of whole epochs, ours and the script's."""
    parts = ("train", "measure", "test")
    ours, theirs = (list(zip(*(times[f"{who}{part}"] for part in parts), strict=True)) for who in ("", "their "))
    return [sum(seconds) for seconds in ours], [sum(seconds) for seconds in theirs]


def _script(setting: Setting, width: int) -> Script:
    train, test = _arrays(setting.data)
    return Script(train, test, model=MLP(3, width), batch_size=128)


def _arrays(data: Dataset) -> tuple[Arrays, Arrays]:
    """Give the images and labels for training and for testing, as the script reads them."""
    return (
        (data.train_images[:, 0].numpy(), data.train_labels.numpy()),
        (data.test_images[:, 0].numpy(), data.test_labels.numpy()),
    )


def row_of_overhead(setting: Setting) -> list[Row]:
    """Compare one member's epoch to a loop over the same kernels with nothing around it, and to PyTorch as taught."""
    data = setting.data.normalised()
    spec = mlp(setting.width)
    ours = Training([spec], data)
    bare, taught = (_network(spec, data) for _ in range(2))
    weights = list(bare.parameters())
    update = make_optimizer(spec.optimizer, [as_it_lies(w) for w in weights])
    update.rate.fill_(1e-3)
    optimizer = torch.optim.Adam(taught.parameters(), lr=1e-3, weight_decay=1e-4)
    order = batch_order(0, 1, len(data.train_labels))

    def bare_loop() -> None:
        for index in order.split(128):
            x, y = data.train_images.index_select(0, index).flatten(1), data.train_labels[index]
            *hidden, (weight, bias) = zip(weights[::2], weights[1::2], strict=True)
            for w, b in hidden:
                x = functional.linear(x, w, b).relu_()
            loss = functional.cross_entropy(functional.linear(x, weight, bias), y)
            gradients = torch.autograd.grad(loss, weights)
            update.step([as_it_lies(w.detach()) for w in weights], [as_it_lies(g) for g in gradients])

    def plain_loop() -> None:
        for index in order.split(128):
            loss = functional.cross_entropy(taught(data.train_images[index]), data.train_labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    times = in_turn({"ours": ours.train_epoch, "bare": bare_loop, "plain": plain_loop}, setting.rounds)
    ratios = [a / b for a, b in zip(times["ours"], times["bare"], strict=True)]
    overhead = statistics.median(ratios)
    return [
        Row(
            work="one member of the engine",
            against="bare loop, same kernels",
            goal="<= 1.05",
            seconds=statistics.median(times["ours"]),
            other=statistics.median(times["bare"]),
            ratio=overhead,
            spread=(min(ratios), max(ratios)),
            met=overhead <= 1.05,
        ),
        compare("the same", "plain PyTorch, resident tensors", times["ours"], times["plain"], at_least=1),
    ]


def _network(spec: RunSpec, data: Dataset):  # type: ignore[no-untyped-def]
    return build_network(spec.network, input_shape=data.input_shape, num_classes=10, generator=generator(0, "weights"))


def row_of_grouping(setting: Setting) -> list[Row]:
    """Compare small networks that take their steps together to one, on one thread as in a sweep."""
    data = setting.data.normalised()
    specs = [mlp(setting.small, seed=seed) for seed in range(8)]
    together, alone = Training(specs, data), Training(specs[:1], data)
    with computing_threads(1):
        times = in_turn({"together": together.train_epoch, "alone": alone.train_epoch}, setting.rounds)
    each = [seconds / len(specs) for seconds in times["together"]]
    name = f"steps of 8 together, width {setting.small}, per network"
    return [compare(name, "alone", each, times["alone"], at_least=1.2)]


def rows_of_resnet(setting: Setting) -> list[Row]:
    """Compare ResNet-20 to the usual script, channels first, and its steps in both memory layouts."""
    data = first(setting.data, train=2048, test=512)
    spec = complete_spec({"arch": "resnet20", "dataset": "mnist", "batch_size": 128})
    train, test = _arrays(data)
    script = Script(train, test, model=ResNet20(), batch_size=128)
    whole, theirs = _whole(_epochs(Training([spec], data.normalised()), script, setting))
    name = f"ResNet-20, {len(data.train_labels):,} images, all metrics every epoch"
    return [compare(name, "usual script, channels first", whole, theirs, at_least=1.4), _row_of_layout(setting)]


def _row_of_layout(setting: Setting) -> Row:
    spec, data = resnet20()
    last, first = Training([spec], data), Training([spec], data, layout=torch.contiguous_format)
    times = in_turn({"ours": last.train_epoch, "first": first.train_epoch}, setting.rounds)
    return compare("ResNet-20, two steps", "channels first", times["ours"], times["first"], at_least=1.4)


def rows_of_sweeps(setting: Setting) -> list[Row]:
    """Compare a sweep of 8 small networks to the usual script, and two workers to one, on the real MNIST."""
    if setting.data.name == "made up":
        print("no MNIST at hand: the sweeps are left out; --data-dir says where it lies")
        return []
    script = _script(setting, setting.small)

    def usual() -> None:
        script.train_epoch()
        script.measure()
        script.test()

    cores = usable_cores()
    small = [mlp(setting.small, seed=seed) for seed in range(8)]
    wide = [mlp(setting.width, seed=seed) for seed in range(2)]
    times = in_turn(
        {
            "ours": lambda: _sweep(setting, small, jobs=cores),
            "theirs": usual,
            "two": lambda: _sweep(setting, wide, jobs=2),
            "one": lambda: _sweep(setting, wide, jobs=1),
        },
        setting.rounds,
    )
    return [
        compare(
            f"sweep of 8 seeds, width {setting.small}, {cores} workers, per model",
            "usual script one by one",
            times["ours"],
            times["theirs"],
            at_least=35,
        ),
        compare(f"two workers, width {setting.width}", "one worker", times["two"], times["one"], at_least=1),
    ]


def _sweep(setting: Setting, specs: list[RunSpec], *, jobs: int, epochs: int = 4) -> float:
    """Give the seconds of an epoch of one run in a sweep, its rows stored, without the start of the processes."""
    phases = (PhaseSpec(loss="ce", epochs=epochs),)
    samples = len(setting.data.train_labels)
    size = None if samples == 60_000 else samples // 10 * 10
    specs = [
        complete_spec(
            {
                "depth": spec.network.depth,
                "width": spec.network.width,
                "batch_size": spec.batch_size,
                "phases": phases,
                "dataset": "mnist",
                "train_size": size,
                "seed": spec.seed,
            }
        )
        for spec in specs
    ]
    seen: dict[int, list[float]] = {}

    def listen(run: Run, event: Event | Note) -> None:
        if isinstance(event, EpochDone):
            seen.setdefault(run.id, []).append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        with open_store(f"{folder}/bench.db", write=True) as store:
            runs = plan_sweep(store, specs=specs)
        options = TrainingOptions(device="cpu", data_dir=setting.data_dir)
        outcomes = train_all(f"{folder}/bench.db", runs, options, jobs=jobs, listen=listen)
    failed = [outcome.error for outcome in outcomes if outcome.error]
    if failed:
        raise SystemExit(f"a run of the sweep failed: {failed[0]}")
    if jobs == 1:  # one after another
        return sum(at[-1] - at[0] for at in seen.values()) / len(seen) / (epochs - 1)
    begun = max(at[0] for at in seen.values())
    later = [at for times in seen.values() for at in times if at > begun]
    return (max(later) - begun) / len(later)
