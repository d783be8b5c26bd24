import zipfile

import pytest
from clihelp import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Build the wheel as pip would, and give the names of the files in it."""
    hatchling = pytest.importorskip("hatchling.builders.wheel", reason="building a wheel takes hatchling")
    folder = tmp_path_factory.mktemp("dist")
    (path,) = hatchling.WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_wheel_holds_every_module(wheel: list[str]) -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "ncdiag").rglob("*.py")}
    assert modules <= set(wheel)
    assert {"ncdiag/py.typed", "ncdiag/__init__.pyi"} <= set(wheel)


def test_wheel_holds_what_a_report_is_made_of(wheel: list[str]) -> None:
    parts = {str(path.relative_to(ROOT)) for path in (ROOT / "ncdiag" / "report").rglob("*.*") if path.suffix != ".pyc"}
    assert len(parts) >= 14
    assert "ncdiag/report/static/uPlot.LICENSE" in parts
    assert parts <= set(wheel)


def test_wheel_holds_the_migrations_inside_the_package(wheel: list[str]) -> None:
    migrations = {f"ncdiag/{path.relative_to(ROOT)}" for path in (ROOT / "migrations").rglob("*.py")}
    assert len(migrations) >= 2
    assert migrations <= set(wheel)
    assert "ncdiag/migrations/script.py.mako" in wheel
    assert not [name for name in wheel if name.startswith("migrations/")]  # would collide with other projects'


@pytest.mark.parametrize(
    "place",
    [
        "share/bash-completion/completions/ncdiag",
        "share/zsh/site-functions/_ncdiag",
        "share/fish/vendor_completions.d/ncdiag.fish",
    ],
)
def test_wheel_holds_the_completions_where_shells_look(wheel: list[str], place: str) -> None:
    assert [name for name in wheel if name.endswith(f".data/data/{place}")]


def test_wheel_holds_nothing_else(wheel: list[str]) -> None:
    strange = [name for name in wheel if not name.startswith(("ncdiag/", "ncdiag-")) or "__pycache__" in name]
    assert strange == []


def test_wheel_holds_the_licenses_of_all_that_is_in_it(wheel: list[str]) -> None:
    licenses = {name.partition(".dist-info/licenses/")[2] for name in wheel if ".dist-info/licenses/" in name}
    assert licenses == {"LICENSE", "ncdiag/report/static/uPlot.LICENSE"}
