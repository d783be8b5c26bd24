"""Train many runs on this machine: group them, load their data once, and train them here or in a pool."""

import math
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import torch

from ncdiag.domain.records import Run
from ncdiag.errors import NCDiagError
from ncdiag.execution.grouping import PAYS, Part, Shape, cut, list_devices, list_shapes, pack, size_on_gpu
from ncdiag.execution.held import Listener
from ncdiag.execution.pool import Pool
from ncdiag.execution.worker import (
    DataKey,
    Outcome,
    TrainingOptions,
    data_key,
    load_data,
    pick_device,
    train_runs,
)
from ncdiag.store.engine import open_store
from ncdiag.training.calibration import group_size, in_real_batches, speedup
from ncdiag.training.control_groups import core_limits
from ncdiag.training.datasets import Dataset
from ncdiag.training.memory import give_back_memory
from ncdiag.training.out_of_memory import is_out_of_memory
from ncdiag.training.products import pick_products, using_products
from ncdiag.training.shared import SharedDataset, share
from ncdiag.training.threads import computing_threads


def usable_cores() -> int:
    """Give the number of cores that this process may use; of a share of one, in a container, that one."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    return max(1, int(min([cores, *core_limits()])))


def default_jobs(device: str) -> int:
    """Give the number of processes that fill a device of this name: one for each core, or for each GPU."""
    picked = pick_device(device)
    return usable_cores() if picked.type == "cpu" else len(list_devices(picked, torch.cuda.device_count()))


def most_jobs(device: str) -> int:
    """Give the number of processes above which they only take memory and turns from each other."""
    return max(default_jobs(device), usable_cores())


def train_all(
    store_url: str,
    todo: Sequence[Run],
    options: TrainingOptions,
    *,
    jobs: int,
    listen: Listener,
    say: Callable[[str], None] = lambda text: None,
) -> list[Outcome]:
    """Train these runs in `jobs` processes and give how each ended; one that fails does not stop the others.

    Runs of one shape form groups where that is faster, which `say` is told. With one job they are trained in this
    process, else each GPU has its workers.
    """
    shapes = list_shapes(todo, partial(data_key, options=options))

    def cut_all(**how: int) -> list[list[Run]]:
        by_data: dict[DataKey, list[Part]] = {}
        beside: dict[DataKey, list[Shape]] = {}
        for shape in shapes:
            key, parts = data_key(shape.runs[0], options), _parts(shape, options, say, **how)
            by_data.setdefault(key, []).extend(parts)
            if any(part.share < 1 for part in parts):
                beside.setdefault(key, []).append(shape)
        for some in beside.values():
            if len(some) > 1:
                say(f"{sum(len(shape.runs) for shape in some)} runs of {len(some)} shapes train side by side")
        return [group for parts in by_data.values() for group in pack(parts, least=math.ceil(jobs / len(by_data)))]

    if jobs == 1:
        threads = torch.get_num_threads()
        groups = cut_all(threads=threads, parts=1, sharing=1)
        with open_store(store_url, write=True) as store:
            outcomes = [outcome for group in groups for outcome in train_runs(store, group, options, listen)]
    else:  # for a single run too: the last one of a sweep gets no more threads than the others had
        threads = max(1, usable_cores() // jobs)
        parts = math.ceil(jobs / max(1, len(shapes)))
        devices = list_devices(pick_device(options.device), torch.cuda.device_count())
        groups = cut_all(threads=threads, parts=parts, sharing=math.ceil(jobs / len(devices)))
        with ExitStack() as stack:
            options = replace(options, shared=_share_data(shapes, options, stack), products=pick_products())
            pool = Pool(store_url, options, listen, jobs=min(jobs, len(groups)), threads=threads, devices=devices)
            outcomes = pool.train(groups)
    by_run = {outcome.run.id: outcome for outcome in outcomes}
    return [by_run[run.id] for run in todo]


def _parts(
    shape: Shape,
    options: TrainingOptions,
    say: Callable[[str], None],
    *,
    threads: int,
    parts: int,
    sharing: int,
) -> list[Part]:
    """Cut a shape into what trains as one, `parts` at the least if it can; `sharing` processes use one device."""
    device = pick_device(options.device)
    size = group_size(shape.spec.network, device)
    stacked_on_gpu = device.type == "cuda" and not shape.spec.network.convolves
    data = _find_data(shape, options) if size > 1 and (len(shape.runs) > 1 or stacked_on_gpu) else None
    if data is None:
        return cut(shape, 1, parts=parts)
    if stacked_on_gpu:
        free_bytes = torch.cuda.mem_get_info(device)[0] // sharing
        size = size_on_gpu(shape.spec, data.input_shape, data.sizes, free_bytes=free_bytes)
        return cut(shape, size, parts=parts, beside_others=True)
    try:
        with computing_threads(threads), using_products(pick_products()):
            spec = in_real_batches(shape.spec, len(data.train_labels))
            gain = speedup(spec, data.input_shape, data.num_classes, device)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        gain = 0.0  # there is too little memory for a group either
    give_back_memory()  # those who train need what the trial took
    if gain < PAYS:
        return cut(shape, 1, parts=parts)
    say(f"{len(shape.runs)} runs of {shape} train in groups, {gain:.1f} times as fast as one by one")
    return cut(shape, size, parts=parts)


def _share_data(shapes: Sequence[Shape], options: TrainingOptions, stack: ExitStack) -> dict[DataKey, SharedDataset]:
    """Share the data of all shapes with the workers until `stack` ends; what cannot be is loaded by each of them."""
    shared: dict[DataKey, SharedDataset] = {}
    for shape in shapes:
        key = data_key(shape.runs[0], options)
        data = None if key in shared else _find_data(shape, options)
        if data:
            on_cpu = pick_device(options.device).type == "cpu"
            try:
                shared[key] = stack.enter_context(share(data.normalised() if on_cpu else data))
            except Exception as error:
                # no room for the file, or for the tensors
                if not (isinstance(error, OSError) or is_out_of_memory(error)):
                    raise
    return shared


def _find_data(shape: Shape, options: TrainingOptions) -> Dataset | None:
    """Load the data of a shape; where that fails, whoever trains the runs will say why, for each of them."""
    try:
        return load_data(shape.runs[0], options)
    except Exception as error:
        if isinstance(error, (NCDiagError, OSError)) or is_out_of_memory(error):
            return None
        raise
