"""Work in stages: what is done in which order, by a list of what happened."""

from typing import Any

import pytest
import torch

from ncdiag.training.stages import HostCopy, Stages, finish, overlapped


def piece(name: str, pauses: int, seen: list[str]) -> Stages[str]:
    for stage in range(pauses):
        seen.append(f"{name}{stage}")
        yield
    seen.append(f"{name} ends")
    return name


def test_work_goes_on_while_other_work_waits() -> None:
    seen: list[str] = []
    assert list(overlapped((piece(name, 2, seen) for name in "abcd"), 3)) == list("abcd")
    assert seen == ["a0", "b0", "a1", "c0", "a ends", "b1", "d0", "b ends", "c1", "c ends", "d1", "d ends"]


@pytest.mark.parametrize("number", [1, 2, 3, 7])
@pytest.mark.parametrize("pauses", [[0], [0, 2, 0, 1], [3, 0, 0, 2, 2], []])
def test_results_come_in_order_and_no_more_is_under_way_than_was_asked_for(number: int, pauses: list[int]) -> None:
    under_way, most = 0, 0

    def counted(place: int) -> Stages[int]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(pauses[place]):
            yield
        under_way -= 1
        return place

    assert list(overlapped(map(counted, range(len(pauses))), number)) == list(range(len(pauses)))
    assert most <= number
    assert under_way == 0


def test_an_error_of_a_piece_comes_through() -> None:
    def broken() -> Stages[str]:
        yield
        raise ValueError("broken")

    work = overlapped([piece("a", 1, []), broken()], 2)
    with pytest.raises(ValueError, match="broken"):
        list(work)


def test_what_was_sent_is_what_it_was() -> None:
    sent: Any = HostCopy({"a": torch.arange(3.0), "b": torch.tensor(7)}).arrays()
    assert sent["a"].tolist() == [0.0, 1.0, 2.0]
    assert int(sent["b"]) == 7
    assert finish(piece("x", 3, [])) == "x"


@pytest.mark.gpu
def test_what_was_sent_from_a_gpu_arrives_before_later_work_is_done() -> None:
    first = torch.full((1000,), 3.0, device="cuda")
    sent = HostCopy({"first": first * 2})
    large = torch.randn(8192, 8192, device="cuda")
    for _ in range(50):  # a second of work behind it
        large = large @ large
        large /= large.norm()
    done = torch.cuda.Event()
    done.record()
    assert sent.arrays()["first"].tolist() == [6.0] * 1000
    assert not done.query()
