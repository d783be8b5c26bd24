import pytest

from ncdiag.domain.run_names import is_numbered, is_run_name, numbered


@pytest.mark.parametrize("name", ["a", "run-7", "mlp5_s0.csv", "x" * 128])
def test_names_of_runs(name: str):
    assert is_run_name(name)


@pytest.mark.parametrize(
    "name", ["", "-a", ".a", "a b", "../a", "x'; DROP TABLE runs;--", "=HYPERLINK(1)", "é", "😀", "a\n", "x" * 129, "%"]
)
def test_what_is_no_name_of_a_run(name: str):
    assert not is_run_name(name)


def test_numbered_names_are_those_that_a_store_gives():
    assert is_numbered("run-7")
    assert not is_numbered("run-7b")
    assert not is_numbered("my-run-7")
    assert not is_numbered("sweep-7")
    assert is_numbered(numbered(7, "sweep"), "sweep")
