"""When freed memory goes back to the system: not after every step, as the C library has it, but where it runs out."""

import ctypes
from contextlib import suppress
from functools import lru_cache

import torch

# Names and numbers of glibc's malloc.h.
_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD = -3, -1, -2
_LARGEST_FROM_HEAP = 32 * 2**20  # bytes; glibc allows no more
_KEPT_AT_END = 2**30
_EXTRA = 64 * 2**20


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Let this process keep up to a gigabyte of what it frees, and tell whether its C library can.

    glibc maps every block above 128 KiB afresh, such as a gradient, and unmaps it when it is freed: a step of an MLP of
    width 512 then touches a thousand pages for the first time, a fifth of its time. Other libraries are left alone.
    """
    try:
        library = ctypes.CDLL(None)
        settings = ((_MMAP_THRESHOLD, _LARGEST_FROM_HEAP), (_TRIM_THRESHOLD, _KEPT_AT_END), (_TOP_PAD, _EXTRA))
        library.gnu_get_libc_version  # noqa: B018  # musl has a mallopt too, which does nothing
        return all(library.mallopt(name, value) for name, value in settings)
    except (AttributeError, OSError, TypeError):
        return False


def give_back_memory() -> None:
    """Give back what this process has freed, on a GPU too: others need it, or this process in other pieces."""
    torch.cuda.empty_cache()
    with suppress(AttributeError, OSError):  # glibc alone keeps so much
        ctypes.CDLL(None).malloc_trim(0)
