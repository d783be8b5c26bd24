"""Too little memory for what a run needs, which torch, numpy and Python each report in their own way."""

import errno
import re

import torch

from ncdiag.errors import OutOfMemoryError

# torch on a CPU raises a RuntimeError, and so do cuBLAS and cuDNN. oneDNN does not say why it could not; with shapes
# that it computes everywhere, it is that it got no memory for its code. A thread needs memory for its stack.
_WORDS = re.compile(
    r"can't allocate memory|out of memory|_STATUS_ALLOC_FAILED|std::bad_alloc"
    r"|could not (create|execute) a primitive$|can't start new thread"
)
NEEDS_LESS = "fewer --jobs, a smaller --batch-size or a smaller network need less"
_ASKED = re.compile(r"allocate ([0-9.]+ [A-Za-z]+)")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error, or one that it came from, says that memory ran out.

    Where it does so while a step is captured on a GPU, it is the end of the capture that fails.
    """
    return error is not None and (
        isinstance(error, (MemoryError, torch.OutOfMemoryError, OutOfMemoryError))
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and bool(_WORDS.search(str(error))))
        or is_out_of_memory(error.__context__)
    )


def in_plain_words(error: Exception) -> Exception:
    """Give an `OutOfMemoryError` that says what would help for an error by which memory ran out, others as they are."""
    if not is_out_of_memory(error) or isinstance(error, OutOfMemoryError):
        return error
    asked = _ASKED.search(str(error))
    there = f": {asked[1]} more could not be had" if asked else ""
    return OutOfMemoryError(
        f"out of memory{there}; {NEEDS_LESS}.\nWhat was stored before is intact, and the same command tries again"
    )
