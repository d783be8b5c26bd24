import itertools
import time

import pytest
import torch

from ncdiag.training.products import (
    Products,
    _seconds,
    choose,
    pick_products,
    products_in_use,
    relative_error,
    using_products,
)

GENERATOR = torch.Generator().manual_seed(0)
X, WEIGHT = torch.randn(64, 100, generator=GENERATOR), torch.randn(100, 50, generator=GENERATOR)
EXACT = X.double() @ WEIGHT.double()


def timed(default: float, onednn: float):  # type: ignore[no-untyped-def]
    return lambda library: {"default": default, "onednn": onednn}[library]


@pytest.mark.parametrize(
    ("product", "seconds", "expected"),
    [
        (X @ WEIGHT, (2.0, 1.0), "onednn"),
        (X @ WEIGHT, (1.0, 1.1), "onednn"),  # alike: the one whose bits are those of any number of threads
        (X @ WEIGHT, (1.0, 2.0), "default"),
        ((X.bfloat16() @ WEIGHT.bfloat16()).float(), (9.0, 1.0), "default"),  # what a matrix unit makes of it
        (torch.full_like(EXACT, torch.nan), (9.0, 1.0), "default"),
    ],
)
def test_onednn_must_be_exact_and_not_clearly_slower(
    product: torch.Tensor, seconds: tuple[float, float], expected: Products
) -> None:
    assert choose(relative_error(product, EXACT), timed(*seconds)) == expected


@pytest.mark.parametrize(("onednn", "expected"), [(2.0, "default"), (1.1, "onednn")])
def test_the_fastest_try_of_each_library_counts(onednn: float, expected: Products) -> None:
    """Of a library that is slow now and then the machine was at fault."""
    tries = itertools.count()

    def seconds(library: Products) -> float:
        slowed = library == expected and next(tries) % 2 == 1
        return {"default": 1.0, "onednn": onednn}[library] + 50.0 * slowed

    assert choose(0.0, seconds) == expected


def test_waiting_for_a_core_is_no_slower_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "mm", lambda x, weight: time.sleep(0.02))  # five of them are timed
    assert _seconds("default", X, WEIGHT) < 0.05


def test_what_is_picked_here_is_exact() -> None:
    with using_products(pick_products()):
        found = (X @ WEIGHT).double()
    assert (found - EXACT).abs().max() <= 1e-5 * EXACT.abs().max()


def test_the_setting_comes_back_and_a_gpu_keeps_its_precision() -> None:
    before = products_in_use(), torch.backends.cuda.matmul.allow_tf32
    with using_products("onednn"):
        if hasattr(torch.backends.mkldnn, "matmul"):  # torch 2.9
            assert products_in_use() == "onednn"
        assert not torch.backends.cuda.matmul.allow_tf32
        with using_products("default"):
            assert products_in_use() == "default"
    assert (products_in_use(), torch.backends.cuda.matmul.allow_tf32) == before
