from typing import Any

from ncdiag.errors import SpecError
from ncdiag.execution.held import describe_error, interrupt


def test_whoever_stops_a_group_waits_once_for_a_store_that_is_held() -> None:
    told: list[str] = []

    class One:
        def __init__(self, name: str, *, is_there: bool) -> None:
            self.name, self.is_there = name, is_there

        def save(self) -> None:
            told.append(f"{self.name} saved")

        def give_up(self) -> bool:
            told.append(f"{self.name} given up")
            return self.is_there

    held: list[Any] = [One("a", is_there=True), One("b", is_there=False), One("c", is_there=True)]
    interrupt(held)
    assert told == ["a saved", "b saved", "c saved", "a given up", "b given up"]


def test_an_error_of_ncdiag_says_all_and_any_other_is_named() -> None:
    assert describe_error(SpecError("the width is 0")) == "the width is 0"
    assert describe_error(KeyError("width")) == "KeyError: 'width'"
