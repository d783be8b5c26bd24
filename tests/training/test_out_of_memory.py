import errno

import numpy as np
import pytest
import torch

from ncdiag.errors import OutOfMemoryError
from ncdiag.training.out_of_memory import in_plain_words, is_out_of_memory

TOO_MUCH = 10**15  # values; more than an address can reach


def raised(work: object) -> Exception:
    with pytest.raises((MemoryError, RuntimeError, OSError)) as caught:
        work()  # type: ignore[operator]
    error: Exception = caught.value
    return error


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda: torch.empty(TOO_MUCH), "4000000000000000 bytes"),
        (lambda: np.empty(TOO_MUCH), "7.11 PiB"),
        (lambda: bytearray(TOO_MUCH), "out of memory; "),
    ],
    ids=["torch", "numpy", "python"],
)
def test_what_is_raised_on_this_machine_is_known_and_said_in_plain_words(work: object, said: str) -> None:
    error = raised(work)
    assert is_out_of_memory(error)
    plain = in_plain_words(error)
    assert isinstance(plain, OutOfMemoryError)
    first, _ = str(plain).splitlines()
    assert said in first
    assert "fewer --jobs, a smaller --batch-size" in first
    assert in_plain_words(plain) is plain


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has 15.77 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_so_is_what_a_gpu_and_the_system_say(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_other_errors_stay_as_they_are() -> None:
    for error in (
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("could not create a primitive descriptor for a matmul primitive"),
        OSError(errno.ENOSPC, "full"),
        KeyError(),
    ):
        assert not is_out_of_memory(error)
        assert in_plain_words(error) is error
