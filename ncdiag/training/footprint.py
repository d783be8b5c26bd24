"""How much memory training a network takes at the least, and how much this machine has: known before anything is made.

The kernel grants more memory than there is, and kills a process, not always the one that asked, when it is used.
"""

import os

import torch

from ncdiag.domain.spec import RunSpec
from ncdiag.errors import OutOfMemoryError
from ncdiag.training.control_groups import memory_limits
from ncdiag.training.networks import count_parameters
from ncdiag.training.optimizers import OPTIMIZERS

FLOAT = 4  # bytes


def state_floats(spec: RunSpec, parameters: int) -> int:
    """Give the numbers of which the state of a run consists: weights and moments."""
    return parameters * (1 + len(OPTIMIZERS[spec.optimizer.name].moments))


def least_bytes(spec: RunSpec, input_shape: tuple[int, int, int], num_classes: int) -> int:
    """Give what training a run takes whatever its data: its state, a copy of it after each epoch, and gradients."""
    parameters = count_parameters(spec.network, input_shape=input_shape, num_classes=num_classes)
    return FLOAT * (2 * state_floats(spec, parameters) + parameters)


def memory_of(device: torch.device) -> int:
    """Give the bytes of memory of a device; of the CPU, those that this process may ever have."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *memory_limits()])


def check_memory(spec: RunSpec, input_shape: tuple[int, int, int], num_classes: int, device: torch.device) -> None:
    """Raise `OutOfMemoryError` for a run for which all the memory of a device is too little."""
    needed, there = least_bytes(spec, input_shape, num_classes), memory_of(device)
    if needed > there:
        network, place = spec.network, "this machine" if device.type == "cpu" else device
        raise OutOfMemoryError(
            f"{network.arch} of depth {network.depth} and width {network.width} takes {needed / 1e9:,.0f} GB to train "
            f"(weights, gradients, {spec.optimizer.name}'s moments),\n"
            f"and {place} has {there / 1e9:,.1f} GB of memory. Use a smaller --width or --depth"
        )
